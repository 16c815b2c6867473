#!/usr/bin/env python3
"""Follows docs/operations.md, block by block: both services in one, apart, and two token-services on a real PostgreSQL;
backups, restores, upgrades and their way back, new keys and tokens, and the way from SQLite to PostgreSQL and back. What
serves meanwhile serves every request.

It has a network of its own, so that the page's ports are free; root alone may make one.
"""
import glob, json, os, re, shutil, signal, sqlite3, subprocess, sys, time

import postgres
from pool import Load
from readme import OPERATIONS, blocks
from stack import API_KEY, BIN, Process, Stack, check, clean_env, failed, post

PAGE = 'docs/operations.md'
ALERTS = os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'deploy', 'observability', 'alerts.yml')
GOOGLE = 'http://127.0.0.1:8100'
INSIDE = 'AGW_OPERATIONS'


def enter():
    """Starts this program anew with a network of its own."""
    if os.environ.get(INSIDE):
        subprocess.run(['ip', 'link', 'set', 'lo', 'up'], check=True)
        return
    if os.geteuid() != 0:
        raise SystemExit('root is needed: the ports of the page are to be free')
    os.environ[INSIDE] = '1'
    os.environ['PATH'] = f'{os.path.abspath(BIN)}:{os.environ["PATH"]}:/usr/sbin:/sbin'
    for tool in ('unshare', 'ip', 'psql', 'openssl', 'curl'):
        if not shutil.which(tool):
            raise SystemExit(f'{tool} is missing: apt-get install util-linux iproute2 postgresql-client openssl curl')
    os.execvp('unshare', ['unshare', '--net', sys.executable, *sys.argv])


class Page:
    """The blocks, and which of them have been run."""

    def __init__(self):
        self.blocks = {block.runner: block for block in blocks(PAGE) if block.runner.startswith(OPERATIONS)}
        self.left = set(self.blocks)

    def text(self, name):
        self.left.discard(OPERATIONS + name)
        return self.blocks[OPERATIONS + name].text


class Place:
    """A machine's folder, with its .env and its data."""

    def __init__(self, stack, page, name, **env):
        self.stack, self.page, self.folder = stack, page, os.path.join(stack.folder, name)
        os.makedirs(os.path.join(self.folder, 'data'))
        self.env = {'ANTIGRAVITY_BASE_URLS': GOOGLE, 'SHUTDOWN_DELAY': '0s', 'SHUTDOWN_GRACE': '10s', 'NO_COLOR': '1', 'CURL_HOME': stack.folder, **env}

    def path(self, *names):
        return os.path.join(self.folder, *names)

    def command(self, *command, env=None, fails=False):
        """What a command says; `fails`: it has to."""
        done = subprocess.run(command, cwd=self.folder, env={**clean_env(), **self.env, **(env or {})}, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)
        if (done.returncode != 0) != fails:
            raise SystemExit(f'{command} ended with {done.returncode}:\n{done.stdout[-3000:]}{done.stderr[-3000:]}')
        return done.stdout + done.stderr

    def run(self, name, env=None, fails=False):
        """Runs a block of the page as it stands there."""
        said = self.command('bash', '-euo', 'pipefail', '-c', self.page.text(name), env=env, fails=fails)
        print(f'ok   {self.page.blocks[OPERATIONS + name]}{" is refused" if fails else ""}', flush=True)
        return said

    def start(self, program, block=None, **env):
        """Starts a program, or a block that is one, and waits until it listens."""
        command = ['bash', ['-euo', 'pipefail', '-c', self.page.text(block)]] if block else [program, []]
        process = Process(program, command[1], {**self.env, **env}, self.folder, binary=shutil.which(command[0]))
        self.stack.callback(process.stop)
        process.wait_for('"message":"the gateway listens"' if program != 'token-service' else '"message":"listening"')
        return process

    def projects(self, **env):
        return {it['id']: it['state'] for it in json.loads(self.command('antigravity-gateway', 'projects', 'list', '--json', env=env))['projects']}

    def secret(self, name):
        with open(self.path('data', name), encoding='utf8') as file:
            return file.read().strip()

    def set(self, name, value):
        """A line of .env, in the place of that of before."""
        path = self.path('.env')
        lines = open(path, encoding='utf8').read().splitlines() if os.path.exists(path) else []
        lines = [line for line in lines if not line.startswith(f'{name}=')] + [f'{name}={value}']
        with open(path, 'w', encoding='utf8') as file:
            file.write('\n'.join(lines) + '\n')

    def settings(self, name):
        with open(self.path('.env'), encoding='utf8') as file:
            return re.findall(rf'^{name}=(.*)$', file.read(), re.M)

    def setting(self, name):
        (value,) = self.settings(name)
        return value

    def mode(self, *names):
        return os.stat(self.path(*names)).st_mode & 0o777

    def kept(self, pattern):
        """What the files of this pattern hold, which are for their owner alone."""
        found = sorted(glob.glob(self.path(pattern)))
        check(found and all(self.mode(path) == 0o600 for path in found), f'{pattern} is for its owner alone')
        return [open(path, encoding='utf8').read().strip() for path in found]


