#!/usr/bin/env python3
"""Rolls three gateways and their token-service out behind nginx, then behind HAProxy, under load: each is restarted in
turn, twice, while streams and whole answers go on. Nothing may be lost: the clients do not retry.

The load balancers run the examples of deploy/load-balancers with other addresses, HAProxy without `option redispatch`.
`--full` takes the size of the issue that this shows. `--grace 1s` cuts streams, so that one sees this fail.
"""
import argparse, asyncio, collections, http.client, itertools, json, os, random, re, signal, socket, time

from stack import API_KEY, Stack, check, failed, free_port

TOP = os.path.join(os.path.dirname(os.path.abspath(__file__)), '..')
GATEWAYS = 3
STREAMS = 300
UNARY_A_SECOND = 100
# Seconds after which a client uses a connection no more.
IDLE = 15
REDISPATCH = '    option redispatch\n'
# Below the ports that the system gives to outgoing connections, one of which could have a gateway's while it is away.
PORTS = range(20_000, 32_000)


def fixed_port():
    """A port that is still free after a restart."""
    while True:
        port = random.choice(PORTS)
        with socket.socket() as s:
            if s.connect_ex(('127.0.0.1', port)):
                return port


class Failure(Exception):
    """Why a request counts as failed, in the few words that it is counted under."""


class Connection:
    """A kept-alive HTTP/1.1 connection of a client. It reads answers as strictly as they can be read."""

    def __init__(self, address, key):
        self.address, self.key, self.reader, self.writer, self.used = address, key, None, None, 0

    async def ask(self, body):
        """Sends a request; the status and headers of its answer."""
        # As clients do: what has been idle for a while may be about to be closed.
        if self.writer and (self.reader.at_eof() or time.monotonic() - self.used > IDLE):
            self.close()
        if self.writer is None:
            try:
                self.reader, self.writer = await asyncio.open_connection(*self.address)
            except OSError as error:
                raise Failure(f'no connection: {error.strerror}') from error
            self.writer.get_extra_info('socket').setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        head = f'POST /v1/chat/completions HTTP/1.1\r\nHost: {self.address[0]}\r\nAuthorization: Bearer {self.key}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n'
        self.writer.write(head.encode() + body)
        try:
            lines = (await self.reader.readuntil(b'\r\n\r\n')).decode().split('\r\n')
        except (OSError, asyncio.IncompleteReadError) as error:
            raise Failure('closed before an answer') from error
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(':') for line in lines[1:] if line)}
        return int(lines[0].split()[1]), headers

    async def body(self, headers):
        """The whole body of the answer; less of it is a failure."""
        try:
            if headers.get('transfer-encoding') != 'chunked':
                return await self.reader.readexactly(int(headers['content-length']))
            pieces = []
            while size := int(await self.reader.readuntil(b'\r\n'), 16):
                pieces.append((await self.reader.readexactly(size + 2))[:-2])
            await self.reader.readexactly(2)
            return b''.join(pieces)
        except (OSError, asyncio.IncompleteReadError) as error:
            raise Failure('closed before its end') from error
        finally:
            self.used = time.monotonic()
            if headers.get('connection', '').lower() == 'close':
                self.close()

    def close(self):
        if self.writer is not None:
            self.writer.close()
            self.writer = None


