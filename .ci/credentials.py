#!/usr/bin/env python3
"""Credentials in real life: a thousand entries imported in a terminal, with what is seen meanwhile and the report; every
file of other programs that is recognised; a pool of all kinds of credential that loses its API key; a disk that fills
during an import. All by the real binaries.
"""
import json, os, re, shutil, subprocess, sys, time

from stack import BIN, TOKENS, Stack, check, clean_env, control, failed, free_port, post

CLIENT, SECRET = 'fake-client.apps.googleusercontent.com', 'fake-client-secret'
ENTRIES, BAD = 1000, 30
GEMINI_KEY = 'AIzaFakeGoogleApiKey'


class World:
    """fake-google and a token-service on a database in `folder`; knows how to run the command line."""

    def __init__(self, stack, projects, folder=None):
        port = free_port()
        self.stack, self.base = stack, f'http://127.0.0.1:{port}'
        self.key = os.path.join(stack.folder, 'key.json')
        google = stack.start('fake-google', ['--listen', f'127.0.0.1:{port}', '--projects', str(projects), '--service-account-out', self.key])
        google.wait_for(str(port))
        env = {'OAUTH_TOKEN_URL': f'{self.base}/token', 'ANTIGRAVITY_BASE_URLS': self.base, 'TOKENS_FILE': os.path.join(stack.folder, 'none.json')}
        if folder:
            env['DATABASE_URL'] = f'sqlite://{folder}/tokens.db'
        open(env['TOKENS_FILE'], 'w').write('{"projects": []}')
        self.service = stack.token_service(**env)
        self.env = {**clean_env(), 'TOKEN_SERVICE_URL': f'http://{self.service.address}', 'ADMIN_TOKEN': TOKENS['ADMIN_TOKEN'], 'COLUMNS': '160'}

    def run(self, *args, stdin=''):
        return subprocess.run([os.path.join(BIN, 'antigravity-gateway'), *args], env=self.env, cwd=self.stack.folder, input=stdin, capture_output=True, text=True, timeout=120)

    def json(self, *args, **more):
        done = self.run(*args, '--json', **more)
        if not done.stdout:
            raise SystemExit(f'{args}: {done.stderr}\n{self.service.text()[-2000:]}')
        return json.loads(done.stdout)

    def write(self, name, document):
        path = os.path.join(self.stack.folder, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, 'w', encoding='utf8') as file:
            file.write(document if isinstance(document, str) else json.dumps(document, indent=1))
        return path


def thousand():
    entries = [{'project_id': f'fake-project-{n}', 'refresh_token': f'1//fake-refresh-token-{n}', 'access_token': None, 'expires_at': None} for n in range(1, ENTRIES + 1)]
    for n in range(BAD):
        bad = entries[n * 31 + 7]
        # Three ways of being bad in turn: no token, a project number, the same as another.
        if n % 3 == 0:
            bad['refresh_token'] = ''
        elif n % 3 == 1:
            bad['project_id'] = '123456789'
        else:
            bad.update(project_id='fake-project-1', refresh_token='1//fake-refresh-token-1')
    return {'oauth_config': {'client_id': CLIENT, 'client_secret': SECRET}, 'projects': entries}


class Terminal:
    """A terminal that is looked at while a command runs in it."""

    def __init__(self, name, folder):
        self.socket = os.path.join(folder, f'tmux-{name}')
        self.tmux('-f', '/dev/null', 'new-session', '-d', '-s', 'it', '-x', '160', '-y', '60', 'sh')

    def tmux(self, *args):
        return subprocess.run(['tmux', '-S', self.socket, *args], env=clean_env(), capture_output=True, text=True, check=False).stdout

    def screen(self):
        return self.tmux('capture-pane', '-p', '-t', 'it')

    def type(self, line):
        self.tmux('send-keys', '-t', 'it', line, 'Enter')

    def end(self):
        self.tmux('kill-server')


