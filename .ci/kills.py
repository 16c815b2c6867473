#!/usr/bin/env python3
"""Kills the commands that change a pool with SIGKILL at each of their steps: at every call to the system that opens,
writes, syncs, renames or removes a file. What is left is the pool as it was before or as it is after, never between;
it opens, its tokens refresh, and the command can be repeated.

`--full` tries every step; without it some of the many that only write.
"""
import argparse, json, os, re, shutil, subprocess, sys

from stack import BIN, Stack, clean_env, control, free_port

# Each on its own: the tracer counts by thread, and each thread does what it does with some of them.
CALLS = {'fsync': 1, 'fdatasync': 1, 'rename': 1, 'unlink': 1, 'link,linkat': 1, 'ftruncate': 1, 'pwrite64': 4, 'write': 4, 'openat': 6}
MOST = 120
PASSPHRASE = 'correct horse battery staple'
failed = []


def check(holds, what):
    if not holds:
        failed.append(what)
    print(f'{"ok  " if holds else "FAIL"} {what}', flush=True)


class Pool:
    """A folder with a database, as one command finds it."""

    def __init__(self, stack, base, template=None):
        self.folder = os.path.join(stack.folder, f'pool-{id(self)}')
        shutil.copytree(template.folder, self.folder) if template else os.makedirs(self.folder)
        self.env = {**clean_env(), 'OAUTH_TOKEN_URL': f'{base}/token', 'ANTIGRAVITY_BASE_URLS': base, 'TOKEN_SERVICE_LISTEN': '127.0.0.1:0',
                    'TOKENS_FILE': os.path.join(self.folder, 'none.json')}
        del self.env['TOKENS_FILE']

    def run(self, *arguments, tracer=(), given=None):
        return subprocess.run([*tracer, os.path.join(BIN, 'antigravity-gateway'), *arguments], cwd=self.folder, env=self.env,
                              input=given, stdin=None if given else subprocess.DEVNULL, capture_output=True, text=True, timeout=60)

    def json(self, *arguments):
        done = self.run(*arguments, '--json')
        if done.returncode:
            raise AssertionError(f'{" ".join(arguments)}: {done.stderr}')
        return json.loads(done.stdout)

    def seen(self):
        """All that an operator sees of it; opens every secret. Of keys only that one seals all: each rotation makes another."""
        projects = self.json('projects', 'list')['projects']
        for project in projects:
            for volatile in ('created_at', 'updated_at'):
                project.pop(volatile)
        keys = self.json('keys', 'list')['keys']
        missing = [key for key in keys if not key['available']]
        assert not missing, f'keys are missing: {missing}'
        return {'projects': projects, 'oauth_clients': self.json('oauth-clients', 'list'), 'values': sum(key['sealed_values'] for key in keys)}

    def write(self, name, text):
        with open(os.path.join(self.folder, name), 'w', encoding='utf8') as file:
            file.write(text)

    def left(self):
        return [name for name in os.listdir(os.path.join(self.folder, 'data')) if '.part' in name or '.new-' in name or '.draft-' in name]

    def gone(self):
        shutil.rmtree(self.folder)


def tokens_json(numbers):
    return json.dumps({'oauth_config': {'client_id': 'fake-client.apps.googleusercontent.com', 'client_secret': 'fake-client-secret'},
                       'projects': [{'project_id': f'fake-project-{n}', 'refresh_token': f'1//fake-refresh-token-{n}', 'access_token': None, 'expires_at': None} for n in numbers]}, indent=1)


def killed_at(call, number):
    return ('strace', '-f', '-qq', '-o', '/dev/null', '-e', f'trace={call}', '-e', f'inject={call}:signal=SIGKILL:when={number}')


def at_every_step(stack, base, before, name, arguments, full, given=None):
    after = Pool(stack, base, before)
    done = after.run(*arguments, given=given)
    assert done.returncode == 0, f'{name}: {done.stdout}{done.stderr}'
    wanted = [before.seen(), after.seen()]
    tried = {'as before': 0, 'as after': 0}
    for call, stride in CALLS.items():
        for number in range(1, MOST, 1 if full else stride):
            pool = Pool(stack, base, before)
            done = pool.run(*arguments, tracer=killed_at(call, number), given=given)
            if done.returncode == 0:
                pool.gone()
                break
            if done.returncode not in (-9, 137):
                check(False, f'{name}, {call} {number}: exit status {done.returncode}: {done.stderr[-300:]}')
                break
            try:
                seen = pool.seen()
            except AssertionError as error:
                check(False, f'{name}, {call} {number}: {error}')
                pool.gone()
                continue
            if seen not in wanted:
                check(False, f'{name}, {call} {number}: neither as before nor as after: {seen}')
            tried['as before' if seen == wanted[0] else 'as after'] += 1
            if number % 5 == 1:
                for project in seen['projects']:
                    done = pool.run('projects', 'refresh', project['id'])
                    if done.returncode:
                        check(False, f'{name}, {call} {number}: {project["id"]} does not refresh: {done.stderr}')
                again = pool.run(*arguments, given=given)
                if again.returncode or len(pool.seen()['projects']) != len(wanted[1]['projects']):
                    check(False, f'{name}, {call} {number}: repeated: {again.stderr}')
                if pool.left():
                    check(False, f'{name}, {call} {number}: it left {pool.left()}')
            pool.gone()
    after.gone()
    check(sum(tried.values()) > 10, f'{name}: killed {sum(tried.values())} times; {tried["as before"]} as before, {tried["as after"]} as after')


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--full', action='store_true')
    full = parser.parse_args().full
    with Stack() as stack:
        port = free_port()
        google = stack.start('fake-google', ['--listen', f'127.0.0.1:{port}', '--projects', '6'])
        google.wait_for(str(port))
        base = f'http://127.0.0.1:{port}'
        there = Pool(stack, base)
        there.write('tokens.json', tokens_json((1, 2, 3)))
        there.write('passphrase', PASSPHRASE)
        assert there.run('import', 'tokens.json').returncode == 0
        assert there.run('backup', 'pool.db').returncode == 0
        assert there.run('export', 'pool.sealed', '--passphrase-file', 'passphrase').returncode == 0
        here = Pool(stack, base)
        here.write('first.json', tokens_json((4,)))
        here.write('more.json', tokens_json((4, 5, 6)))
        assert here.run('import', 'first.json').returncode == 0
        assert here.run('projects', 'refresh', 'fake-project-4').returncode == 0
        for name in ('pool.db', 'pool.sealed', 'passphrase', 'data/encryption.key'):
            shutil.copy(os.path.join(there.folder, name), os.path.join(here.folder, 'key-of-there' if 'key' in name else name))
        for name, arguments in (
            ('import', ('import', 'more.json')),
            ('import of a sealed export', ('import', 'pool.sealed', '--passphrase-file', 'passphrase')),
            ('keys rotate', ('keys', 'rotate')),
            ('restore', ('restore', 'pool.db', '--key-file', 'key-of-there', '--yes')),
        ):
            at_every_step(stack, base, here, name, arguments, full)
    if failed:
        raise SystemExit(f'{len(failed)} failed')


if __name__ == '__main__':
    main()
