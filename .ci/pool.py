#!/usr/bin/env python3
"""A token pool in real life: its service is killed again and again, is away for longer than tokens live, and its disk
is full or read-only; two gateways go on meanwhile. Counts the calls that gateways make of it.

`--full` takes the times of the issue that this shows; without it each part takes seconds.
"""
import argparse, datetime, http.client, json, os, re, signal, socket, subprocess, threading, time

from stack import API_KEY, BIN, TOKENS, Stack, check, control, failed, free_port

ASK = json.dumps({'model': 'gemini-2.5-flash', 'messages': [{'role': 'user', 'content': 'hi'}]}).encode()
STREAM = json.dumps({**json.loads(ASK), 'stream': True}).encode()
HEADERS = {'Authorization': f'Bearer {API_KEY}', 'Content-Type': 'application/json'}


class Pool:
    """fake-google, a token-service that can be killed and comes back at its address, and gateways."""

    def __init__(self, stack, gateways, expires_in=3599, projects=3, folder=None):
        port = free_port()
        google = stack.start('fake-google', ['--listen', f'127.0.0.1:{port}', '--projects', str(projects), '--expires-in', str(expires_in)])
        google.wait_for(str(port))
        self.stack, self.base = stack, f'http://127.0.0.1:{port}'
        self.address = f'127.0.0.1:{free_port()}'
        entries = [{'project_id': f'fake-project-{n}', 'refresh_token': f'1//fake-refresh-token-{n}', 'access_token': None, 'expires_at': None} for n in range(1, projects + 1)]
        self.file = stack.tokens_file(entries, f'{self.base}/token', client=('fake-client.apps.googleusercontent.com', 'fake-client-secret'))
        self.env = {'DATABASE_URL': f'sqlite://{folder}/tokens.db'} if folder else {}
        self.logs = []
        self.start()
        self.admin = [f'127.0.0.1:{free_port()}' for _ in range(gateways)]
        self.gateways = [stack.gateway(self.address, ANTIGRAVITY_BASE_URLS=self.base, ADMIN_LISTEN=admin).address for admin in self.admin]

    def start(self):
        # fake-google's addresses, so that nothing here looks for Google.
        self.service = self.stack.token_service(TOKENS_FILE=self.file, TOKEN_SERVICE_LISTEN=self.address, ANTIGRAVITY_BASE_URLS=self.base, **self.env)
        self.logs.append(self.service)

    def kill(self):
        self.service.kill(signal.SIGKILL)
        self.service.process.wait()

    def transitions(self):
        text = ''.join(log.text() for log in self.logs)
        return re.findall(r'"a project (?:changed its state|rests|has rested)".*', text)

    def metrics(self):
        """The sums over all gateways, by name."""
        sums = {}
        for admin in self.admin:
            connection = http.client.HTTPConnection(admin, timeout=10)
            connection.request('GET', '/metrics')
            for line in connection.getresponse().read().decode().splitlines():
                if not line.startswith('#') and ' ' in line:
                    name, value = line.rsplit(' ', 1)
                    sums[name] = sums.get(name, 0) + float(value)
        return sums


class Client:
    """A client with a connection of its own, without retries; `(status, body)` of each request."""

    def __init__(self, address):
        self.address, self.connection = address, None

    def ask(self, body=ASK):
        if self.connection is None:
            self.connection = http.client.HTTPConnection(self.address, timeout=30)
            self.connection.connect()
            self.connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            self.connection.request('POST', '/v1/chat/completions', body, HEADERS)
            answer = self.connection.getresponse()
            text = answer.read()
        except OSError as error:
            self.connection = None
            return 0, repr(error).encode()
        whole = text.endswith(b'data: [DONE]\n\n') if body is STREAM else b'"choices"' in text
        return answer.status if whole or answer.status != 200 else -1, text


class Load:
    """Requests at an even rate over all gateways, until it is left."""

    def __init__(self, addresses, rate, clients=8):
        self.addresses, self.rate, self.clients = addresses, rate, clients
        self.answers, self.lock, self.over = [], threading.Lock(), threading.Event()

    def run(self, number):
        client, due, turn = Client(self.addresses[number % len(self.addresses)]), time.monotonic() + number / self.rate, 0
        while not self.over.is_set():
            time.sleep(max(0, due - time.monotonic()))
            at = time.monotonic()
            answer = client.ask(STREAM if turn % 2 else ASK)
            with self.lock:
                self.answers.append((at, *answer))
            due, turn = max(due + self.clients / self.rate, time.monotonic() - 1), turn + 1

    def __enter__(self):
        self.began = time.monotonic()
        self.threads = [threading.Thread(target=self.run, args=(n,), daemon=True) for n in range(self.clients)]
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        for thread in self.threads:
            thread.join(40)
        self.seconds = time.monotonic() - self.began

    def bad(self):
        return [(round(at - self.began, 2), status, body[:300]) for at, status, body in self.answers if status != 200]