def answers(key, port=8000):
    body = {'model': 'gemini-2.5-flash', 'messages': [{'role': 'user', 'content': 'Hello there'}]}
    return post(f'http://127.0.0.1:{port}/v1/chat/completions', body, key=key)[0]


def ended(process):
    check(process.stop() == 0, f'{process.name} ends in order')


THREE = {f'fake-project-{n}': 'active' for n in (1, 2, 3)}


def until_the_next_second():
    """Files are named by it."""
    time.sleep(1 - time.time() % 1 + 0.05)


def newer_sqlite(path):
    """What a newer version leaves behind: a migration that this one does not know."""
    with sqlite3.connect(path) as database:
        database.execute("INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (99, 'later', 1, x'00', 1)")


def in_one(stack, page, tokens):
    """Both services in one process, with SQLite."""
    place = Place(stack, page, 'one', OAUTH_TOKEN_URL=f'{GOOGLE}/token')
    shutil.copy(tokens, place.path('data', 'tokens.json'))
    with open(place.path('.env'), 'w', encoding='utf8') as file:
        file.write('LOG_LEVEL=info\n')
    os.chmod(place.path('.env'), 0o644)
    place.run('listeners')
    check(place.mode('.env') == 0o600 and place.setting('LOG_LEVEL') == 'info', 'a .env that anybody could read is for its owner alone')
    service = place.start('antigravity-gateway')
    key = place.secret('api_key')
    check(answers(key) == 200, 'it serves')
    said = place.run('look')
    check(said.count('{"status":"ok"}\n') == 2 and 'fake-project-3' in said, 'and is well')

    place.run('backup')
    place.run('keep-key')
    place.command('antigravity-gateway', 'projects', 'remove', 'fake-project-1', '--yes')
    said = place.run('restore')
    check('in place of 2 projects' in said and place.projects() == THREE and answers(key) == 200, 'a project that was removed is back, while it serves')
    ended(service)

    other = Place(stack, page, 'other', OAUTH_TOKEN_URL=f'{GOOGLE}/token')
    (backup,) = os.listdir(place.path('backups'))
    shutil.copy(place.path('backups', backup), other.path('pool.db'))
    (key_then,) = place.kept('encryption-*.key')
    with open(other.path('encryption.key'), 'w', encoding='utf8') as file:
        file.write(key_then)
    other.run('restore-elsewhere')
    service = other.start('antigravity-gateway')
    check(other.projects() == THREE and answers(other.secret('api_key')) == 200, 'on another machine the backup serves')
    check(other.secret('encryption.key') != place.secret('encryption.key'), 'sealed with a key of that place')
    ended(service)

    service = place.start('antigravity-gateway')
    before = place.secret('encryption.key')
    place.run('rotate-file')
    # The same bytes in base64's other alphabet, in which a first start writes them.
    plain = lambda text: text.replace('-', '+').replace('_', '/').rstrip('=')
    check(plain(place.secret('encryption.key')) != plain(before) and plain(before) in plain(place.secret('encryption.key.retired')), 'another key seals, and the old one is kept')
    place.run('restore')
    check(place.projects() == THREE and answers(key) == 200, 'a backup of before the rotation is restored all the same')
    until_the_next_second()
    place.run('keep-key')
    check(len(set(map(plain, place.kept('encryption-*.key')))) == 2, 'the new key is kept beside the old one')

    place.run('backup-before')
    ended(service)
    for _ in range(2):
        newer_sqlite(place.path('data', 'tokens.db'))
        said = place.command('antigravity-gateway', fails=True)
        check('was made by a newer version of this program' in said, 'the old version refuses a database of a newer one')
        until_the_next_second()
        place.run('downgrade')
    check(len(glob.glob(place.path('newer-*', 'tokens.db'))) == 2, 'each newer database has been put aside, also the second time')
    service = place.start('antigravity-gateway')
    check(place.projects() == THREE and answers(key) == 200, 'and goes on with the backup')

    place.run('new-api-key')
    ended(service)
    service = place.start('antigravity-gateway')
    new = place.run('new-api-key-shown').strip()
    check((answers(key), answers(new)) == (401, 200), 'another API key is made, and the old one is refused')
    ended(service)


