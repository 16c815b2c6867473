#!/usr/bin/env python3
"""Administers a token-service with the real grpcurl, as an operator would.

  grpcurl.py GRPCURL
"""
import json, subprocess, sys
from stack import TOKENS, Stack, free_port, post

ADMIN, GATEWAY = TOKENS['ADMIN_TOKEN'], TOKENS['GATEWAY_TOKEN']
PACKAGE = 'antigravity.token.v1'


def check(condition, what):
    print('ok  ' if condition else 'FAIL', what, flush=True)
    if not condition:
        raise SystemExit(1)


class Grpcurl:
    def __init__(self, binary, address):
        self.binary, self.address = binary, address

    def run(self, *args, token=ADMIN, data=None):
        command = [self.binary, '-plaintext']
        if token:
            command += ['-H', f'authorization: Bearer {token}']
        if data is not None:
            command += ['-d', json.dumps(data)]
        return subprocess.run([*command, self.address, *args], capture_output=True, text=True, timeout=60)

    def call(self, method, data=None, token=ADMIN):
        done = self.run(f'{PACKAGE}.{method}', data=data or {}, token=token)
        if done.returncode:
            raise SystemExit(f'{method}: {done.stderr}')
        return json.loads(done.stdout)

    def code(self, method, data=None, token=ADMIN):
        """The status code of a call that fails."""
        done = self.run(f'{PACKAGE}.{method}', data=data or {}, token=token)
        line = next((line for line in done.stderr.splitlines() if 'Code:' in line), 'Code: OK')
        return line.split()[-1], done.stderr


def keys_and_backups(grpcurl):
    before = grpcurl.call('ProjectService/ListProjects')
    (old,) = grpcurl.call('DatabaseService/ListEncryptionKeys')['keys']
    # What BackUp prints, Restore reads.
    backup = grpcurl.run(f'{PACKAGE}.DatabaseService.BackUp', data={})
    check(backup.returncode == 0 and 'backup' in backup.stdout, f'a backup of {len(backup.stdout)} characters')
    rotated = grpcurl.call('DatabaseService/RotateEncryptionKey')
    check(rotated['retiredKeyIds'] == [old['id']] and rotated['keyId'] != old['id'], f'all is sealed anew: {rotated}')
    grpcurl.call('ProjectService/DeleteProject', {'id': 'fake-project-1'})
    command = [grpcurl.binary, '-plaintext', '-H', f'authorization: Bearer {ADMIN}', '-d', '@', grpcurl.address, f'{PACKAGE}.DatabaseService.Restore']
    restored = subprocess.run(command, input=backup.stdout, capture_output=True, text=True, timeout=60)
    check(restored.returncode == 0 and json.loads(restored.stdout)['projects'] == 3, f'it is restored, sealed with the retired key: {restored.stdout}{restored.stderr}')
    after = grpcurl.call('ProjectService/ListProjects')
    # How the last hour went is known to the process alone.
    for listed in (before, after):
        for project in listed['projects']:
            for passing in ('requestsLastHour', 'errorsLastHour', 'lastDealtAt', 'quotas'):
                project.pop(passing, None)
    check(after == before, 'and everything is as it was')
    check(grpcurl.code('DatabaseService/RotateEncryptionKey', token=GATEWAY)[0] == 'PermissionDenied', "a gateway's token on DatabaseService is PERMISSION_DENIED")