class Load:
    """So many streams at all times, and unary requests at an even rate beside them, until it is told to end."""

    def __init__(self, address, longest, key=API_KEY, streams=STREAMS, unary=UNARY_A_SECOND):
        self.address, self.longest, self.key, self.at_once, self.rate = address, longest, key, streams, unary
        self.numbers, self.failures = itertools.count(), collections.Counter()
        self.examples, self.whole, self.asked, self.times = [], collections.Counter(), collections.Counter(), collections.defaultdict(list)
        self.live, self.least_live, self.over = 0, None, False
        self.idle = []

    async def run(self, meanwhile):
        """Loads while `meanwhile` goes on, and lets what runs come to its end."""
        tasks = [asyncio.create_task(self.streams()) for _ in range(self.at_once)]
        tasks.append(asyncio.create_task(self.unary()))
        while self.live < 0.95 * self.at_once and not self.failures:
            await asyncio.sleep(0.05)
        watch = asyncio.create_task(self.watch())
        await meanwhile
        watch.cancel()
        self.over = True
        await asyncio.gather(*tasks)

    async def watch(self):
        self.least_live = self.live
        while True:
            self.least_live = min(self.least_live, self.live)
            await asyncio.sleep(0.05)

    async def streams(self):
        """One stream after the other over one connection."""
        connection = Connection(self.address, self.key)
        while not self.over:
            # A word is told each second, up to `longest`.
            await self.ask('streams', connection, random.randint(0, self.longest))
        connection.close()

    async def unary(self):
        due, running = time.monotonic(), set()
        while not self.over:
            await asyncio.sleep(max(0, due - time.monotonic()))
            due += 1 / self.rate
            task = asyncio.create_task(self.unary_one())
            running.add(task)
            task.add_done_callback(running.discard)
        await asyncio.gather(*running)
        for connection in self.idle:
            connection.close()

    async def unary_one(self):
        connection = self.idle.pop() if self.idle else Connection(self.address, self.key)
        await self.ask('unary', connection, 5)
        self.idle.append(connection)

    async def ask(self, kind, connection, words):
        prompt = ' '.join([f'request-{next(self.numbers)}', *(words * ['la'])])
        began = time.monotonic()
        self.asked[kind] += 1
        try:
            await asyncio.wait_for((self.stream if kind == 'streams' else self.answer)(connection, prompt), 10 * self.longest)
            self.whole[kind] += 1
        except (Failure, TimeoutError) as error:
            connection.close()
            what = f'{kind}: {error if isinstance(error, Failure) else "no end in time"}'
            self.failures[what] += 1
            if len(self.examples) < 5:
                self.examples.append((time.strftime('%T'), what, f'after {time.monotonic() - began:.2f} s', repr(error.__cause__ or '')[:100]))
            await asyncio.sleep(0.2)
        self.times[kind].append(time.monotonic() - began)

    def told(self, seconds):
        """Prints how it went and checks that nothing was lost, nor asked too little; whether nothing was lost."""
        streams, unary = sorted(self.times['streams']), self.times['unary']
        print(f'     {seconds:.0f} s; {self.whole["streams"]} of {self.asked["streams"]} streams whole, {streams[0]:.1f} to {streams[-1]:.1f} s long, {self.least_live} or more at any time; '
              f'{self.whole["unary"]} of {self.asked["unary"]} unary answers, the longest after {max(unary):.2f} s')
        check(not self.failures, f'no request failed {dict(self.failures) or ""}')
        for line in self.examples:
            print(f'     {line}')
        check(self.least_live and self.least_live > 0.8 * self.at_once, f'{self.at_once} streams at all times, but for those that just begin')
        check(self.asked['unary'] > 0.9 * self.rate * (seconds - self.longest), f'{self.rate} unary requests a second')
        return not self.failures

    async def request(self, connection, prompt, stream):
        status, headers = await connection.ask(json.dumps({'model': 'gemini-2.5-flash', 'stream': stream, 'messages': [{'role': 'user', 'content': prompt}]}).encode())
        if status != 200:
            body = await connection.body(headers)
            found = re.search(rb'"code":\s*"(\w+)"', body)
            raise Failure(f'status {status} {found[1].decode() if found else headers.get("server", "")}')
        return headers

    async def answer(self, connection, prompt):
        body = json.loads(await connection.body(await self.request(connection, prompt, False)))
        choice = body['choices'][0]
        if (choice['message']['content'], choice['finish_reason']) != (said(prompt), 'stop'):
            raise Failure(f'another answer: {choice}'[:200])

    async def stream(self, connection, prompt):
        headers = await self.request(connection, prompt, True)
        self.live += 1
        try:
            body = await connection.body(headers)
        finally:
            self.live -= 1
        events = [line[6:] for line in body.decode().split('\n') if line.startswith('data: ')]
        if events[-1:] != ['[DONE]']:
            raise Failure('an error event' if '"error"' in (events or [''])[-1] else 'no [DONE]')
        choices = [choice for event in events[:-1] for choice in json.loads(event)['choices']]
        if [choice['finish_reason'] for choice in choices if choice.get('finish_reason')] != ['stop']:
            raise Failure('no finish_reason')
        if ''.join(choice['delta'].get('content') or '' for choice in choices) != said(prompt):
            raise Failure('another text')


