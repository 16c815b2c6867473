"""Clients that behave, in a process of their own: unary requests at an even rate, and streams that live for seconds."""
import http.client, json, multiprocessing, os, select, socket, ssl, threading, time

from stack import API_KEY

ASK = json.dumps({'model': 'gemini-2.5-flash', 'messages': [{'role': 'user', 'content': 'hi'}]}).encode()
STREAM = json.dumps({**json.loads(ASK), 'model': 'gemini-2.5-flash-lite', 'stream': True}).encode()
HEADERS = {'Authorization': f'Bearer {API_KEY}', 'Content-Type': 'application/json'}
# Of the requests, one in so many comes on a connection of its own: newcomers have to get in.
NEWCOMERS = 4


def percentile(values, part):
    values = sorted(values)
    return values[min(len(values) - 1, int(len(values) * part))] if values else float('nan')


class Client:
    """One that keeps its connection, without retries."""

    def __init__(self, address, authority):
        self.address, self.connection = address, None
        self.tls = ssl.create_default_context(cafile=authority) if authority else None

    def begin(self, body):
        # As every client with a pool does: what was closed while it was idle is not asked.
        if self.connection is not None and (self.connection.sock is None or select.select([self.connection.sock], [], [], 0)[0]):
            self.leave()
        if self.connection is None:
            made = http.client.HTTPSConnection(self.address, timeout=20, context=self.tls) if self.tls else http.client.HTTPConnection(self.address, timeout=20)
            made.connect()
            made.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.connection = made
        self.connection.request('POST', '/v1/chat/completions', body, HEADERS)
        return self.connection.getresponse()

    def leave(self):
        if self.connection is not None:
            self.connection.close()
            self.connection = None


def asks(address, authority, rate, clients, number, tell):
    client, due, turn = Client(address, authority), time.monotonic() + number / rate, 0
    while True:
        time.sleep(max(0, due - time.monotonic()))
        if (turn + number) % NEWCOMERS == 0:
            client.leave()
        at = time.monotonic()
        try:
            answer = client.begin(ASK)
            text = answer.read()
            wrong = None if answer.status == 200 and b'"choices"' in text else f'{answer.status} {text[:200]!r}'
        except (OSError, http.client.HTTPException) as error:
            wrong = repr(error)
            client.leave()
        tell(('unary', at, time.monotonic() - at, wrong))
        due, turn = max(due + clients / rate, time.monotonic() - 1), turn + 1


def streams(address, authority, number, tell):
    time.sleep(number / 10)
    while True:
        client, at = Client(address, authority), time.monotonic()
        longest, text, last = 0, b'', at
        try:
            answer = client.begin(STREAM)
            while piece := answer.read1(65536):
                now = time.monotonic()
                longest, last, text = max(longest, now - last), now, text + piece
            wrong = None if answer.status == 200 and text.endswith(b'data: [DONE]\n\n') else f'{answer.status} {text[-200:]!r}'
        except (OSError, http.client.HTTPException) as error:
            wrong = repr(error)
            time.sleep(0.1)
        client.leave()
        tell(('stream', at, longest, wrong))


def behave(address, authority, rate, clients, live, answers):
    tell = answers.put
    for number in range(clients):
        threading.Thread(target=asks, args=(address, authority, rate, clients, number, tell), daemon=True).start()
    for number in range(live):
        threading.Thread(target=streams, args=(address, authority, number, tell), daemon=True).start()
    parent = os.getppid()
    while os.getppid() == parent:
        time.sleep(0.5)


class WellBehaved:
    """They ask until they are left; what they were told is asked for by the time at which it was asked."""

    def __init__(self, address, authority=None, rate=50, clients=8, live=20):
        self.answers, self.lock, self.queue = [], threading.Lock(), multiprocessing.Queue()
        self.process = multiprocessing.Process(target=behave, args=(address, authority, rate, clients, live, self.queue), daemon=True)

    def __enter__(self):
        self.process.start()
        threading.Thread(target=self.gather, daemon=True).start()
        return self

    def gather(self):
        while True:
            answer = self.queue.get()
            with self.lock:
                self.answers.append(answer)

    def __exit__(self, *_):
        self.process.kill()
        self.process.join()

    def between(self, begin, end):
        """(requests, what went wrong, latencies of the unary, longest silence of a stream) of what went on in that time."""
        with self.lock:
            mine = [answer for answer in self.answers if begin <= answer[1] < end or answer[0] == 'stream' and answer[1] < end and self.ended(answer) >= begin]
        wrong = [(kind, round(at - begin, 2), told) for kind, at, _, told in mine if told]
        unary = [took for kind, _, took, _ in mine if kind == 'unary']
        gaps = [took for kind, _, took, _ in mine if kind == 'stream']
        return len(mine), wrong, unary, max(gaps, default=float('nan'))

    @staticmethod
    def ended(answer):
        # A stream lives for a few seconds; whoever began shortly before was there too.
        return answer[1] + 3
