#!/usr/bin/env python3
"""Several token-services on one real PostgreSQL: refreshes while replicas are killed and stopped, PostgreSQL away under
load, a standby that takes over and has fallen behind, and moves of a pool between SQLite and PostgreSQL that are killed in
the middle.

`--full` takes the times and numbers of the issue that this shows; without it each part takes a minute or two.
"""
import argparse, json, os, random, signal, sqlite3, subprocess, sys, time, urllib.error, urllib.request

import postgres
from pool import Load
from stack import BIN, TOKENS, Stack, check, clean_env, control, failed, free_port

KEY = 'dGhlIGtleSBvZiB0aGUgY2hlY2tzLCAzMiBieXRlcyE='
# Longer than a lease of a replica that died.
LEASE = 45


def get(base, path):
    with urllib.request.urlopen(f'{base}/{path}', timeout=10) as answer:
        return json.load(answer)


class Replicas:
    """fake-google, PostgreSQL and token-services that come back at their addresses."""

    def __init__(self, stack, server, replicas, projects, url=None, google=()):
        port = free_port()
        fake = stack.start('fake-google', ['--listen', f'127.0.0.1:{port}', '--projects', str(projects), '--rotate-refresh-tokens', *google])
        fake.wait_for(str(port))
        self.stack, self.server, self.base = stack, server, f'http://127.0.0.1:{port}'
        self.database = f'pool_{os.getpid()}_{port}'
        made = server.create(self.database)
        self.url = (url or (lambda it: it))(made)
        self.projects = [f'fake-project-{n}' for n in range(1, projects + 1)]
        entries = [{'project_id': name, 'refresh_token': f'1//fake-refresh-token-{n}', 'access_token': None, 'expires_at': None} for n, name in enumerate(self.projects, 1)]
        self.file = stack.tokens_file(entries, f'{self.base}/token', client=('fake-client.apps.googleusercontent.com', 'fake-client-secret'))
        self.addresses = [f'127.0.0.1:{free_port()}' for _ in range(replicas)]
        self.admins = [f'127.0.0.1:{free_port()}' for _ in range(replicas)]
        self.running = [None] * replicas

    def env(self, number):
        return {**TOKENS, 'DATABASE_URL': self.url, 'ENCRYPTION_KEY': KEY, 'TOKENS_FILE': self.file, 'ANTIGRAVITY_BASE_URLS': self.base,
                'TOKEN_SERVICE_LISTEN': self.addresses[number], 'TOKEN_SERVICE_ADMIN_LISTEN': self.admins[number], 'LOG_LEVEL': 'info'}

    def begin(self, number):
        self.running[number] = self.stack.start('token-service', env=self.env(number))
        return self.running[number]

    def start(self, number):
        return self.begin(number).listening()

    def kill(self, number):
        self.running[number].kill(signal.SIGKILL)
        self.running[number].process.wait()

    def granted(self):
        return get(self.base, '__fake/counters')['oauth']['granted_by_project']

    def sql(self, text):
        return self.server.sql(text, self.database)

    def fresh(self):
        """How many projects have a token for more than a quarter of an hour."""
        now = int(time.time() * 1000)
        return int(self.sql(f'SELECT count(*) FROM projects WHERE access_token_expires_at > {now + 900_000}'))

    def expire(self):
        """All tokens are about to end, as if an hour had passed."""
        now = int(time.time() * 1000)
        self.sql(f'UPDATE projects SET access_token_expires_at = {now + 20_000}, refreshed_at = {now - 3_600_000}')

    def all_fresh(self, seconds):
        return within(seconds, lambda: self.fresh() == len(self.projects))

    def admin(self, *arguments, number=0, check_status=True):
        environment = {**clean_env(), **TOKENS, 'TOKEN_SERVICE_URL': f'http://{self.addresses[number]}'}
        done = subprocess.run([os.path.join(BIN, 'antigravity-gateway'), *arguments], env=environment, cwd=self.stack.folder, capture_output=True, text=True, timeout=120)
        if check_status and done.returncode != 0:
            raise SystemExit(f'{arguments} failed: {done.stdout}{done.stderr}')
        return done

    def ready(self, number):
        try:
            with urllib.request.urlopen(f'http://{self.admins[number]}/readyz', timeout=10) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)
        except OSError as error:
            return 0, {'status': repr(error)}


