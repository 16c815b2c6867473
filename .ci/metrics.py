#!/usr/bin/env python3
"""A real Prometheus scrapes both services while a scripted load goes on: whole answers, streams, errors, retries and
hang-ups. Its figures are what clients counted, to the request and the token, and so is the ledger, also when either
service is killed. promtool tests the alert rules, and whatever they and the dashboard name exists.

`--full` makes the load larger.
"""
import argparse, collections, http.client, json, os, re, socket, subprocess, threading, time, urllib.parse, urllib.request

from stack import BIN, TOKENS, Stack, check, clean_env, control, failed, free_port

TOP = os.path.join(os.path.dirname(os.path.abspath(__file__)), '..')
FILES = os.path.join(TOP, 'deploy', 'observability')
KEYS = {'ann': 'sk-ci-ann-0123456789', 'bob': 'sk-ci-bob-0123456789', 'cy': 'sk-ci-cy-01234567890'}
MODELS = ('gemini-2.5-flash', 'gemini-2.5-pro')
G, T = 'antigravity_gateway_', 'antigravity_token_service_'


def same(names, **figures):
    check(len(set(figures.values())) == 1, f'{names}: ' + ', '.join(f'{who} {value:g}' for who, value in figures.items()))


def promtool(*args):
    done = subprocess.run(['promtool', *args], cwd=FILES, capture_output=True, text=True, timeout=120)
    return done.returncode == 0, (done.stdout + done.stderr)[-3000:]


def rules():
    for args in (('check', 'rules', 'alerts.yml'), ('check', 'config', 'prometheus.yml'), ('test', 'rules', 'alerts.test.yml')):
        holds, said = promtool(*args)
        check(holds, f'promtool {" ".join(args)}' + ('' if holds else f':\n{said}'))
    with open(os.path.join(FILES, 'alerts.yml'), encoding='utf8') as file:
        alerts = re.findall(r'- alert: (\w+)', file.read())
    with open(os.path.join(FILES, 'alerts.test.yml'), encoding='utf8') as file:
        tests = re.split(r'\n  - name: ', file.read())[1:]
    told = collections.defaultdict(set)
    for test in tests:
        for name in re.findall(r'alertname: (\w+)', test):
            told[name].add('exp_alerts: []' in test)
    untested = [alert for alert in alerts if told[alert] != {True, False}]
    check(alerts and not untested, f'each of {len(alerts)} alerts has a test in which it fires and one in which it does not {untested}')