def main():
    with Stack() as stack:
        port = free_port()
        google = stack.start('fake-google', ['--listen', f'127.0.0.1:{port}', '--projects', '3'])
        google.wait_for(str(port))
        base = f'http://127.0.0.1:{port}'
        tokens = stack.token_service(OAUTH_TOKEN_URL=f'{base}/token')
        gateway = stack.gateway(tokens.address, ANTIGRAVITY_BASE_URLS=base)
        status, _, _ = post(f'http://{gateway.address}/v1/chat/completions', {'model': 'x', 'messages': [{'role': 'user', 'content': 'hi'}]})
        check(status == 503, 'an empty pool is told as 503')
        grpcurl = Grpcurl(sys.argv[1], tokens.address)

        listed = grpcurl.run('list', token=None).stdout.split()
        for service in (f'{PACKAGE}.TokenService', f'{PACKAGE}.ProjectService', f'{PACKAGE}.DatabaseService', 'grpc.health.v1.Health'):
            check(service in listed, f'list shows {service}')
        described = grpcurl.run('describe', f'{PACKAGE}.ProjectService.CreateProject', token=None).stdout
        check('CreateProjectRequest' in described, 'describe shows a method')
        message = grpcurl.run('describe', f'{PACKAGE}.Project', token=None).stdout
        check('google_project_id' in message, 'describe shows a message')
        health = grpcurl.run('grpc.health.v1.Health/Check', token=None, data={})
        check('SERVING' in health.stdout, 'health says SERVING')

        grpcurl.call('ProjectService/PutOAuthClient', {'client': {'client_id': 'fake-client.apps.googleusercontent.com'}, 'client_secret': 'fake-client-secret'})
        for n in (1, 2, 3):
            made = grpcurl.call('ProjectService/CreateProject', {'project': {'google_project_id': f'fake-project-{n}'}, 'refresh_token': f'1//fake-refresh-token-{n}'})
            check(made['id'] == f'fake-project-{n}' and 'refresh' not in json.dumps(made).replace('refreshed', ''), f'project {n} is made and tells no secret')

        def acquire(token=GATEWAY):
            turns = grpcurl.call('TokenService/AcquireTokens', {}, token)['turns']
            check(len(turns) == 1, 'one turn')
            return turns[0]['token']['projectId'][-1]

        sequence = ' '.join(acquire() for _ in range(6))
        check(sequence == '1 2 3 1 2 3', f'six turns: {sequence}, with an idle gateway connected')
        grpcurl.call('ProjectService/UpdateProject', {'project': {'id': 'fake-project-2', 'disabled': True}, 'update_mask': {'paths': ['disabled']}})
        sequence = ' '.join(acquire() for _ in range(4))
        check('2' not in sequence, f'a disabled project leaves the rotation: {sequence}')
        shown = grpcurl.call('ProjectService/GetProject', {'id': 'fake-project-2'})
        check(shown['state'] == 'STATE_DISABLED', 'and says so')
        page = grpcurl.call('ProjectService/ListProjects', {'page_size': 2})
        check(len(page['projects']) == 2 and page['nextPageToken'] and page['totalSize'] == 3, 'lists come in pages')

        check(grpcurl.code('TokenService/AcquireTokens', token='wrong')[0] == 'Unauthenticated', 'a wrong token is UNAUTHENTICATED')
        check(grpcurl.code('TokenService/AcquireTokens', token=None)[0] == 'Unauthenticated', 'no token is UNAUTHENTICATED')
        check(grpcurl.code('ProjectService/ListProjects', token=GATEWAY)[0] == 'PermissionDenied', "a gateway's token on ProjectService is PERMISSION_DENIED")
        check(grpcurl.code('ProjectService/GetProject', {'id': 'nope'})[0] == 'NotFound', 'an unknown project is NOT_FOUND')
        code, text = grpcurl.code('ProjectService/CreateProject', {'project': {}})
        check(code == 'InvalidArgument' and 'google_project_id' in text and 'BadRequest' in text, 'a missing field is INVALID_ARGUMENT with BadRequest details')
        check(grpcurl.code('ProjectService/CreateProject', {'project': {'google_project_id': 'fake-project-1'}, 'refresh_token': 'x'})[0] == 'AlreadyExists', 'a taken id is ALREADY_EXISTS')

        keys_and_backups(grpcurl)

        status, _, body = post(f'http://{gateway.address}/v1/chat/completions', {'model': 'gemini-2.5-flash', 'messages': [{'role': 'user', 'content': 'hi'}]})
        check(status == 200, f'the gateway answers with the new projects: {body[:120]}')
        grpcurl.call('ProjectService/DeleteProject', {'id': 'fake-project-2'})
        check(grpcurl.code('ProjectService/GetProject', {'id': 'fake-project-2'})[0] == 'NotFound', 'a removed project is gone')


if __name__ == '__main__':
    main()