def slow(base, before_commit, before_headers, times):
    delays = {'before_commit_ms': before_commit, 'before_headers_ms': before_headers, 'before_first_event_ms': 0, 'between_events_ms': 0}
    control(base, 'faults', {'matcher': {'endpoint': 'oauth_token'}, 'times': times, 'action': {'kind': 'delay', **delays}})


def forget_faults(base):
    urllib.request.urlopen(urllib.request.Request(f'{base}/__fake/faults', method='DELETE'), timeout=10).read()


def extra(before, after, projects):
    """Refreshes of each project beyond the one that it needed."""
    return [after.get(it, 0) - before.get(it, 0) - 1 for it in projects]


def refreshed_once(pool):
    for number in range(len(pool.running)):
        pool.start(number)
    check(pool.all_fresh(30), f'{len(pool.projects)} projects without a token have one')
    more = extra({}, pool.granted(), pool.projects)
    check(set(more) == {0}, f'two replicas, no kills: exactly one refresh a project ({sum(more)} more)')
    before = pool.granted()
    pool.expire()
    check(pool.all_fresh(60), 'all of them expire, and are refreshed')
    more = extra(before, pool.granted(), pool.projects)
    check(set(more) == {0}, f'again exactly one refresh a project ({sum(more)} more)')


class Held:
    """Holds up every commit of a refresh, as a slow disk would."""

    def __init__(self, pool):
        self.pool = pool

    def __enter__(self):
        environment = {**os.environ, 'PGPASSWORD': postgres.PASSWORD}
        server = self.pool.server
        self.process = subprocess.Popen([server.bin / 'psql', '-h', '127.0.0.1', '-p', str(server.port), '-U', 'postgres', '-d', self.pool.database, '-At'],
                                        env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.process.stdin.write("BEGIN; LOCK TABLE projects IN SHARE MODE; SELECT 'held';\n")
        self.process.stdin.flush()
        while self.process.stdout.readline().strip() != 'held':
            pass

    def __exit__(self, *_):
        self.process.stdin.write('ROLLBACK;\n\\q\n')
        self.process.stdin.close()
        self.process.wait(10)


def kill_at(pool, point, victim, draw):
    """Kills (or stops) a replica at a point of its refreshes; comes back when it is done."""
    if point == 'before the request':
        slow(pool.base, 60_000, 0, 8)
        pool.expire()
        time.sleep(1 + draw.random())
        pool.kill(victim)
        forget_faults(pool.base)
    elif point == 'after Google has committed':
        slow(pool.base, 0, 60_000, 8)
        pool.expire()
        time.sleep(1 + draw.random())
        pool.kill(victim)
        forget_faults(pool.base)
    elif point == 'after the answer':
        pool.expire()
        with Held(pool):
            time.sleep(0.7 + draw.random())
            pool.kill(victim)
    elif point == 'after it is stored':
        stored = pool.fresh
        slow(pool.base, 0, 100, 1000)
        pool.expire()
        end = time.monotonic() + 10
        while stored() < 5 and time.monotonic() < end:
            pass
        pool.kill(victim)
        forget_faults(pool.base)
    elif point == 'stopped past its lease':
        slow(pool.base, 0, 3_000, 1000)
        pool.expire()
        time.sleep(1 + draw.random())
        pool.running[victim].kill(signal.SIGSTOP)
        time.sleep(1)
        forget_faults(pool.base)
        time.sleep(LEASE)
        pool.running[victim].kill(signal.SIGCONT)
        return
    time.sleep(draw.random())
    pool.start(victim)


POINTS = ['before the request', 'after Google has committed', 'after the answer', 'after it is stored', 'stopped past its lease']


def killed(pool, kills, seed):
    """Two kills a round, one of each replica."""
    draw = random.Random(seed)
    done, worst, sum_more = 0, 0, 0
    while done < kills:
        at_once = [POINTS[(done + n) % len(POINTS)] for n in range(min(2, kills - done))]
        before = pool.granted()
        for victim, point in enumerate(at_once):
            kill_at(pool, point, victim if done % 4 < 2 else 1 - victim, draw)
        whole = pool.all_fresh(LEASE + 30)
        # Each point lets them expire once.
        more = [it - (len(at_once) - 1) for it in extra(before, pool.granted(), pool.projects)]
        done += len(at_once)
        worst, sum_more = max(worst, *more), sum_more + sum(max(it, 0) for it in more)
        if not whole or max(more) > len(at_once):
            check(False, f'{at_once}: {pool.fresh()} of {len(pool.projects)} are fresh, at most {max(more)} further refreshes')
    check(worst <= 2, f'{done} kills at {len(POINTS)} points: at most {worst} further refreshes of a project in a round of two kills, {sum_more} in all')


def what_is_stored_works(pool):
    """Every project refreshes with the refresh token that is in the database, in a service that knows nothing else."""
    for number in range(len(pool.running)):
        pool.kill(number)
    # A killed replica's leases end.
    time.sleep(2)
    for number in range(len(pool.running)):
        pool.start(number)
    before = pool.granted()
    pool.expire()
    check(pool.all_fresh(LEASE + 30), 'after all that, every project still refreshes with what is stored')
    more = extra(before, pool.granted(), pool.projects)
    check(set(more) == {0}, 'once each')
    states = json.loads(pool.admin('projects', 'list', '--json').stdout)['projects']
    check(len(states) == len(pool.projects) and all(it['state'] == 'active' for it in states), 'and is active')


def refreshes(server, kills, projects, seed):
    with Stack() as stack:
        pool = Replicas(stack, server, 2, projects)
        refreshed_once(pool)
        killed(pool, kills, seed)
        what_is_stored_works(pool)


def ledger(pool):
    return int(pool.sql("SELECT coalesce(sum(answers), 0) FROM usage"))


def away(seconds):
    """PostgreSQL is stopped, comes back at another address, takes no writes for a while, and is not there at the start."""
    with Stack() as stack:
        server = postgres.Server()
        stack.callback(lambda: server.remove())
        server.start()
        second = free_port()
        both = lambda url: url.replace(f':{server.port}/', f':{server.port},127.0.0.1:{second}/')
        pool = Replicas(stack, server, 2, 20, url=both)
        for number in range(2):
            pool.start(number)
        check(pool.all_fresh(30), '20 projects are fresh')
        urls = ','.join(f'http://{it}' for it in pool.addresses)
        gateways = [stack.gateway('unused', TOKEN_SERVICE_URL=urls, ANTIGRAVITY_BASE_URLS=pool.base).address for _ in range(2)]
        with Load(gateways, 60) as load:
            time.sleep(5)
            server.stop()
            told = [wait_ready(pool, number, lambda it: it[1]['status'] == 'degraded', 15) for number in range(2)]
            check(all(told), f'both replicas say that they serve from memory: {pool.ready(0)[1].get("reason", "")[:120]}')
            done = pool.admin('projects', 'disable', 'fake-project-1', check_status=False)
            check(done.returncode == 1 and 'nothing was changed' in done.stderr, f'a change is refused meanwhile: {done.stderr.strip()[:160]}')
            time.sleep(max(0, seconds - 5))
            server.port = second
            server.start()
            back = [wait_ready(pool, number, lambda it: it[1]['status'] == 'ok', 20) for number in range(2)]
            check(all(back), 'PostgreSQL is back, at another address of the URL: both are whole again without a restart')
            server.sql('ALTER SYSTEM SET default_transaction_read_only = on')
            server.sql('SELECT pg_reload_conf()')
            # What has to be written finds it out.
            told = [wait_ready(pool, number, lambda it: 'is set to take no writes' in it[1].get('reason', ''), 20) for number in range(2)]
            check(all(told), f'a server that takes no writes is told as that: {pool.ready(1)[1].get("reason", "")[:160]}')
            server.sql('ALTER SYSTEM RESET default_transaction_read_only')
            server.sql('SELECT pg_reload_conf()')
            back = [wait_ready(pool, number, lambda it: it[1]['status'] == 'ok', 20) for number in range(2)]
            check(all(back), 'and when it does again, nothing has to be restarted')
            pool.kill(0)
            time.sleep(3)
            pool.start(0)
            time.sleep(3)
        check(not load.bad(), f'{len(load.answers)} requests, PostgreSQL away for {seconds} s: none failed {load.bad()[:3]}')
        answers = len(load.answers)
        end = time.monotonic() + 15
        while ledger(pool) < answers and time.monotonic() < end:
            time.sleep(0.3)
        lacks = answers - ledger(pool)
        # One replica was killed: what was in its hands is repeated to the other, and counted once.
        check(lacks == 0, f'the ledger has all {answers} answers, once each (lacks {lacks})')
        waits_at_start(pool, server)


def failed_over(projects):
    """The primary crashes, and a standby takes over that has fallen behind: it lacks refresh tokens that have been rotated."""
    with Stack() as stack:
        primary = postgres.Server(settings={'wal_level': 'replica', 'max_wal_senders': '4'})
        stack.callback(primary.remove)
        primary.start()
        second = free_port()
        both = lambda url: url.replace(f':{primary.port}/', f':{primary.port},127.0.0.1:{second}/')
        pool = Replicas(stack, primary, 2, projects, url=both)
        for number in range(2):
            pool.start(number)
        check(pool.all_fresh(30), f'{projects} projects are fresh')
        data = primary.folder / 'standby'
        primary.run('pg_basebackup', '-D', data, '-h', '127.0.0.1', '-p', primary.port, '-U', 'postgres', '-R', '-X', 'stream')
        standby = postgres.Server(port=second, settings=primary.settings, data=data)
        stack.callback(standby.remove)
        standby.start()
        follows = "SELECT count(*) FROM pg_stat_wal_receiver WHERE status = 'streaming'"
        check(within(10, lambda: standby.sql(follows) == '1'), 'a standby follows')
        standby.sql("ALTER SYSTEM SET primary_conninfo = 'host=127.0.0.1 port=1'")
        standby.sql('SELECT pg_reload_conf()')
        check(within(10, lambda: standby.sql(follows) == '0'), 'until it falls behind')
        pool.expire()
        check(pool.all_fresh(60), 'all refresh tokens are rotated')
        pool.admin('projects', 'disable', 'fake-project-2')
        pool.admin('projects', 'add', 'added-project', '--refresh-token-file', refresh_token(stack, '1//of-nobody'), '--no-check', '--id', 'added')
        # Secrets are sealed anew; that the right ones are there is seen below.
        rows = 'SELECT id, disabled, access_token_expires_at FROM projects ORDER BY id'
        had = primary.sql(rows, pool.database)
        primary.stop(signal.SIGQUIT)
        check(standby.sql('SELECT count(*) FROM projects', pool.database) == str(projects), 'the primary crashes; the standby knows nothing of what was added')
        standby.run('pg_ctl', 'promote', '-D', data)
        pool.server = standby
        back = [wait_ready(pool, number, lambda it: it[1]['status'] == 'ok', 30) for number in range(2)]
        check(all(back), 'it takes over: both are whole again without a restart')
        check(within(30, lambda: standby.sql(rows, pool.database) == had), 'what it lacked is stored again: rotated refresh tokens, a project that was added, one that was disabled')
        pool.admin('projects', 'enable', 'fake-project-2')
        pool.admin('projects', 'remove', 'added', '--yes')
        what_is_stored_works(pool)


def refresh_token(stack, secret):
    path = os.path.join(stack.folder, 'refresh-token')
    with open(path, 'w', encoding='utf8') as file:
        file.write(secret)
    return path


def within(seconds, holds):
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(0.2)
    return True


def wait_ready(pool, number, holds, seconds):
    return within(seconds, lambda: holds(pool.ready(number)))


def waits_at_start(pool, server):
    pool.kill(1)
    server.stop()
    pool.begin(1)
    check(wait_ready(pool, 1, lambda it: it[0] == 503 and it[1]['status'] == 'starting', 15), f'started without PostgreSQL it waits, and says so: {pool.ready(1)[1].get("reason", "")[:120]}')
    done = pool.admin('projects', 'list', number=1, check_status=False)
    check(done.returncode == 1 and 'database' in done.stderr, f'so do calls: {done.stderr.strip()[:160]}')
    server.start()
    check(wait_ready(pool, 1, lambda it: it == (200, {'status': 'ok'}), 20), 'PostgreSQL comes, and it serves')
    listed = json.loads(pool.admin('projects', 'list', '--json', number=1).stdout)['projects']
    check(len(listed) == len(pool.projects), 'with all projects')


TABLES = ['meta', 'oauth_clients', 'projects', 'cooldowns', 'rotation', 'imports', 'client_imports', 'usage']


def columns(database):
    """Of each table those that both databases have, in SQLite's order."""
    return {table: [row[1] for row in database.execute(f'PRAGMA table_info("{table}")')] for table in TABLES}


def of_sqlite(path):
    with sqlite3.connect(path) as database:
        rows = {}
        for table, names in columns(database).items():
            only = "WHERE key = 'key_check'" if table == 'meta' else ''
            rows[table] = sorted([shown(value) for value in row] for row in database.execute(f'SELECT {",".join(names)} FROM {table} {only}'))
        reports = sorted(blob[n:n + 16].hex() for (blob,) in database.execute('SELECT ids FROM counted_reports') for n in range(0, len(blob), 16))
        return rows, reports, columns(database)


def of_postgres(server, database, names):
    rows = {}
    for table, columns in names.items():
        only = "WHERE key = 'key_check'" if table == 'meta' else ''
        fields = ','.join(f'to_json({"encode(" + it + chr(44) + chr(39) + "hex" + chr(39) + ")" if it.endswith("_sealed") or it == "value" else it})' for it in columns)
        text = server.sql(f'SELECT coalesce(json_agg(json_build_array({fields})), \'[]\') FROM {table} {only}', database)
        rows[table] = sorted([shown(value) for value in row] for row in json.loads(text))
    reports = server.sql("SELECT coalesce(string_agg(encode(id, 'hex'), ','), '') FROM counted_reports", database)
    return rows, sorted(it for it in reports.split(',') if it)


def shown(value):
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, bool):
        return str(int(value))
    return '' if value is None else str(value)