class World:
    """Both services, with addresses that a restart keeps, and a Prometheus that watches them."""

    def __init__(self, stack):
        self.stack = stack
        port = free_port()
        google = stack.start('fake-google', ['--listen', f'127.0.0.1:{port}', '--projects', '4'])
        google.wait_for(str(port))
        self.google = f'http://127.0.0.1:{port}'
        self.ports = {name: free_port() for name in ('grpc', 'tokens', 'http', 'gateway', 'prometheus')}
        entries = [{'project_id': f'fake-project-{n}', 'refresh_token': f'1//fake-refresh-token-{n}', 'access_token': None, 'expires_at': None} for n in range(1, 5)]
        self.file = stack.tokens_file(entries, f'{self.google}/token', client=('fake-client.apps.googleusercontent.com', 'fake-client-secret'))
        self.start_tokens()
        self.start_gateway()
        self.start_prometheus()

    def start_tokens(self):
        self.tokens = self.stack.token_service(TOKENS_FILE=self.file, TOKEN_SERVICE_LISTEN=f'127.0.0.1:{self.ports["grpc"]}', ANTIGRAVITY_BASE_URLS=self.google,
                                               TOKEN_SERVICE_ADMIN_LISTEN=f'127.0.0.1:{self.ports["tokens"]}')

    def start_gateway(self):
        keys = json.dumps([{'name': name, 'key': key} for name, key in KEYS.items()])
        self.gateway = self.stack.gateway(self.tokens.address, ANTIGRAVITY_BASE_URLS=self.google, API_KEYS=keys, PORT=str(self.ports['http']),
                                          ADMIN_LISTEN=f'127.0.0.1:{self.ports["gateway"]}', HANG_UP_DRAIN='500ms')

    def start_prometheus(self):
        folder = os.path.join(self.stack.folder, 'prometheus')
        os.makedirs(folder)
        with open(os.path.join(FILES, 'prometheus.yml'), encoding='utf8') as file:
            config = file.read()
        # The example, at our addresses and more often.
        config = config.replace('127.0.0.1:9090', f'127.0.0.1:{self.ports["gateway"]}').replace('127.0.0.1:9091', f'127.0.0.1:{self.ports["tokens"]}')
        config = config.replace('15s', '1s').replace('- alerts.yml', f'- {os.path.abspath(os.path.join(FILES, "alerts.yml"))}')
        path = os.path.join(folder, 'prometheus.yml')
        with open(path, 'w', encoding='utf8') as file:
            file.write(config)
        self.prometheus = self.stack.start('prometheus', [f'--config.file={path}', f'--storage.tsdb.path={folder}/data', f'--web.listen-address=127.0.0.1:{self.ports["prometheus"]}',
                                           '--storage.tsdb.min-block-duration=2h', '--enable-feature=exemplar-storage', '--log.format=json'], binary='/usr/bin/prometheus')
        self.prometheus.wait_for('Server is ready')
        wait(lambda: sum(value for _, value in self.query('up')) == 2, 20)
        check(sum(value for _, value in self.query('up')) == 2, 'Prometheus scrapes both services')

    def api(self, path, **query):
        url = f'http://127.0.0.1:{self.ports["prometheus"]}/api/v1/{path}?{urllib.parse.urlencode(query, doseq=True)}'
        try:
            with urllib.request.urlopen(url, timeout=20) as answer:
                return json.load(answer)['data']
        except urllib.error.HTTPError as error:
            raise SystemExit(f'{path} {query}: {error.read()[:500]}') from error

    def query(self, expression):
        return [(series['metric'], float(series['value'][1])) for series in self.api('query', query=expression)['result']]

    def sum(self, expression):
        return sum(value for _, value in self.query(f'sum({expression})'))

    def settle(self):
        """Waits until all is reported, counted and scraped."""
        def settled():
            text = scrape(self.ports['gateway'])
            flight = re.search(rf'^{G}requests_in_flight (\d+)', text, re.M)[1]
            queued = re.search(rf'^{G}outcomes_queued (\d+)', text, re.M)[1]
            return flight == '0' and queued == '0'
        wait(settled, 15)
        # A report waits for a second at the most, and so does a scrape.
        time.sleep(3.5)

    def ledger(self, by='key'):
        env = {**clean_env(), 'TOKEN_SERVICE_URL': f'http://{self.tokens.address}', 'ADMIN_TOKEN': TOKENS['ADMIN_TOKEN']}
        done = subprocess.run([os.path.join(BIN, 'antigravity-gateway'), 'usage', '--by', by, '--since', '2h', '--json'], env=env, cwd=self.stack.folder, capture_output=True, check=True, timeout=30)
        return {row[by]: row for row in json.loads(done.stdout)['rows']}


def scrape(port):
    connection = http.client.HTTPConnection('127.0.0.1', port, timeout=10)
    connection.request('GET', '/metrics')
    return connection.getresponse().read().decode()


def wait(holds, seconds):
    end = time.monotonic() + seconds
    while not holds() and time.monotonic() < end:
        time.sleep(0.1)


class Client:
    """A client that counts what it is told: requests by status, and the tokens of whole answers."""

    def __init__(self, world, name='ann', key=None):
        self.world, self.key, self.connection = world, key or KEYS[name], None
        self.told = collections.Counter()

    def connect(self):
        connection = http.client.HTTPConnection('127.0.0.1', self.world.ports['http'], timeout=30)
        connection.connect()
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def send(self, connection, body):
        headers = {'Authorization': f'Bearer {self.key}', 'Content-Type': 'application/json'}
        connection.request('POST', '/v1/chat/completions', json.dumps(body), headers)
        return connection.getresponse()

    def ask(self, stream=False, model=MODELS[0], **more):
        body = {'model': model, 'messages': [{'role': 'user', 'content': 'Tell me something.'}], **more}
        if stream:
            body |= {'stream': True, 'stream_options': {'include_usage': True}}
        try:
            self.connection = self.connection or self.connect()
            answer = self.send(self.connection, body)
            text = answer.read().decode()
        except (OSError, http.client.HTTPException):
            self.connection = None
            self.told['broken'] += 1
            return 0
        if answer.status == 401:
            # Before the body is read, so that the connection may end with the answer.
            self.connection = None
        self.told[answer.status] += 1
        if answer.status == 200:
            if stream and not text.endswith('data: [DONE]\n\n'):
                self.told['unfinished'] += 1
                return 200
            chunks = [json.loads(event[6:]) for event in text.split('\n\n') if event.startswith('data: {')] if stream else [json.loads(text)]
            usage = next(chunk['usage'] for chunk in reversed(chunks) if chunk.get('usage'))
            self.told['whole'] += 1
            self.told['prompt'] += usage['prompt_tokens']
            self.told['completion'] += usage['completion_tokens']
            self.told['streams'] += stream
        return answer.status

    def hang_up(self):
        connection = self.connect()
        answer = self.send(connection, {'model': MODELS[0], 'messages': [{'role': 'user', 'content': 'Tell me something long.'}], 'stream': True})
        answer.read1(100)
        # The answer has the socket; who closes the connection alone leaves it open.
        connection.sock and connection.sock.close()
        answer.close()
        connection.close()
        self.told['hung up'] += 1