def apart(stack, page, tokens):
    """A token-service and a gateway with what `init` has made for it; then an encryption key and a token of one's own."""
    place, edge = Place(stack, page, 'tokens'), Place(stack, page, 'edge')
    shutil.copy(tokens, place.path('data', 'tokens.json'))
    place.run('init')
    os.rmdir(edge.path('data'))
    shutil.copytree(place.path('for-gateways'), edge.path('data'))
    service = place.start('token-service', block='token-service')
    gateway = edge.start('gateway', block='gateway', API_KEYS=f'{API_KEY},{edge.secret("api_key")}')
    check(answers(edge.secret('api_key')) == 200, 'two services apart serve with what init has made')

    with Load(['127.0.0.1:8000'], 60) as load:
        place.command('antigravity-gateway', 'backup', 'before.db')
        place.set('LOG_LEVEL', 'info')
        said = place.run('key-first', fails=True)
        check('ENCRYPTION_KEY is not in .env' in said, 'where the key is in its file, that is told')
        said = place.run('key-drop', fails=True)
        check('has no old key' in said and not glob.glob(place.path('retired-*.key')), 'and there is none to take out')
        place.set('ENCRYPTION_KEY', '"' + place.secret('encryption.key') + '"')
        place.run('key-first')
        old = place.setting('ENCRYPTION_KEY').split(',')[1]
        check(old == place.secret('encryption.key'), 'the key of before is the second')
        ended(service)
        service = place.start('token-service', block='token-service')
        said = place.run('rotate')
        check(re.search(r'opens +0\b', said), 'after the rotation the old key seals nothing')
        until_the_next_second()
        place.run('key-drop')
        check(',' not in place.setting('ENCRYPTION_KEY'), 'and is taken out')
        check(place.kept('retired-*.key') == [old], 'and kept')
        said = place.run('key-drop', fails=True)
        check('has no old key' in said and place.kept('retired-*.key') == [old], 'once')
        ended(service)
        service = place.start('token-service', block='token-service')
        check(place.projects() == THREE, 'the new key alone opens everything')
        (retired,) = glob.glob(place.path('retired-*.key'))
        said = place.command('antigravity-gateway', 'restore', 'before.db', '--yes', fails=True)
        check('--key-file' in said, 'a backup of before needs the old key')
        place.command('antigravity-gateway', 'restore', 'before.db', '--yes', '--key-file', retired)
        check(place.projects() == THREE, 'with which it is restored')

        # GATEWAY_TOKEN, as the table says: the token-service, then the gateway.
        token = 'another-gateway-token'
        place.set('GATEWAY_TOKEN', token)
        ended(service)
        service = place.start('token-service', block='token-service')
        time.sleep(2)
    check(not load.bad(), f'{len(load.answers)} requests in {load.seconds:.0f} s meanwhile, all served {load.bad()[:3]}')
    edge.set('GATEWAY_TOKEN', token)
    ended(gateway)
    gateway = edge.start('gateway', block='gateway')
    ready = edge.command('curl', '-s', 'http://127.0.0.1:9090/readyz')
    check(answers(edge.secret('api_key')) == 200 and '"ok"' in ready, f'and the gateway is well with another GATEWAY_TOKEN {ready}')
    ended(gateway)
    ended(service)
    return place


class Replicas:
    """Token-services with one .env, each in a folder of its own."""

    def __init__(self, places):
        self.places = places
        self.urls = [f'http://127.0.0.1:{50051 + n}' for n in range(len(places))]
        self.running = [None] * len(places)

    def start(self, number):
        env = {'TOKEN_SERVICE_LISTEN': f'127.0.0.1:{50051 + number}', 'TOKEN_SERVICE_ADMIN_LISTEN': f'127.0.0.1:{9091 + number}'}
        self.running[number] = self.places[number].start('token-service', **env)

    def copy(self):
        """The .env of the first on all."""
        for place in self.places[1:]:
            shutil.copy(self.places[0].path('.env'), place.path('.env'))

    def one_by_one(self):
        for number in range(len(self.places)):
            ended(self.running[number])
            self.start(number)

    def projects(self, number):
        return self.places[number].projects(TOKEN_SERVICE_URL=self.urls[number])


def until(holds, seconds=10):
    end = time.monotonic() + seconds
    while not holds() and time.monotonic() < end:
        time.sleep(0.1)
    return holds()