def large_pool(stack, path, projects, hours):
    """A pool of the real service, filled up with projects and a ledger."""
    fake = stack.start('fake-google', ['--projects', '3', '--tokens-out', os.path.join(stack.folder, 'three.json')])
    base = fake.wait_for(r'(http://127\.0\.0\.1:\d+)')[1]
    entries = [{'project_id': f'project-{n}', 'refresh_token': f'1//token-{n}', 'access_token': f'ya29.{n}', 'expires_at': '2026-01-01T00:00:00Z'} for n in range(projects)]
    file = stack.tokens_file(entries, f'{base}/token', client=('fake-client.apps.googleusercontent.com', 'fake-client-secret'))
    # Nothing is refreshed: the address refuses.
    service = stack.token_service(DATABASE_URL=f'sqlite://{path}', ENCRYPTION_KEY=KEY, TOKENS_FILE=file, OAUTH_TOKEN_URL='http://127.0.0.1:9/token', ANTIGRAVITY_BASE_URLS=base)
    service.stop()
    with sqlite3.connect(path) as database:
        now = int(time.time() * 1000) // 3_600_000 * 3_600_000
        rows = [(now - hour * 3_600_000, f'key-{key}', f'project-{project}', 'gemini-2.5-flash', 5, 4, 1, 100, 20, 30, 10, 900, 4000)
                for hour in range(hours) for key in range(5) for project in range(20)]
        database.executemany(f'INSERT INTO usage VALUES ({",".join("?" * 13)})', rows)
        database.execute("INSERT INTO cooldowns VALUES ('project-1', '', ?)", (now,))
        database.execute("INSERT OR REPLACE INTO rotation VALUES ('project-2', 77)")
        database.execute("UPDATE projects SET disabled = 1, display_name = 'Ünï \"quoted\" 🙂', status = 'suspended', status_reason = 'why', action_url = 'https://example.com' WHERE id = 'project-3'")
        database.execute('INSERT INTO counted_reports VALUES (?, ?)', (now, bytes(range(64))))