def scripted(world, size):
    ann, bob, cy = Client(world), Client(world, 'bob'), Client(world, 'cy')
    stranger = Client(world, key='sk-ci-nobody')
    for number in range(size):
        ann.ask(stream=number % 2 == 1, model=MODELS[number % 3 == 0])
    retried = 5
    for _ in range(retried):
        control(world.google, 'faults', {'times': 1, 'action': {'kind': 'error', 'error': 'internal'}})
        ann.ask()
    check(ann.told['whole'] == size + retried, f'all of ann\'s requests were answered: {dict(ann.told)}')
    refused = 4
    control(world.google, 'faults', {'times': refused, 'action': {'kind': 'error', 'error': 'invalid_argument'}})
    for _ in range(refused):
        cy.ask()
    for _ in range(3):
        cy.ask(temperature='warm')
        stranger.ask()
    hang_ups = 6
    for _ in range(hang_ups):
        control(world.google, 'faults', {'times': 1, 'action': {'kind': 'delay', 'between_events_ms': 3000}})
        bob.hang_up()
    world.settle()

    chat = f'{G}requests_total{{surface="chat"'
    same('whole answers of ann', clients=ann.told['whole'], prometheus=world.sum(chat + ',key="ann",status="200",outcome="ok"}'))
    same('refusals of cy', clients=cy.told[400], prometheus=world.sum(chat + ',key="cy",status="400"}'))
    same('wrong keys', clients=stranger.told[401], prometheus=world.sum(chat + ',status="401",outcome="invalid_api_key"}'))
    same('hang-ups of bob', clients=bob.told['hung up'], prometheus=world.sum(chat + ',key="bob",outcome="cancelled"}'), counted=world.sum(f'{G}hang_ups_total'))
    all_told = sum(client.told[status] for client in (ann, cy, stranger) for status in (200, 400, 401)) + hang_ups
    same('all requests', clients=all_told, prometheus=world.sum(chat + '}'))
    chats = lambda result: world.sum(f'{G}chat_requests_total{{result="{result}"}}')
    same('requests in one word', clients=all_told, prometheus=world.sum(f'{G}chat_requests_total'))
    same('of them served', clients=ann.told['whole'], prometheus=chats('served'))
    same('without a key', clients=stranger.told[401], prometheus=chats('without_key'))
    same('refused', clients=cy.told[400], prometheus=chats('refused'))
    same('cancelled by clients', clients=hang_ups, prometheus=chats('cancelled'))
    same('waited for a turn', prometheus=world.sum(f'{G}overhead_seconds_count{{part="turn"}}'), sent=world.sum(f'{G}overhead_seconds_count{{part="request"}}'))
    same('retries', script=retried, prometheus=world.sum(f'{G}retries_total{{reason="upstream_error"}}'))
    same('first tokens', clients=ann.told['streams'], prometheus=world.sum('gen_ai_server_time_to_first_token_seconds_count'))
    same('durations', clients=ann.told['whole'], prometheus=world.sum('gen_ai_server_request_duration_seconds_count{error_type=""}'))
    ledger = world.ledger()
    for kind in ('prompt', 'completion'):
        same(f'{kind} tokens of ann', clients=ann.told[kind], prometheus=world.sum(f'{G}tokens_total{{key="ann",type="{kind}"}}'), ledger=ledger['ann'][f'{kind}_tokens'])
    of_all = lambda field: sum(row[field] for row in ledger.values())
    with urllib.request.urlopen(f'{world.google}/__fake/counters', timeout=10) as answer:
        google = sum(json.load(answer)['by_project'].values())
    same('requests to Google', google=google, ledger=of_all('attempts'), gateway=world.sum(f'{G}upstream_attempts_total'), token_service=world.sum(f'{T}ledger_attempts_total'),
         reports=world.sum(f'{T}reports_total{{result="counted"}}'), durations=world.sum('gen_ai_client_operation_duration_seconds_count'))
    same('cancelled', script=hang_ups, ledger=ledger['bob']['cancelled'], gateway=world.sum(f'{G}upstream_attempts_total{{outcome="cancelled"}}'))
    for kind, token_type in (('prompt', 'input'), ('completion', 'output')):
        same(f'all {kind} tokens', ledger=of_all(f'{kind}_tokens'), gateway=world.sum(f'gen_ai_client_token_usage_sum{{gen_ai_token_type="{token_type}"}}'),
             token_service=world.sum(f'{T}ledger_tokens_total{{type="{kind}"}}'))
    for model, row in world.ledger('model').items():
        same(f'tokens of {model}', ledger=row['prompt_tokens'] + row['completion_tokens'], prometheus=world.sum(f'gen_ai_client_token_usage_sum{{gen_ai_request_model="{model}"}}'))
    check(world.sum(f'{T}projects{{state="active"}}') == 4, 'four projects are active')
    return ann


