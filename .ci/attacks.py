#!/usr/bin/env python3
"""Attacks on the clients' port, and a Google that misbehaves, while others are served: none of their requests fails, and
what the gateway holds of memory and open files is flat. And what a flood of bad keys costs.

`--full` attacks for longer and over more connections, about twenty minutes; without it all of it takes three.
"""
import argparse, collections, json, multiprocessing, os, re, socket, ssl, subprocess, tempfile, threading, time, urllib.request

import bad_keys, http2_attacks
from pool import check, failed
from stack import API_KEY, BIN, Stack, control, free_port
from well_behaved import HEADERS, WellBehaved, percentile

# Fewer connections than slowhttptest makes, so that somebody has to give way.
CONNECTIONS = 1000
MIB = 1 << 20
# The allocator keeps what it once had, and what it has is torn: so an attack is repeated until a round adds less than
# this, and that has to be within so many rounds. And what may be added at once, and by all attacks together.
GROWS, MOST_ROUNDS, PEAK, GROWS_IN_ALL = 2 * MIB, 8, 256 * MIB, 96 * MIB
# Attackers share two cores with those whom they attack.
SLOWEST = 2.0


# slowhttptest sends no header but a cookie, and the cookie as it is.
WITH_KEY = f'a=b\r\nAuthorization: Bearer {API_KEY}'


# Of our own processes, whose certificates are made when they start.
TRUSTING = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
TRUSTING.check_hostname, TRUSTING.verify_mode = False, ssl.CERT_NONE
urllib.request.install_opener(urllib.request.build_opener(urllib.request.HTTPSHandler(context=TRUSTING)))


class Pool:
    """fake-google over TLS and HTTP/2, as Google is; a token-service; one gateway that may have so many connections."""

    def __init__(self, stack, **env):
        self.port, authority = free_port(), os.path.join(stack.folder, 'google-ca.pem')
        tokens = os.path.join(stack.folder, 'tokens.json')
        google = stack.start('fake-google', ['--listen', f'127.0.0.1:{self.port}', '--tls', '--ca-out', authority, '--tokens-out', tokens, '--text-chunks', '16'])
        google.wait_for(str(self.port))
        self.base = f'https://127.0.0.1:{self.port}'
        known = {'ANTIGRAVITY_BASE_URLS': self.base, 'UPSTREAM_CA_FILE': authority}
        self.service = stack.token_service(TOKENS_FILE=tokens, **known)
        admin = f'127.0.0.1:{free_port()}'
        self.admin = f'{"https" if "TLS_CERT_FILE" in env else "http"}://{admin}'
        self.gateway = self.started(stack, ADMIN_LISTEN=admin, **known, **env)
        for model in ('gemini-2.5-flash-lite', 'gemini-2.5-pro'):
            self.fault({'kind': 'delay', 'between_events_ms': 150}, model)

    def started(self, stack, **env):
        files = 2 * CONNECTIONS
        limited = os.path.join(stack.folder, 'gateway-of-few-files')
        with open(limited, 'w', encoding='utf8') as file:
            file.write(f'#!/bin/sh\nexec prlimit --nofile={files}:{files} {os.path.join(BIN, "gateway")}\n')
        os.chmod(limited, 0o755)
        return stack.gateway(self.service.address, binary=limited, **env)

    def fault(self, action, model, times=None):
        control(self.base, 'faults', {'matcher': {'model': model}, 'times': times, 'action': action})

    def metrics(self):
        sums = {}
        with urllib.request.urlopen(f'{self.admin}/metrics', timeout=10) as answer:
            for line in answer.read().decode().splitlines():
                if not line.startswith('#') and ' ' in line:
                    name, value = line.rsplit(' ', 1)
                    sums[name] = sums.get(name, 0) + float(value)
        return sums


# Seconds of a round, rounds of an attack, how many times as many connections, which attacks.
Size = collections.namedtuple('Size', 'seconds rounds times only')