# What a move says of an old database that was moved.
ENDED = 'has been moved to'


def move(stack, arguments, env, kill_after=None):
    process = subprocess.Popen([os.path.join(BIN, 'antigravity-gateway'), 'migrate', *arguments, '--json'], cwd=stack.folder, env={**clean_env(), **env}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if kill_after is not None:
        try:
            process.wait(kill_after)
        except subprocess.TimeoutExpired:
            process.kill()
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


def moved(server, projects, hours, kills):
    with Stack() as stack:
        path = os.path.join(stack.folder, 'data', 'tokens.db')
        large_pool(stack, path, projects, hours)
        before, reports, names = of_sqlite(path)
        database = f'moved_{os.getpid()}'
        url = server.create(database)
        env = {'TARGET': url, 'DATABASE_URL': f'sqlite://{path}'}
        killed_moves, code, out, err = move_again_and_again(stack, ['--to', 'env:TARGET'], env, kills)
        check(killed_moves > 0 and code == 0, f'SQLite to PostgreSQL, killed {killed_moves} times and resumed: {out.strip() or err}')
        there, reports_there = of_postgres(server, database, names)
        differ = [table for table in TABLES if before[table] != there[table]]
        check(not differ and reports == reports_there, f'{sum(map(len, there.values()))} rows, compared field by field: the same {differ}')
        check(of_sqlite(path)[0] == before, 'and the old database holds what it held')
        code, _, err = move(stack, ['--to', 'env:TARGET', '--start-over'], env)
        check(code == 1 and ENDED in err, f'what is there is not overwritten: {err.strip()[:140]}')
        back = os.path.join(stack.folder, 'back', 'tokens.db')
        env = {'SOURCE': url, 'DATABASE_URL': 'sqlite://unused.db'}
        killed_moves, code, out, err = move_again_and_again(stack, ['--from', 'env:SOURCE', '--to', f'sqlite://{back}'], env, kills)
        check(killed_moves > 0 and code == 0, f'PostgreSQL to SQLite, killed {killed_moves} times and resumed: {out.strip() or err}')
        after, reports_after, _ = of_sqlite(back)
        check(after == before and reports_after == reports, 'the same, compared field by field')
        service = stack.token_service(DATABASE_URL=f'sqlite://{back}', ENCRYPTION_KEY=KEY, TOKENS_FILE=os.path.join(stack.folder, 'tokens.json'), OAUTH_TOKEN_URL='http://127.0.0.1:9/token')
        check(f'"projects":{projects}' in service.text(), 'and it serves')


def move_again_and_again(stack, arguments, env, kills):
    """Killed after longer and longer times, then left alone; how often it was killed, and how it ended."""
    times, pause = 0, 0.1
    for _ in range(kills):
        code, out, err = move(stack, arguments, env, kill_after=pause)
        if code == 0:
            return times, code, out, err
        if code > 0:
            # It had ended just before it was killed.
            return times, 0 if times and ENDED in err else code, out, err
        times, pause = times + 1, pause * 1.6
    code, out, err = move(stack, arguments, env)
    return times, 0 if ENDED in err else code, out, err


PARTS = ['refreshes', 'away', 'failed over', 'moved']


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--full', action='store_true')
    parser.add_argument('--only', choices=PARTS)
    parser.add_argument('--seed', type=int, default=random.randrange(1 << 30))
    options = parser.parse_args()
    if options.only is None:
        raise SystemExit(all_at_once(options))
    print(f'{options.only}: seed {options.seed}', flush=True)
    if options.only == 'away':
        away(60 if options.full else 20)
    elif options.only == 'failed over':
        failed_over(100 if options.full else 20)
    else:
        with postgres.server() as server:
            if options.only == 'refreshes':
                refreshes(server, 100 if options.full else 10, 100, options.seed)
            else:
                moved(server, 10_000 if options.full else 2_000, 2_000 if options.full else 500, 8 if options.full else 4)
    raise SystemExit(f'{len(failed)} did not hold: {failed}' if failed else 0)


def all_at_once(options):
    """Each part with a server of its own; the first mostly waits for leases to end."""
    common = ['--seed', str(options.seed), *(['--full'] if options.full else [])]
    parts = [subprocess.Popen([sys.executable, __file__, '--only', part, *common]) for part in PARTS]
    return max([part.wait() for part in parts], key=abs)


if __name__ == '__main__':
    main()