def named(world):
    """Whatever dashboard and rules name exists, with its labels."""
    with open(os.path.join(FILES, 'grafana-dashboard.json'), encoding='utf8') as file:
        dashboard = json.load(file)
    expressions = [(panel['title'], target['expr']) for panel in dashboard['panels'] for target in panel.get('targets', ())]
    rules_told = [rule for group in world.api('rules')['groups'] for rule in group['rules']]
    expressions += [(rule['name'], rule['query']) for rule in rules_told]
    known = {}
    for series in world.api('series', **{'match[]': '{job=~"antigravity-.*"}'}):
        known.setdefault(series['__name__'], set()).update(series)
    wrong = []
    for title, expression in expressions:
        expression = expression.replace('$__rate_interval', '1m').replace('$instance', '.*').replace('$model', '.*')
        world.query(expression)
        plain = re.sub(r'"[^"]*"', '""', expression)
        metrics = set(re.findall(r'\b(?:gen_ai|antigravity)_\w+|\bup\b', re.sub(r'\{[^}]*\}|\b(?:by|on) \([^)]*\)', '', plain)))
        wrong += [f'{title}: {metric} is not there' for metric in metrics if metric not in known]
        for metric, matchers in re.findall(r'(\w+)\{([^}]*)\}', plain):
            wrong += [f'{title}: {metric} has no label {label}' for label in re.findall(r'(\w+) *[=!]', matchers) if label not in known.get(metric, ())]
        labels = set().union(*(known.get(metric, set()) for metric in metrics))
        for grouped in re.findall(r'\b(?:by|on) \(([^)]*)\)', plain):
            wrong += [f'{title}: nothing there has a label {label}' for label in re.split(r'[, ]+', grouped) if label not in labels]
        if not metrics:
            wrong.append(f'{title}: names no metric')
    check(not wrong, f'all of {len(expressions)} expressions of dashboard and rules name what exists {wrong}')
    bad = [rule['name'] for rule in rules_told if rule['health'] == 'err']
    check(rules_told and not bad, f'Prometheus evaluates {len(rules_told)} rules {bad}')
    documented(known)


def documented(known):
    """Each metric has its row in the documentation of its service, and each row its metric."""
    with open(os.path.join(TOP, 'docs', 'observability.md'), encoding='utf8') as file:
        parts = re.split(r'\n## ', file.read())
    rows = {}
    for title, prefix in (('The gateway', G), ('The token-service', T)):
        part = next(part for part in parts if part.startswith(title))
        for cell in re.findall(r'^\| (`[^|]*`) \| (?:counter|gauge|histogram|info)|^\| (`gen_ai_(?:server|client)[^|]*`) \|', part, re.M):
            for name in re.findall(r'`(\w+)`', ''.join(cell)):
                rows[name if name.startswith('gen_ai_') else prefix + name] = part
    family = lambda name: re.sub(r'_(bucket|count|sum|total)$', '', name)
    ours = {family(name) for name in known if name.startswith(('gen_ai_', 'antigravity_'))}
    check(set(rows) == ours, f'docs/observability.md has all of {len(ours)} metrics, and no other {sorted(set(rows) ^ ours)}')
    told = {label for labels in (labels for name, labels in known.items() if family(name) in ours) for label in labels} - {'__name__', 'job', 'instance', 'le'}
    missing = [label for label in told if not any(f'`{label}`' in part for part in rows.values())]
    check(not missing, f'and names all of {len(told)} labels {missing}')