class Watch:
    """What a process holds, looked at ten times a second."""

    def __init__(self, pid):
        self.pid, self.over = pid, threading.Event()
        self.peak = self.now()

    def now(self):
        with open(f'/proc/{self.pid}/statm', encoding='ascii') as file:
            return int(file.read().split()[1]) * os.sysconf('SC_PAGE_SIZE'), len(os.listdir(f'/proc/{self.pid}/fd'))

    def look(self):
        while not self.over.wait(0.1):
            self.peak = tuple(map(max, self.peak, self.now()))

    def __enter__(self):
        self.thread = threading.Thread(target=self.look, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()


class Siege:
    """A pool, those who behave, and a row of the table for each attack."""

    def __init__(self, pool, others, size):
        self.pool, self.others, (self.seconds, self.rounds, _, self.only) = pool, others, size
        time.sleep(4)
        begin = time.monotonic()
        time.sleep(4)
        _, wrong, self.before, gap = others.between(begin, time.monotonic())
        check(not wrong, f'before any attack nothing fails {wrong[:2]}')
        self.warm = Watch(pool.gateway.pid).now()
        print(f'     before: p50 {percentile(self.before, 0.5) * 1000:.1f} ms, p99 {percentile(self.before, 0.99) * 1000:.1f} ms, longest silence of a stream {gap:.2f} s')
        print(f'     {"":36}|  others: failed/all    p50     p99  silence | MiB before  peak   after each round             | files      | what was sent')

    def suffer(self, name, attack):
        if not re.search(self.only, name):
            return
        """`attack(seconds)` says what it did; it is made so many times."""
        pid, after, told, peak, begin = self.pool.gateway.pid, [], '', (0, 0), time.monotonic()
        before = Watch(pid).now()
        while len(after) < self.rounds or after[-1][0] - after[-2][0] > GROWS and len(after) < MOST_ROUNDS:
            with Watch(pid) as watch:
                told = attack(self.seconds)
            peak = tuple(map(max, peak, watch.peak))
            # Connections whose client is gone are noticed at once; those that answer to nobody are not counted on.
            end = time.monotonic() + 6
            while Watch(pid).now()[1] > before[1] + 30 and time.monotonic() < end:
                time.sleep(0.1)
            after.append(Watch(pid).now())
        count, wrong, unary, gap = self.others.between(begin, time.monotonic() - 1)
        p50, p99 = (percentile(unary, part) * 1000 for part in (0.5, 0.99))
        memory = ' '.join(f'{rss / MIB:5.1f}' for rss, _ in after)
        print(f'     {name:36}| {len(wrong):8}/{count:<8} {p50:7.1f} {p99:7.1f} {gap:7.2f}s | {before[0] / MIB:8.1f} {peak[0] / MIB:6.1f}   {memory:30} |'
              f' {before[1]:3} {peak[1]:4} {after[-1][1]:3} | {told}', flush=True)
        for holds, what in ((count and not wrong, f'others are served {wrong[:3]}'), (p99 < SLOWEST * 1000, f'within {SLOWEST} s'),
                            (after[-1][0] - after[-2][0] < GROWS, 'memory does not grow from one round to the next'), (peak[0] - before[0] < PEAK, 'memory has a bound'),
                            (after[-1][0] - self.warm[0] < GROWS_IN_ALL, 'memory is given back'), (after[-1][1] <= before[1] + 30, 'open files are given back'), (self.ready(), 'it is ready')):
            if not holds:
                check(False, f'{name}: {what}')

    def ready(self):
        with urllib.request.urlopen(f'{self.pool.admin}/readyz', timeout=10) as answer:
            return answer.status == 200


def in_a_process(run, *arguments):
    """Attackers that are written here take none of our time."""
    with multiprocessing.get_context('fork').Pool(1) as pool:
        return pool.apply(run, arguments)


def slow(mode, url, connections, *options, rate=None):
    def attack(seconds):
        with tempfile.TemporaryDirectory() as folder:
            command = ['nice', '-n', '10', 'slowhttptest', mode, '-c', str(connections), '-r', str(rate or connections // 2), '-l', str(seconds + 2), '-p', '3', '-u', url,
                       '-g', '-o', os.path.join(folder, 'told'), *options]
            subprocess.run(command, capture_output=True, timeout=seconds + 60, check=False)
            # Seconds, closed, pending, connected, service available
            with open(os.path.join(folder, 'told.csv'), encoding='ascii') as file:
                rows = [[int(value) for value in line.split(',')] for line in file.readlines()[1:]]
        return f'at most {max(row[3] for row in rows)} of {connections} connections held at once, {max(row[1] for row in rows)} closed'
    return attack


def h2load(url, connections, streams, key):
    def attack(seconds):
        command = ['nice', '-n', '10', 'h2load', '-c', str(connections), '-m', str(streams), '-D', str(seconds), '-H', f'authorization: Bearer {key}', url]
        said = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 60).stdout
        found = re.search(r'requests: (\d+) total.*?(\d+) failed', said)
        codes = re.search(r'status codes: (.*)', said)
        return f'{int(found[1]):,} requests, {found[2]} failed, {codes[1]}' if found and codes else said[-200:]
    return attack


def frames(which, address, connections, key):
    return lambda seconds: in_a_process(http2_attacks.run, which, address, seconds, connections, key)


def ask_pro(address, seconds, clients):
    """Clients whose answers come from a Google that misbehaves; counts what they are told."""
    os.nice(10)
    body = json.dumps({'model': 'gemini-2.5-pro', 'stream': True, 'messages': [{'role': 'user', 'content': 'hi'}]}).encode()
    end, counts, lock = time.monotonic() + seconds, {}, threading.Lock()

    def ask():
        while time.monotonic() < end:
            request = urllib.request.Request(f'http://{address}/v1/chat/completions', body, HEADERS)
            try:
                with urllib.request.urlopen(request, timeout=max(0.5, end - time.monotonic())) as answer:
                    text = answer.read()
                told = 'whole' if text.endswith(b'data: [DONE]\n\n') else 'with an error' if b'"error"' in text else 'cut'
            except urllib.error.HTTPError as error:
                told = str(error.code)
            except OSError:
                told = 'left by its client'
            with lock:
                counts[told] = counts.get(told, 0) + 1
    threads = [threading.Thread(target=ask, daemon=True) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(seconds + 5)
    return ', '.join(f'{count} {told}' for told, count in sorted(counts.items()))


def google(pool, actions, clients):
    def attack(seconds):
        for action in actions:
            pool.fault(action, 'gemini-2.5-pro', 40)
        return in_a_process(ask_pro, pool.gateway.address, seconds, clients)
    return attack


def in_the_clear(size):
    times = size.times
    with Stack() as stack:
        pool = Pool(stack)
        address = pool.gateway.address
        url = f'http://{address}/v1/models'
        with WellBehaved(address) as others:
            siege = Siege(pool, others, size)
            slow_connections = CONNECTIONS * 6 // 5 if times == 1 else 3 * CONNECTIONS
            siege.suffer('slowloris (-H)', slow('-H', url, slow_connections, '-i', '1', '-x', '24'))
            siege.suffer('slow body (-B)', slow('-B', f'http://{address}/v1/chat/completions', CONNECTIONS * 7 // 10, '-i', '1', '-s', '8192', '-x', '10', '-j', WITH_KEY))
            siege.suffer('ranges (-R)', slow('-R', url, slow_connections, '-a', '10', '-b', '3000', '-t', 'HEAD', rate=slow_connections))
            siege.suffer('slow read (-X)', slow('-X', url, slow_connections, '-w', '1', '-y', '512', '-n', '1', '-z', '32', '-k', '3', '-j', WITH_KEY))
            siege.suffer('h2load, bad key', h2load(url, 100 * times, 50, 'sk-nobody-has-this-key'))
            siege.suffer('h2load, good key', h2load(url, 100 * times, 50, API_KEY))
            for which, connections, key in http2_attacks.ATTACKS:
                name = which.__name__.replace('_', ' ') + (', good key' if key else '')
                siege.suffer(name, frames(which, address, connections * times, key))
            for name, actions in (('Google: GOAWAY', [{'kind': 'go_away'}]), ('Google: streams reset', [{'kind': 'reset_stream', 'after_events': 0}, {'kind': 'reset_stream', 'after_events': 3}]),
                                  ('Google: streams refused', [{'kind': 'refuse_stream'}]), ('Google: stalled', [{'kind': 'stall', 'after_events': 0}, {'kind': 'stall', 'after_events': 2}])):
                siege.suffer(name, google(pool, actions, 20 * times))


def over_tls(size):
    times = size.times
    with Stack() as stack:
        certificate, key = (os.path.join(stack.folder, f'server.{kind}') for kind in ('pem', 'key'))
        subprocess.run(['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2', '-subj', '/CN=localhost',
                        '-addext', 'subjectAltName=IP:127.0.0.1,DNS:localhost', '-keyout', key, '-out', certificate], check=True, capture_output=True)
        pool = Pool(stack, TLS_CERT_FILE=certificate, TLS_KEY_FILE=key)
        address = pool.gateway.address
        with WellBehaved(address, certificate) as others:
            siege = Siege(pool, others, size)
            for path, key, name in (('/v1/models', 'sk-nobody-has-this-key', 'h2load, bad key'), ('/v1/models', API_KEY, 'h2load, good key')):
                siege.suffer(name, h2load(f'https://{address}{path}', 100 * times, 50, key))
            siege.suffer('slowloris (-H)', slow('-H', f'https://{address}/v1/models', 300 * times, '-i', '1'))
            siege.suffer('handshakes that do not end', lambda seconds: in_a_process(half_handshakes, address, seconds, 300 * times))
            siege.suffer('handshakes, one after the other', lambda seconds: in_a_process(handshakes, address, seconds, 4))


def half_handshakes(address, seconds, connections):
    """The beginning of a handshake, of different lengths."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    hello = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname='localhost')
    try:
        hello.do_handshake()
    except ssl.SSLWantReadError:
        pass
    hello, (host, port), held = outgoing.read(), address.split(':'), []
    for nth in range(connections):
        held.append(socket.create_connection((host, int(port)), timeout=10))
        held[-1].sendall(hello[:1 + nth % len(hello)])
    time.sleep(seconds)
    return f'{len(held)} connections'


def handshakes(address, seconds, clients):
    """Handshakes and nothing else: they cost a server more than what comes after."""
    os.nice(10)
    (host, port), end, made = address.split(':'), time.monotonic() + seconds, [0] * clients

    def shake(number):
        while time.monotonic() < end:
            try:
                TRUSTING.wrap_socket(socket.create_connection((host, int(port)), timeout=10)).close()
                made[number] += 1
            except OSError:
                pass
    threads = [threading.Thread(target=shake, args=(number,), daemon=True) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(seconds + 10)
    return f'{sum(made):,} handshakes'


def with_bad_keys(seconds):
    with Stack() as stack:
        bad_keys.flood(Pool(stack), check, seconds)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--full', action='store_true')
    parser.add_argument('--only', help='one part: clear, tls or keys')
    parser.add_argument('--attack', default='', help='only those whose name has this in it, a regular expression')
    arguments = parser.parse_args()
    size = Size(8, 3, 3, arguments.attack) if arguments.full else Size(1, 2, 1, arguments.attack)
    parts = {'clear': ('in the clear', lambda: in_the_clear(size)), 'tls': ('over TLS', lambda: over_tls(size)),
             'keys': ('with bad keys', lambda: with_bad_keys(3 * size.seconds))}
    for name, (title, part) in parts.items():
        if arguments.only in (None, name):
            print(f'\n{title}', flush=True)
            part()
    if failed:
        raise SystemExit(f'\n{len(failed)} failed: {failed}')


if __name__ == '__main__':
    main()