def said(prompt):
    """What fake-google answers."""
    return f'Hello! You said: {prompt}'


class Services:
    """fake-google, a token-service and gateways, each of which can be restarted at its address."""

    def __init__(self, stack, delay, grace, longest):
        self.stack = stack
        port = free_port()
        google = stack.start('fake-google', ['--listen', f'127.0.0.1:{port}', '--text-chunks', str(longest), '--event-delay', '1000'])
        google.wait_for(str(port))
        base = f'http://127.0.0.1:{port}'
        entries = [{'project_id': f'fake-project-{n}', 'refresh_token': f'1//fake-refresh-token-{n}', 'access_token': None, 'expires_at': None} for n in (1, 2, 3)]
        tokens = stack.tokens_file(entries, f'{base}/token', client=('fake-client.apps.googleusercontent.com', 'fake-client-secret'))
        address = f'127.0.0.1:{fixed_port()}'
        ends = {'SHUTDOWN_DELAY': delay, 'SHUTDOWN_GRACE': grace}
        self.starts = {'token-service': lambda: stack.token_service(TOKENS_FILE=tokens, TOKEN_SERVICE_LISTEN=address, ANTIGRAVITY_BASE_URLS=base)}
        self.ports = [fixed_port() for _ in range(GATEWAYS)]
        for n, port in enumerate(self.ports, 1):
            self.starts[f'gateway {n}'] = lambda port=port: stack.gateway(address, PORT=str(port), ANTIGRAVITY_BASE_URLS=base, **ends)
        self.running = {name: start() for name, start in self.starts.items()}
        for name in self.running:
            self.wait_until_ready(name)

    def wait_until_ready(self, name):
        if name == 'token-service':
            return
        end, status = time.monotonic() + 30, None
        while status != 200 and time.monotonic() < end:
            connection = http.client.HTTPConnection(self.running[name].address, timeout=10)
            connection.request('GET', '/readyz')
            status = connection.getresponse().status
            connection.close()
        if status != 200:
            raise SystemExit(f'{name} is not ready within 30 s:\n{self.running[name].text()[-2000:]}')

    def restart(self, name):
        process, began = self.running[name], time.monotonic()
        process.kill(signal.SIGTERM)
        status = process.process.wait(600)
        ended = time.monotonic()
        self.running[name] = self.starts[name]()
        self.wait_until_ready(name)
        check(status == 0, f'{name}: ended after {ended - began:.1f} s with status {status}, ready again after {time.monotonic() - ended:.1f} s')

    async def roll_out(self):
        for name in 2 * list(self.starts):
            await asyncio.to_thread(self.restart, name)
            # As long as a load balancer takes to see that it is back.
            await asyncio.sleep(3)


def example(name, ports, listen):
    """An example of deploy/load-balancers with the addresses of this run."""
    with open(os.path.join(TOP, 'deploy', 'load-balancers', name), encoding='utf8') as file:
        text = file.read()
    for n, port in enumerate(ports, 1):
        assert f' gateway-{n}:8000' in text, f'{name} has no gateway-{n}'
        text = text.replace(f' gateway-{n}:8000', f' 127.0.0.1:{port}')
    text, found = re.subn(r'(listen |bind ):?8080\b', rf'\g<1>127.0.0.1:{listen}', text)
    assert found == 1, f'{name} listens on no 8080'
    return text


