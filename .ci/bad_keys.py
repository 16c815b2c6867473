"""What a request costs that is refused for its key, in processor time of ours, beside one that is served."""
import json, multiprocessing, os, socket, time, urllib.request

from stack import API_KEY
from well_behaved import ASK

TICK = os.sysconf('SC_CLK_TCK')
LARGE = 1 << 20
LONG_ASK = json.dumps({**json.loads(ASK), 'messages': [{'role': 'user', 'content': 'word ' * (LARGE // 5)}]}).encode()
# A flood has so many lines of the log at first, and so many a second then.
SAVED, LINES, LINE = 120, 12, 400
# A refused request may cost so much of a served one.
# A new connection costs the system much the same, whatever is asked over it.
MOST, MOST_OF_NEW_CONNECTIONS = 0.33, 0.6


def processor_seconds(pid):
    with open(f'/proc/{pid}/stat', encoding='ascii') as file:
        fields = file.read().rsplit(')', 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def request(key, length, body):
    return (f'POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\n'
            f'Content-Length: {length}\r\n\r\n').encode() + body


def answered(connection):
    """Reads one whole answer; False: there was none."""
    text = b''
    while b'\r\n\r\n' not in text:
        got = connection.recv(65536)
        if not got:
            return b''
        text += got
    head, body = text.split(b'\r\n\r\n', 1)
    lengths = [int(line.split(b':')[1]) for line in head.lower().split(b'\r\n') if line.startswith(b'content-length:')]
    while len(body) < lengths[0]:
        body += connection.recv(65536)
    return head


def ask(address, key, length, body, keep, seconds, tell):
    os.nice(10)
    host, port = address.split(':')
    sent, end, counts, connection = request(key, length, body), time.monotonic() + seconds, {}, None
    while time.monotonic() < end:
        if connection is None:
            connection = socket.create_connection((host, int(port)), timeout=20)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            connection.sendall(sent)
            head = answered(connection)
        except OSError:
            head = b''
        status = head[9:12].decode() or 'none'
        counts[status] = counts.get(status, 0) + 1
        if not keep or not head or b'\nconnection: close' in head.lower():
            connection.close()
            connection = None
    tell.put(counts)


class Kind:
    """One kind of request, asked over and over by four clients."""

    def __init__(self, name, key, length=len(ASK), body=ASK, keep=True):
        self.name, self.arguments = name, (key, length, body, keep)

    def measure(self, address, pids, seconds):
        """(counts by status, processor seconds of each process, seconds that it took)"""
        tell = multiprocessing.Queue()
        clients = [multiprocessing.Process(target=ask, args=(address, *self.arguments, seconds, tell), daemon=True) for _ in range(4)]
        before, began = [processor_seconds(pid) for pid in pids], time.monotonic()
        for client in clients:
            client.start()
        counts = {}
        for _ in clients:
            for status, count in tell.get(timeout=seconds + 30).items():
                counts[status] = counts.get(status, 0) + count
        for client in clients:
            client.join()
        took = time.monotonic() - began
        return counts, [processor_seconds(pid) - was for pid, was in zip(pids, before)], took


BAD = 'sk-nobody-has-this-key'
KINDS = [Kind('served', API_KEY), Kind('served, new connections', API_KEY, keep=False), Kind('served, 1 MB sent', API_KEY, len(LONG_ASK), LONG_ASK),
         Kind('refused', BAD), Kind('refused, new connections', BAD, keep=False),
         Kind('refused, 1 MB announced', BAD, LARGE, b''), Kind('refused, 1 MB sent', BAD, LARGE, bytes(LARGE)), Kind('refused, 1 MB sent, new connections', BAD, LARGE, bytes(LARGE), keep=False)]


def calls(pool):
    """How often the token-service and Google were asked."""
    asked = sum(value for name, value in pool.metrics().items() if 'token_service_calls' in name)
    with urllib.request.urlopen(f'{pool.base}/__fake/counters', timeout=10) as answer:
        return asked, sum(json.load(answer)['requests'].values())


def flood(pool, check, seconds):
    pids = [pool.gateway.pid, pool.service.pid]
    KINDS[0].measure(pool.gateway.address, pids, 1)
    print('     requests                             a second   µs of the gateway   µs of the token-service   log bytes each   beside served')
    served, rested = {}, False
    for kind in KINDS:
        refused = kind.name.startswith('refused')
        # Reports of what was served have to be through, and turns returned.
        if refused and not rested:
            time.sleep(6)
            rested = True
        before, log = calls(pool), os.path.getsize(pool.gateway.log)
        counts, spent, took = kind.measure(pool.gateway.address, pids, seconds)
        time.sleep(0.2)
        count, written = sum(counts.values()), os.path.getsize(pool.gateway.log) - log
        each = [used / count * 1e6 for used in spent]
        # What a served one costs that is asked in the same way.
        way = (kind.arguments[3] and kind.arguments[2] != b'', len(kind.arguments[2]) >= LARGE)
        if not refused:
            served[way] = sum(each)
        part = sum(each) / served.get(way, served[True, way[1]])
        print(f'     {kind.name:35} {count / took:9,.0f}   {each[0]:17.0f}   {each[1]:23.0f}   {written / count:14.0f}   {part:13.2f}', flush=True)
        if not refused:
            check(set(counts) == {'200'}, f'{kind.name}: {counts}')
            continue
        check(set(counts) == {'401'}, f'{kind.name}: {counts}')
        asked = calls(pool)
        check(asked == before, f'{kind.name}: neither the token-service nor Google was asked {before} {asked}')
        check(written < LINE * (SAVED + LINES * took), f'{kind.name}: {written / 1024:.1f} KiB of log')
        most = MOST if way[0] else MOST_OF_NEW_CONNECTIONS
        check(part < most, f'{kind.name}: {part:.2f} of what a served one costs')