def terminal():
    if not shutil.which('tmux'):
        sys.exit('tmux is missing')
    with Stack() as stack:
        world = World(stack, ENTRIES)
        world.write('many.json', thousand())
        env = ' '.join(f'{name}={world.env[name]}' for name in ('TOKEN_SERVICE_URL', 'ADMIN_TOKEN'))
        world.write('go.sh', f'export {env}\nclear\n{os.path.abspath(BIN)}/antigravity-gateway import many.json $1\necho "exit status $?"\n')
        term = Terminal('import', stack.folder)
        shows = lambda frame: re.search(r'importing many\.json \[.*\] +\d+/\d+', frame)
        try:
            frames, seconds = watched(term, f'cd {stack.folder} && sh go.sh')
            last, seen = frames[-1], list(filter(shows, frames))
            # On a fast machine all of it may fall between two looks.
            for _ in range(10):
                if not seen:
                    frames, _ = watched(term, 'sh go.sh --overwrite')
                    seen = list(filter(shows, frames))
        finally:
            term.end()
        middle = [line for frame in seen for line in frame.splitlines() if 'importing' in line]
        done = [int(re.search(r'(\d+)/(\d+)', line)[1]) for line in middle]
        check(any(0 < n for n in done), f'{ENTRIES} entries: a bar is seen in {len(seen)} of {len(frames)} frames, such as {middle[len(middle) // 2:][:1]}')
        check(done == sorted(done), 'and it only grows')
        check('importing' not in last, 'at the end it is gone')
        told = f'many.json imported: {ENTRIES - BAD} created, 0 updated, 0 unchanged, {BAD} rejected'
        check(told in last and 'exit status 1' in last, f'and the report stands: {told}, after {seconds:.1f} s in all')
        check(last.count('rejected') >= BAD and 'is the same as the entry in line' in last, 'with each that was rejected, and why')
        began = time.monotonic()
        again = world.json('import', 'many.json')
        check((again['unchanged'], again['rejected']) == (ENTRIES - BAD, BAD), f'again it changes nothing, in {time.monotonic() - began:.1f} s')
        lines = [entry['line'] for entry in again['entries'] if entry['result'] == 'rejected']
        text = open(os.path.join(stack.folder, 'many.json')).read().splitlines()
        check(all(text[line - 1].strip() == '{' for line in lines), 'the lines are those of the entries')
        piped = world.run('import', 'many.json', '--overwrite')
        check('[' not in piped.stderr and piped.returncode == 1, f'in a pipe there is no bar: {piped.stderr.splitlines()[:2]}')


def watched(term, line):
    """What is seen from `line` on until it is done, and the seconds that takes."""
    began, frames = time.monotonic(), []
    term.type(line)
    while time.monotonic() - began < 120:
        frames.append(term.screen())
        if len(frames) > 1 and re.search(r'exit status \d', frames[-1]) and (line.startswith('cd') or any('exit status' not in frame for frame in frames)):
            break
    return frames, time.monotonic() - began


def formats():
    with Stack() as stack:
        world = World(stack, 1)
        world.run('oauth-clients', 'put', CLIENT, '--secret-file', '-', stdin=SECRET)
        files = {
            'adc.json': ("gcloud's credentials of a person", {'type': 'authorized_user', 'client_id': CLIENT, 'client_secret': SECRET, 'refresh_token': '1//a', 'quota_project_id': 'adc'}),
            'sa.json': ('service-account key', open(world.key).read()),
            'oauth_creds.json': ("gemini-cli's oauth_creds.json", {'access_token': 'ya29.x', 'refresh_token': '1//b', 'scope': 's', 'token_type': 'Bearer', 'expiry_date': 1700000000000}),
            'antigravity-me.json': ("CLIProxyAPI's auth file", {'type': 'antigravity', 'access_token': 'ya29.x', 'refresh_token': '1//c', 'email': 'c@example.com', 'expired': '2026-01-01T00:00:00Z', 'project_id': 'cpa'}),
            'gemini-me.json': ("CLIProxyAPI's auth file", {'type': 'gemini', 'token': {'refresh_token': '1//d', 'client_id': CLIENT, 'client_secret': SECRET}, 'project_id': 'cpa-gemini', 'email': 'd@example.com'}),
            'manager.json': ("Antigravity-Manager's accounts", {'id': 'x', 'email': 'e@example.com', 'token': {'refresh_token': '1//e', 'expiry_timestamp': 1, 'project_id': 'manager'}}),
            'opencode.json': ("opencode-antigravity-auth's accounts", {'version': 3, 'accounts': [{'refreshToken': '1//f|own|opencode', 'addedAt': 1}], 'activeIndex': 0}),
            'api.json': ("antigravity2api's accounts", [{'access_token': 'ya29.x', 'refresh_token': '1//g', 'expires_in': 3599, 'timestamp': 1, 'enable': True, 'projectId': 'api'}]),
            'claude.json': ("antigravity-claude-proxy's accounts", {'accounts': [{'email': 'h@example.com', 'source': 'oauth', 'refreshToken': '1//h', 'projectId': 'claude'}], 'settings': {}, 'activeIndex': 0}),
            'tokens.json': ('tokens file', {'projects': [{'project_id': 'mine', 'refresh_token': '1//i'}]}),
        }
        for name, (_, document) in files.items():
            world.write(f'all/{name}', document)
        report = world.json('import', 'all', '--project', 'stated')
        told = {os.path.basename(file['file']): file['format'] for file in report['files']}
        check(told == {name: format for name, (format, _) in files.items()}, f'a folder of {len(files)} files: each is recognised: {told}')
        check((report['created'], report['rejected']) == (len(files), 0), f'and imported: {report["created"]} created, {report["rejected"]} rejected')
        again = world.json('import', 'all', '--project', 'stated')
        check(again['unchanged'] == len(files), 'once, and no more')
        world.run('export', 'pool.sealed', '--passphrase-file', '-', stdin='a passphrase that is long')
        sealed = world.json('import', 'pool.sealed', '--passphrase-file', '-', stdin='a passphrase that is long')
        check(sealed['files'][0]['format'] == 'sealed export' and sealed['unchanged'] == len(files), 'and so is a sealed export')
        world.write('strange.json', {'hello': 'world'})
        strange = world.run('import', 'strange.json')
        check(strange.returncode == 1 and 'gemini-cli' in strange.stderr, f'what is not recognised is told what is: {strange.stderr.strip()[:90]}…')
        lacks = world.run('import', 'all/oauth_creds.json', '--overwrite')
        check('import --project PROJECT_ID' in lacks.stdout, 'an account without a project is told what to do')