def nginx(stack, ports, listen):
    write(stack, 'gateways.conf', example('nginx.conf', ports, listen))
    kinds = ('client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi')
    user = 'user root;\n' if os.geteuid() == 0 else ''
    main = write(stack, 'nginx.conf', f'''{user}pid {stack.folder}/nginx.pid;
error_log stderr warn;
worker_processes 2;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    {" ".join(f"{kind}_temp_path {stack.folder}/{kind};" for kind in kinds)}
    include {stack.folder}/gateways.conf;
}}
''')
    return stack.start('nginx', ['-e', 'stderr', '-p', stack.folder, '-c', main, '-g', 'daemon off;'], binary=tool('nginx'))


def haproxy_text(listen, servers):
    """The example for HAProxy with so many servers that are yet to be told where they are, and are not asked how they do."""
    with open(os.path.join(TOP, 'deploy', 'load-balancers', 'haproxy.cfg'), encoding='utf8') as file:
        lines = file.read().replace('bind :8080', f'bind 127.0.0.1:{listen}').replace(REDISPATCH, '').split('\n')
    kept = [line for line in lines if not re.match(r' +(option httpchk|default-server|server) ', line)]
    assert len(lines) - len(kept) == 5, lines
    # Where the section of the gateways ends.
    return '\n'.join(kept).rstrip() + f'\n    server-template gateway- 1-{servers} 127.0.0.1:1 disabled\n'


def haproxy(stack, ports, listen):
    text = example('haproxy.cfg', ports, listen)
    assert REDISPATCH in text
    # Without what would hide that a gateway refuses before its failing check is seen.
    text = text.replace(REDISPATCH, '')
    own = write(stack, 'global.cfg', 'global\n    maxconn 4096\n    log stdout format raw local0\n')
    return stack.start('haproxy', ['-db', '-f', own, '-f', write(stack, 'haproxy.cfg', text)], binary=tool('haproxy'))


def tool(name):
    path = f'/usr/sbin/{name}'
    if not os.path.exists(path):
        raise SystemExit(f'{path} is missing: apt-get install {"nginx-light" if name == "nginx" else name}')
    return path


def write(stack, name, text):
    path = os.path.join(stack.folder, name)
    with open(path, 'w', encoding='utf8') as file:
        file.write(text)
    return path


def wait_for_port(process, port):
    end = time.monotonic() + 10
    while time.monotonic() < end:
        with socket.socket() as s:
            if s.connect_ex(('127.0.0.1', port)) == 0:
                return
        time.sleep(0.05)
    raise SystemExit(f'{process.name} does not listen:\n{process.text()[-2000:]}')


def behind(balancer, delay, grace, longest):
    with Stack() as stack:
        services = Services(stack, delay, grace, longest)
        listen = fixed_port()
        proxy = balancer(stack, services.ports, listen)
        wait_for_port(proxy, listen)
        load, began = Load(('127.0.0.1', listen), longest), time.monotonic()
        asyncio.run(load.run(services.roll_out()))
        seconds = time.monotonic() - began
        if not load.told(seconds):
            print(proxy.text()[-3000:])
        check(proxy.process.poll() is None, f'{proxy.name} runs')


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--full', action='store_true', help='streams of up to a minute, and the default SHUTDOWN_DELAY')
    parser.add_argument('--grace', help='SHUTDOWN_GRACE of the gateways; by default longer than any stream')
    parser.add_argument('--only', choices=('nginx', 'haproxy'), help='behind one of the two alone')
    arguments = parser.parse_args()
    longest, delay, grace = (60, '5s', '300s') if arguments.full else (12, '3s', '60s')
    for balancer in (nginx, haproxy):
        if arguments.only in (None, balancer.__name__):
            print(f'\nbehind {balancer.__name__}', flush=True)
            behind(balancer, delay, arguments.grace or grace, longest)
    if failed:
        raise SystemExit(f'\n{len(failed)} failed: {failed}')


if __name__ == '__main__':
    main()