def killed_again_and_again(seconds):
    with Stack() as stack:
        pool = Pool(stack, 2)
        with Load(pool.gateways, 50) as load:
            kills = 0
            while time.monotonic() - load.began < seconds:
                time.sleep(5 - 0.3)
                pool.kill()
                time.sleep(0.3)
                pool.start()
                kills += 1
        bad = load.bad()
        check(len(load.answers) > 40 * seconds, f'{len(load.answers)} requests in {load.seconds:.0f} s, {kills} kills of the token-service')
        check(not bad, f'no request failed {bad[:3]}')
        for _ in range(50):
            shown = {name: value for name, value in pool.metrics().items() if name.startswith(('antigravity_gateway_outcomes', 'antigravity_gateway_token_service_up'))}
            if shown.get('antigravity_gateway_outcomes_queued') == 0:
                break
            time.sleep(0.1)
        check(shown['antigravity_gateway_outcomes_queued'] == 0 and shown['antigravity_gateway_outcomes_dropped_total'] == 0, f'every report was taken: {shown}')
        check(shown['antigravity_gateway_token_service_up'] == 2, 'both gateways say that it is up')


def away_for_longer_than_tokens_live(lifetime):
    with Stack() as stack:
        pool = Pool(stack, 2, expires_in=lifetime)
        client = Client(pool.gateways[0])
        with Load(pool.gateways, 50) as load:
            time.sleep(2)
            end = last_end(pool)
            pool.kill()
            time.sleep(1)
            status, body = ready(pool)
            check(status == 200 and b'degraded' in body, '/readyz says degraded')
            # Until every token has ended, and requests are no longer waiting for its return.
            while time.time() < end + 4:
                time.sleep(0.1)
            status, body = client.ask()
            check(status == 503 and b'token_service_unavailable' in body, f'then it is said: {status} {body[:200]}')
            check(ready(pool)[0] == 503, '/readyz says so too')
            pool.start()
            back = time.monotonic()
            while client.ask()[0] != 200 and time.monotonic() - back < 30:
                time.sleep(0.01)
            recovered = time.monotonic() - back
            time.sleep(1)
        check(recovered < 1, f'{recovered:.2f} s after its return requests are served')
        first = min(at for at, status, _ in load.answers if status != 200) + time.time() - time.monotonic()
        # It is used up to its last second; whoever asks then waits for two before it is told.
        check(end - 1.5 < first, f'the first request that failed was made {first - end:+.1f} s from the end of the last token')
        late = [answer for answer in load.bad() if answer[0] + load.began > back + 2.5]
        check(not late, f'no failure after it was back {late[:2]}')
        others = [answer for answer in load.bad() if answer[1] != 503]
        check(not others, f'nothing but 200 and 503 {others[:2]}')


def ready(pool):
    connection = http.client.HTTPConnection(pool.admin[0], timeout=10)
    connection.request('GET', '/readyz')
    answer = connection.getresponse()
    return answer.status, answer.read()


def last_end(pool):
    """When the last of the tokens ends, on the wall clock."""
    env = {'PATH': os.environ['PATH'], 'TOKEN_SERVICE_URL': f'http://{pool.address}', 'ADMIN_TOKEN': TOKENS['ADMIN_TOKEN']}
    listed = subprocess.run([os.path.join(BIN, 'antigravity-gateway'), 'projects', 'list', '--json'], env=env, cwd=pool.stack.folder, capture_output=True, check=True, timeout=30)
    ends = [project['token_expires_at'] for project in json.loads(listed.stdout)['projects']]
    return max(datetime.datetime.fromisoformat(end.replace('Z', '+00:00')).timestamp() for end in ends)