def postgres_env(stack, page, first, target):
    """The secrets that .env has already, from the page's sections before, stay what they are."""
    place = Place(stack, page, 'settled')
    shutil.copytree(first.path('data'), place.path('data'), dirs_exist_ok=True)
    # Their files are older.
    settled = {'ENCRYPTION_KEY': first.secret('encryption.key'), 'API_KEYS': 'ann=sk-ci-of-before', 'DATABASE_URL': 'sqlite://data/tokens.db', 'LOG_LEVEL': 'info'}
    for name, value in settled.items():
        place.set(name, value)
    os.chmod(place.path('.env'), 0o644)
    place.run('postgres-env', env=target)
    check(place.mode('.env') == 0o600, 'a .env that anybody could read is for its owner alone')
    check(all(place.setting(name) == value for name, value in settled.items() if name != 'DATABASE_URL'), 'what .env sets already is as it was')
    check(place.setting('DATABASE_URL') == target['NEW_DATABASE_URL'], 'the database is the new one alone')
    check((place.setting('GATEWAY_TOKEN'), place.setting('ADMIN_TOKEN')) == (place.secret('gateway_token'), place.secret('admin_token')), 'and the rest is set')
    service = place.start('antigravity-gateway')
    check(place.projects() == THREE and answers('sk-ci-of-before') == 200, 'it starts and serves')
    ended(service)


def on_postgres(stack, page, server, tokens):
    first, second, edge = (Place(stack, page, name, **env) for name, env in (('first', {'OAUTH_TOKEN_URL': f'{GOOGLE}/token'}), ('second', {}), ('balanced', {})))
    shutil.copy(tokens, first.path('data', 'tokens.json'))
    service = first.start('antigravity-gateway')
    check(answers(first.secret('api_key')) == 200, 'a pool on SQLite serves')
    superuser = {'PGHOST': '127.0.0.1', 'PGPORT': str(server.port), 'PGUSER': 'postgres', 'PGPASSWORD': postgres.PASSWORD}
    first.run('create-database', env=superuser)
    target = {'NEW_DATABASE_URL': f'postgres://antigravity:PASSWORD@127.0.0.1:{server.port}/antigravity'}
    said = first.run('to-postgres', env=target, fails=True)
    check('is in use by the process' in said, 'while the pool serves, it is not moved')
    ended(service)
    said = first.run('to-postgres', env=target)
    check('Moved 3 projects, 1 OAuth client and 1 row of the ledger' in said, 'then it is')
    said = first.run('to-postgres', env=target, fails=True)
    check('--start-over' in said, 'once: what is there already is not overwritten unasked')
    postgres_env(stack, page, first, target)
    first.run('postgres-env', env=target)
    check(first.mode('.env') == 0o600, '.env is for its owner alone')
    check(first.setting('API_KEYS') == first.secret('api_key'), 'clients keep their key')
    before = open(first.path('.env'), encoding='utf8').read()
    first.run('postgres-env', env=target)
    check(sorted(before.splitlines()) == sorted(open(first.path('.env'), encoding='utf8').read().splitlines()), 'the same again changes nothing')
    usage = first.command('antigravity-gateway', 'usage', '--json')
    check('"answers": 1' in usage, 'the record of usage has come along')

    replicas = Replicas([first, second])
    replicas.copy()
    for number in range(2):
        replicas.start(number)
    gateway = edge.start('gateway', TOKEN_SERVICE_URL=','.join(replicas.urls), GATEWAY_TOKEN=first.setting('GATEWAY_TOKEN'), API_KEYS=API_KEY)
    with Load(['127.0.0.1:8000'], 60) as load:
        check(replicas.projects(0) == replicas.projects(1) == THREE, 'two token-services have the pool')
        # An upgrade, one by one; one of the two is of a version that knows a migration more.
        server.sql("INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (99, 'later', true, '\\x00', 1)", 'antigravity')
        replicas.one_by_one()
        check(replicas.projects(0) == THREE, 'old and new side by side, replaced one by one')
        server.sql("DELETE FROM _sqlx_migrations WHERE version = 99", 'antigravity')

        first.run('backup')
        first.command('antigravity-gateway', 'projects', 'remove', 'fake-project-1', '--yes')
        check(until(lambda: len(replicas.projects(1)) == 2), 'a project is removed on one, and gone on the other')
        first.run('restore')
        check(until(lambda: replicas.projects(1) == THREE), 'a restore on one is followed by the other')

        old = first.setting('ENCRYPTION_KEY')
        first.run('keys-behind')
        behind = first.setting('ENCRYPTION_KEY')
        check(behind.startswith(f'{old},'), 'a new key is behind the old one')
        # Too early: one alone has it.
        ended(replicas.running[0])
        first.set('ENCRYPTION_KEY', ','.join(reversed(behind.split(','))))
        replicas.start(0)
        said = first.command('antigravity-gateway', 'keys', 'rotate', fails=True)
        check('does not seal with the encryption key' in said, 'rotating is refused while a token-service seals with another key')
        first.set('ENCRYPTION_KEY', behind)
        replicas.copy()
        replicas.one_by_one()
        first.run('keys-swap')
        check(first.setting('ENCRYPTION_KEY') == ','.join(reversed(behind.split(','))), 'then it is before the old one')
        replicas.copy()
        replicas.one_by_one()
        said = first.run('rotate')
        check(re.search(r'opens +0\b', said), 'after the rotation the old key seals nothing')
        # A third, while the old one is there.
        other = Place(stack, page, 'three')
        other.set('ENCRYPTION_KEY', f'"{first.setting("ENCRYPTION_KEY")}"')
        other.run('keys-behind')
        three = other.setting('ENCRYPTION_KEY').split(',')
        check(three[:2] == first.setting('ENCRYPTION_KEY').split(','), 'a third key is behind two')
        other.run('keys-swap')
        check(other.setting('ENCRYPTION_KEY').split(',') == [three[2], *three[:2]], 'and comes before both')
        other.run('key-drop')
        check(other.setting('ENCRYPTION_KEY') == three[2] and other.kept('retired-*.key') == [','.join(three[:2])], 'which are kept when they are taken out')
        said = other.run('keys-swap', fails=True)
        check('has no new key' in said, 'one alone is not swapped')
        first.run('key-drop')
        replicas.copy()
        replicas.one_by_one()
        check(old not in first.setting('ENCRYPTION_KEY'), 'and is taken out on all')
        check(replicas.projects(0) == replicas.projects(1) == THREE, 'the new key alone opens everything')
    check(not load.bad(), f'{len(load.answers)} requests in {load.seconds:.0f} s meanwhile, all served {load.bad()[:3]}')
    ended(gateway)
    said = first.run('to-sqlite', fails=True)
    check('uses the database' in said, 'while token-services run, it is not moved back')
    for process in replicas.running:
        ended(process)

    # A newer version that cannot be lived with.
    compatible = server.sql("SELECT convert_from(value, 'UTF8') FROM meta WHERE key = 'compatible_with'", 'antigravity')
    server.sql("UPDATE meta SET value = '99' WHERE key = 'compatible_with'", 'antigravity')
    said = first.command('token-service', fails=True)
    check('was made by a newer version of this program' in said, 'a schema that is not for this version is refused')
    server.sql(f"UPDATE meta SET value = '{compatible}' WHERE key = 'compatible_with'", 'antigravity')

    first.run('to-sqlite')
    check(first.setting('DATABASE_URL') == 'sqlite://data/back.db', '.env names the file')
    service = first.start('antigravity-gateway')
    check(first.projects() == THREE and answers(first.setting('API_KEYS')) == 200, 'and back on SQLite it serves')
    ended(service)