def kinds():
    with Stack() as stack:
        world = World(stack, 1)
        world.run('oauth-clients', 'put', CLIENT, '--secret-file', '-', stdin=SECRET)
        world.run('projects', 'add', 'fake-project-1', '--refresh-token-file', '-', stdin='1//fake-refresh-token-1')
        world.run('projects', 'add', '--service-account-file', world.key)
        world.run('projects', 'add', '--api-key-file', '-', stdin=GEMINI_KEY)
        listed = world.json('projects', 'list')['projects']
        told = sorted((project['credential'], project['upstream'], project['state']) for project in listed)
        check(told == [('api_key', 'gemini', 'active'), ('refresh_token', 'antigravity', 'active'), ('service_account_key', 'vertex', 'active')], f'projects of all kinds are added: {told}')
        bad = world.run('projects', 'add', 'other', '--refresh-token-file', '-', stdin='1//nobodys')
        check(bad.returncode == 1 and 'Google refuses the refresh token' in bad.stderr, f'one that Google refuses is not: {bad.stderr.strip()[:80]}')
        check(len(world.json('projects', 'list')['projects']) == 3, 'and nothing is left of it')
        gateway = stack.gateway(world.service.address, ANTIGRAVITY_BASE_URLS=world.base, GEMINI_BASE_URL=world.base, VERTEX_BASE_URL=world.base)
        ask = lambda n: [post(f'http://{gateway.address}/v1/chat/completions', {'model': 'gemini-2.5-flash', 'stream': i % 2 == 0, 'messages': [{'role': 'user', 'content': 'hi'}]})[0] for i in range(n)]
        check(ask(30) == [200] * 30, 'a gateway serves 30 requests with them')
        hours = {project['id']: project['requests_last_hour'] for project in wait_for_reports(world, 30)}
        check(min(hours.values()) >= 5, f'each has its turns: {hours}')
        control(world.base, 'revoke', {'target': GEMINI_KEY})
        check(ask(30) == [200] * 30, 'when the API key is deleted, clients see nothing of it')
        key = next(project for project in world.json('projects', 'list')['projects'] if project['credential'] == 'api_key')
        check(key['state'] == 'needs_login' and 'API key not valid' in key['state_reason'], f'operators do: {key["state_reason"][:120]}…')
        everything = world.service.text() + gateway.text()
        secret = json.load(open(world.key))['private_key'][60:120]
        check(GEMINI_KEY not in everything and secret not in everything, 'no log has the keys')


def wait_for_reports(world, requests):
    end = time.monotonic() + 10
    while True:
        projects = world.json('projects', 'list')['projects']
        if sum(project['requests_last_hour'] for project in projects) >= requests or time.monotonic() > end:
            return projects
        time.sleep(0.2)


def disk():
    folder = '/tmp/agw-credentials-disk'
    os.makedirs(folder, exist_ok=True)
    subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=8m', 'tmpfs', folder], check=True)
    try:
        with Stack() as stack:
            world = World(stack, 3, folder=folder)
            few = thousand()
            few['projects'] = few['projects'][:3]
            world.write('few.json', few)
            world.write('many.json', thousand())
            check(world.json('import', 'few.json')['created'] == 3, 'a disk that fills: three projects are there')
            before = world.json('projects', 'list')['projects']
            room = os.statvfs(folder)
            with open(f'{folder}/filler', 'wb') as filler:
                filler.write(b'x' * (room.f_bavail * room.f_bsize - 300_000))
            full = world.run('import', 'many.json')
            check(full.returncode == 1 and 'full' in full.stderr and 'nothing was changed' in full.stderr, f'the import says so: {full.stderr.strip()}')
            ids = lambda projects: [project['id'] for project in projects]
            check(ids(world.json('projects', 'list')['projects']) == ids(before), 'nothing of it is there')
            os.remove(f'{folder}/filler')
            report = world.json('import', 'many.json')
            check((report['created'], report['unchanged']) == (ENTRIES - BAD - 3, 3), f'with room again all of it is: {report["created"]} created')
            world.service.stop()
    finally:
        subprocess.run(['umount', '-l', folder], check=False)


if __name__ == '__main__':
    for part in (terminal, formats, kinds, disk):
        part()
    sys.exit(bool(failed))