def calls_per_request(seconds):
    rows = []
    for rate, clients in ((1, 1), (50, 8), (1000, 24)):
        with Stack() as stack:
            pool = Pool(stack, 1)
            Client(pool.gateways[0]).ask()
            time.sleep(1)
            before = pool.metrics()
            with Load(pool.gateways, rate, clients) as load:
                time.sleep(seconds)
            after = pool.metrics()
            difference = lambda start: sum(value - before.get(name, 0) for name, value in after.items() if name.startswith(start))
            requests = len(load.answers)
            acquire = difference('antigravity_gateway_token_service_calls_total{method="AcquireTokens"')
            report = difference('antigravity_gateway_token_service_calls_total{method="ReportOutcomes"')
            check(not load.bad(), f'{rate} a second: no failure {load.bad()[:2]}')
            rows.append((rate, requests / load.seconds, (acquire + report) / requests, acquire / requests, report / requests))
    print('     asked/s  served/s  calls/request  AcquireTokens  ReportOutcomes')
    for rate, served, both, acquire, report in rows:
        print(f'     {rate:7}  {served:8.1f}  {both:13.3f}  {acquire:13.3f}  {report:14.3f}')
    for rate, _, both, *_ in rows[1:]:
        check(both < 0.1, f'{rate} a second: {both:.3f} calls a request, below one in ten')


def disks(_):
    folder = '/tmp/agw-pool-disk'
    os.makedirs(folder, exist_ok=True)
    subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=8m', 'tmpfs', folder], check=True)
    try:
        with Stack() as stack:
            pool = Pool(stack, 1, expires_in=16, folder=folder)
            with Load(pool.gateways, 20, 4) as load:
                time.sleep(3)
                filler = os.open(f'{folder}/filler', os.O_CREAT | os.O_WRONLY)
                try:
                    while True:
                        os.write(filler, b'x' * 4096)
                except OSError:
                    os.close(filler)
                wait(lambda: 'cannot' in pool.service.text(), 20)
                said = [line for line in pool.service.text().splitlines() if '"ERROR"' in line]
                check(said and 'full' in said[-1], f'a full disk is said: {said[-1:]}')
                os.remove(f'{folder}/filler')
                time.sleep(14)
                check(not_since(load, 8), f'with room again requests are served {load.bad()[-1:]}')
            refused = [answer for answer in load.bad() if answer[1] not in (503, 429)]
            check(not refused, f'nothing but clear refusals meanwhile: {refused[:2]}')
            check(pool.service.process.poll() is None, 'without a restart')
        subprocess.run(['mount', '-o', 'remount,ro', folder], check=True)
        with Stack() as stack:
            env = {'DATABASE_URL': f'sqlite://{folder}/tokens.db', 'TOKEN_SERVICE_LISTEN': '127.0.0.1:0', **TOKENS}
            service = stack.start('token-service', env=env)
            code = service.process.wait(20)
            said = service.text().strip().splitlines()[-1]
            check(code == 1 and 'tokens.db' in said and 'ead-only' in said, f'a read-only one is said at the start, exit status {code}: {said}')
    finally:
        subprocess.run(['umount', '-l', folder], check=False)


def not_since(load, seconds):
    since = time.monotonic() - seconds
    with load.lock:
        latest = [status for at, status, _ in load.answers if at > since]
    return latest and all(status == 200 for status in latest)


def wait(holds, seconds):
    end = time.monotonic() + seconds
    while not holds() and time.monotonic() < end:
        time.sleep(0.05)


def transitions(_):
    with Stack() as stack:
        pool = Pool(stack, 1)
        client = Client(pool.gateways[0])
        for _ in range(6):
            client.ask()
        control(pool.base, 'faults', {'matcher': {'project': 'fake-project-1'}, 'times': 1, 'action': {'kind': 'error', 'error': 'quota_exhausted', 'retry_after': 3}})
        control(pool.base, 'faults', {'matcher': {'project': 'fake-project-2'}, 'times': None, 'action': {'kind': 'error', 'error': 'terms_of_service'}})
        end = time.monotonic() + 6
        while time.monotonic() < end:
            client.ask()
            time.sleep(0.02)
        told = pool.transitions()
        rests = [line for line in told if '"a project rests"' in line and 'fake-project-1' in line]
        rested = [line for line in told if '"a project has rested"' in line and 'fake-project-1' in line]
        suspended = [line for line in told if '"to":"suspended"' in line]
        check(len(rests) == 1 and len(rested) == 1, f'a rest and its end are told once each: {len(rests)}, {len(rested)}')
        check(len(suspended) == 1 and 'fake-project-2' in suspended[0], f'so is a suspension: {suspended}')


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--full', action='store_true')
    full = parser.parse_args().full
    for part, size, full_size in ((killed_again_and_again, 15, 60), (away_for_longer_than_tokens_live, 16, 60), (calls_per_request, 5, 20), (disks, 0, 0), (transitions, 0, 0)):
        print(f'\n{part.__name__.replace("_", " ")}', flush=True)
        part(full_size if full else size)
    if failed:
        raise SystemExit(f'\n{len(failed)} failed: {failed}')


if __name__ == '__main__':
    main()