def alerts_have_their_place(page):
    """Each alert has a heading that a link can name, in the order of the alphabet."""
    with open(ALERTS, encoding='utf8') as file:
        alerts = re.findall(r'- alert: (\w+)', file.read())
    with open(os.path.join(os.path.dirname(ALERTS), '..', '..', PAGE), encoding='utf8') as file:
        told = re.findall(r'^### (\w+)$', file.read().split('\n## Alerts\n')[1], re.M)
    check(told == sorted(alerts), f'each of {len(alerts)} alerts has its heading, in order {sorted(set(told) ^ set(alerts))}')


def main():
    enter()
    page = Page()
    alerts_have_their_place(page)
    with Stack() as stack, postgres.server() as server:
        with open(os.path.join(stack.folder, '.curlrc'), 'w', encoding='utf8') as file:
            file.write('fail-with-body\nsilent\nshow-error\nmax-time = 20\n')
        tokens = os.path.join(stack.folder, 'tokens.json')
        google = stack.start('fake-google', ['--listen', GOOGLE.removeprefix('http://'), '--tokens-out', tokens])
        google.wait_for(GOOGLE)
        in_one(stack, page, tokens)
        apart(stack, page, tokens)
        on_postgres(stack, page, server, tokens)
    check(not page.left, f'all {len(page.blocks)} blocks of {PAGE} were run {sorted(page.left)}')
    if failed:
        raise SystemExit(f'\n{len(failed)} failed: {failed}')


if __name__ == '__main__':
    main()