def killed(world, ann, seconds):
    """The ledger, when either service is killed under load."""
    over = threading.Event()
    ended, lock = [], threading.Lock()
    clients = [Client(world) for _ in range(4)]

    def run(client):
        while not over.is_set():
            status = client.ask(stream=bool(client.told['whole'] % 2))
            with lock:
                ended.append((time.monotonic(), status))
            time.sleep(0.02)

    def load(break_something):
        over.clear()
        ended.clear()
        threads = [threading.Thread(target=run, args=(client,), daemon=True) for client in clients]
        for thread in threads:
            thread.start()
        time.sleep(seconds)
        at = break_something()
        time.sleep(seconds)
        over.set()
        for thread in threads:
            thread.join(40)
        world.settle()
        return at

    def told(what):
        return ann.told[what] + sum(client.told[what] for client in clients)

    def kill_tokens():
        world.tokens.kill()
        world.tokens.process.wait()
        time.sleep(0.3)
        world.start_tokens()

    load(kill_tokens)
    broken = sum(client.told['broken'] + client.told['unfinished'] for client in clients)
    check(not broken and len(ended) > 20 * seconds, f'{len(ended)} requests around the end of the token-service, all answered')
    row = world.ledger()['ann']
    same('answers, the token-service killed', clients=told('whole'), ledger=row['answers'], prometheus=world.sum(f'{G}requests_total{{key="ann",outcome="ok"}}'))
    for kind in ('prompt', 'completion'):
        same(f'{kind} tokens, the token-service killed', clients=told(kind), ledger=row[f'{kind}_tokens'], prometheus=world.sum(f'{G}tokens_total{{key="ann",type="{kind}"}}'))

    def kill_gateway():
        world.gateway.kill()
        at = time.monotonic()
        world.gateway.process.wait()
        world.start_gateway()
        return at

    at = load(kill_gateway)
    row = world.ledger()['ann']
    # A report is sent within a second; those of requests in flight are lost with them.
    bound = sum(at - 1.1 < when <= at for when, status in ended if status == 200) + len(clients)
    lacking = told('whole') - row['answers']
    check(-len(clients) <= lacking <= bound, f'the gateway killed: the ledger lacks {lacking} of {told("whole")} answers; at most {bound} may be')
    check(row['prompt_tokens'] <= told('prompt') + len(clients) * 1000, f'and has not counted twice: {row["prompt_tokens"]} of {told("prompt")} prompt tokens')
    starts = world.sum(f'changes({G}start_time_seconds[5m])'), world.sum(f'changes({T}start_time_seconds[5m])')
    check(starts == (1, 1), f'Prometheus saw each of them start anew: {starts}')


def flooded(world, seconds):
    """/metrics is asked a thousand times a second and more, and serving goes on."""
    over, asked, refused = threading.Event(), collections.Counter(), []

    def flood(port):
        with socket.create_connection(('127.0.0.1', port)) as raw:
            reader = raw.makefile('rb')
            while not over.is_set():
                # Several at once, so that this is faster than what it asks.
                raw.sendall(b'GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n' * 20)
                for _ in range(20):
                    head = b''
                    while not head.endswith(b'\r\n\r\n'):
                        head += reader.readline()
                    reader.read(int(re.search(rb'content-length: (\d+)', head)[1]))
                    if not head.startswith(b'HTTP/1.1 200'):
                        refused.append(head)
                    asked[port] += 1

    ports = [world.ports['gateway'], world.ports['tokens']]
    threads = [threading.Thread(target=flood, args=(port,), daemon=True) for port in ports]
    client, times = Client(world), []
    for thread in threads:
        thread.start()
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        at = time.monotonic()
        client.ask(stream=True)
        times.append(time.monotonic() - at)
    over.set()
    took = time.monotonic() - began
    for thread in threads:
        thread.join(20)
    rates = [asked[port] / took for port in ports]
    times.sort()
    check(min(rates) > 1000 and not refused, f'/metrics was asked {rates[0]:.0f} times a second of the gateway, {rates[1]:.0f} of the token-service')
    check(client.told['whole'] == len(times), f'{len(times)} streams meanwhile, all whole; half within {times[len(times) // 2] * 1000:.1f} ms, the slowest {times[-1] * 1000:.0f} ms')
    check(times[-1] < 1, 'none took a second')


def secrets(world):
    text = scrape(world.ports['gateway']) + scrape(world.ports['tokens'])
    planted = [*KEYS.values(), *TOKENS.values(), 'fake-refresh-token', 'fake-client-secret', 'ya29', '1//', 'Tell me']
    check(not [secret for secret in planted if secret in text], 'no secret and no prompt is in /metrics')


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--full', action='store_true')
    full = parser.parse_args().full
    rules()
    with Stack() as stack:
        world = World(stack)
        ann = scripted(world, 600 if full else 60)
        named(world)
        killed(world, ann, 20 if full else 4)
        flooded(world, 10 if full else 3)
        secrets(world)
    if failed:
        raise SystemExit(f'\n{len(failed)} failed: {failed}')


if __name__ == '__main__':
    main()
