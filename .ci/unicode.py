#!/usr/bin/env python3
"""Random Unicode in prompts, tool results and answers comes through unchanged, byte for byte after JSON decoding.

A mirror stands before the offline Google: requests for content stop there, are compared with what the client said, and
are answered with texts of its own, escaped at random and written in pieces that end anywhere. The rest goes on to the
offline Google.
"""
import argparse, http.server, json, random, threading, urllib.request

from stack import API_KEY, Stack, free_port, post

LARGE = 5_000_000
# What has been stumbled over: controls, what ends lines, what means something to JSON, SSE, ids or templates, marks of
# order and width, what combines, what no character is, planes beyond the first.
TROUBLE = ['\0', '\x01', '\x1b', '\x7f', '\x85', '\xa0', '\xad', '\r', '\n', '\r\n', '\t', '\b', '\f', '"', '\\', '\\u0041', '/', '</script>', '&amp;', '{{x}}', '%s',
           '\n\ndata: [DONE]\n\n', 'data: {"error":{}}', ': ping', '[DONE]', '__thought__', '\u200b', '\u200d', '\u202e', '\u2028', '\u2029', '\u2066', '\ufeff', '\ufffd', '\ufffe', '\uffff',
           'e\u0301', '\u0301', 'A\u030a\u0323', '\u1100\u1161', 'ﬁ', 'ß', 'İ', '한', '漢', 'ع', 'ไทย', '👩‍👩‍👧‍👦', '🇩🇪', '👍🏽', '𝒳', '\U0001fffe', '\U000f0000', '\U0010ffff', ' ', '  ']
SHORT = {'"': '"', '\\': '\\', '/': '/', '\b': 'b', '\f': 'f', '\n': 'n', '\r': 'r', '\t': 't'}


def character(rng):
    if rng.random() < 0.4:
        return rng.choice(TROUBLE)
    while True:
        code = rng.choice([rng.randrange(0x80), rng.randrange(0x800), rng.randrange(0x10000), rng.randrange(0x110000)])
        if not 0xD800 <= code < 0xE000:
            return chr(code)


def text(rng, size=None):
    """Not empty: empty texts are left out of requests, and out of deltas."""
    made = ''.join(character(rng) for _ in range(rng.choice([1, 3, 20, 200]) if size is None else 5_000))
    if size is None:
        return made
    return (made * (size // len(made.encode()) + 1))


def token(rng, value, escaping):
    """A string in JSON; every character is escaped in one of the ways that there are, or not at all."""
    def one(c):
        if rng.random() < 0.5 and c in SHORT:
            return '\\' + SHORT[c]
        if c in '"\\' or c < ' ' or rng.random() < escaping:
            units = c.encode('utf-16-be')
            digits = [units[at:at + 2].hex() for at in range(0, len(units), 2)]
            return ''.join('\\u' + (unit.upper() if rng.random() < 0.5 else unit) for unit in digits)
        return c
    if len(value) > 100_000:
        return json.dumps(value, ensure_ascii=rng.random() < 0.5)
    return '"' + ''.join(map(one, value)) + '"'


def write(rng, value, escaping=None):
    """JSON with its strings escaped at random."""
    escaping = rng.choice([0, 0.1, 1]) if escaping is None else escaping
    if isinstance(value, str):
        return token(rng, value, escaping)
    if isinstance(value, dict):
        return '{' + ', '.join(f'{token(rng, key, escaping)}: {write(rng, item, escaping)}' for key, item in value.items()) + '}'
    if isinstance(value, list):
        return '[' + ', '.join(write(rng, item, escaping) for item in value) + ']'
    return json.dumps(value)


def cut(rng, whole, most):
    """In up to `most` pieces, none of them empty."""
    places = sorted({0, len(whole), *(rng.randrange(len(whole)) for _ in range(rng.randrange(most)))})
    return [whole[a:b] for a, b in zip(places, places[1:])]


class Mirror:
    """Answers for content are planned by `answer`; what was asked is in `asked`."""

    def __init__(self, google):
        self.pieces, self.asked = [], None
        mirror = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = 'HTTP/1.1'

            def log_message(self, *_):
                pass

            def do_GET(self):
                self.pass_on(None)

            def do_POST(self):
                body = self.rfile.read(int(self.headers.get('content-length') or 0))
                if not any(self.path.split('?')[0].endswith(f':{way}enerateContent') for way in ('g', 'streamG')):
                    return self.pass_on(body)
                mirror.asked = json.loads(body)
                self.send_response(200)
                self.send_header('Content-Type', 'text/event-stream' if 'streamG' in self.path else 'application/json')
                self.send_header('Transfer-Encoding', 'chunked')
                self.end_headers()
                for piece in mirror.pieces:
                    self.wfile.write(b'%x\r\n%s\r\n' % (len(piece), piece))
                self.wfile.write(b'0\r\n\r\n')

            def pass_on(self, body):
                headers = {name: value for name, value in self.headers.items() if name.lower() not in ('host', 'accept-encoding', 'connection')}
                request = urllib.request.Request(google + self.path, body, headers, method=self.command)
                try:
                    answer = urllib.request.urlopen(request, timeout=30)
                except urllib.error.HTTPError as error:
                    answer = error
                with answer:
                    told = answer.read()
                self.send_response(answer.status)
                self.send_header('Content-Type', answer.headers.get('Content-Type', 'application/json'))
                self.send_header('Content-Length', str(len(told)))
                self.end_headers()
                self.wfile.write(told)

        self.server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f'http://127.0.0.1:{self.server.server_address[1]}'

    def close(self):
        self.server.shutdown()
        self.server.server_close()


def events(rng, said, envelope):
    """The answer as a stream's events."""
    parts = [{'text': piece, 'thought': True} for piece in cut(rng, said['thought'], 4)]
    parts += [{'text': piece} for piece in cut(rng, said['text'], 6)]
    parts.append({'functionCall': {'name': 'note', 'args': said['args']}})
    made = []
    for nth, part in enumerate(parts):
        candidate = {'content': {'role': 'model', 'parts': [part]}, 'index': 0}
        if nth + 1 == len(parts):
            candidate['finishReason'] = 'STOP'
        made.append(envelope({'candidates': [candidate], 'usageMetadata': {'promptTokenCount': 1, 'totalTokenCount': 1}}))
    return made


def unary(said, envelope):
    parts = [{'text': said['thought'], 'thought': True}, {'text': said['text']}, {'functionCall': {'name': 'note', 'args': said['args']}}]
    return envelope({'candidates': [{'content': {'role': 'model', 'parts': parts}, 'finishReason': 'STOP'}], 'usageMetadata': {'promptTokenCount': 1, 'totalTokenCount': 1}})


def arrived(body):
    """The texts of a request to Google, by where they stand."""
    request = body.get('request', body)
    parts = [part for content in request['contents'] for part in content['parts']]
    return {
        'system': [part['text'] for part in request['systemInstruction']['parts']],
        'texts': [part['text'] for part in parts if 'text' in part],
        'args': [part['functionCall']['args'] for part in parts if 'functionCall' in part],
        'results': [part['functionResponse']['response'] for part in parts if 'functionResponse' in part],
        'descriptions': [tool['description'] for tools in request['tools'] for tool in tools['functionDeclarations']],
    }


def told(stream, body):
    """What the client reads: an object, or deltas that add up to one."""
    if not stream:
        message = json.loads(body)['choices'][0]['message']
        return {'thought': message['reasoning_content'], 'text': message['content'], 'args': json.loads(message['tool_calls'][0]['function']['arguments'])}
    # Only line feeds end lines here; what else does to Python stands within strings.
    lines = [line[6:] for line in body.split(b'\n') if line.startswith(b'data: ')]
    assert lines.pop() == b'[DONE]', body[-300:]
    deltas = [json.loads(line)['choices'][0]['delta'] for line in lines]
    join = lambda key: ''.join(delta.get(key) or '' for delta in deltas)
    arguments = ''.join(call['function'].get('arguments', '') for delta in deltas for call in delta.get('tool_calls') or [])
    return {'thought': join('reasoning_content'), 'text': join('content'), 'args': json.loads(arguments)}


def turn(rng, mirror, url, envelope, large):
    """One request and its answer, with random texts at every place; `large` names one that has 5 MB."""
    made = lambda place: text(rng, LARGE if large == place else None)
    say = {'system': [made('system'), made('developer')], 'texts': [made('prompt'), made('assistant'), made('part'), made('last')],
           'args': [{'nested': [made('argument')], text(rng): made('other')}], 'results': [{'output': made('result')}], 'descriptions': [made('description')]}
    said = {'thought': made('thought'), 'text': made('answer'), 'args': {'note': made('call'), 'deep': {text(rng): [made('deep'), None, True, 1]}}}
    prompt, assistant, part, last = say['texts']
    call = {'id': 'call_1', 'type': 'function', 'function': {'name': 'note', 'arguments': write(rng, say['args'][0])}}
    stream = rng.random() < 0.5
    body = write(rng, {
        'model': 'gemini-2.5-flash', 'stream': stream,
        'tools': [{'type': 'function', 'function': {'name': 'note', 'description': say['descriptions'][0], 'parameters': {'type': 'object', 'properties': {}}}}],
        'messages': [
            {'role': 'system', 'content': say['system'][0]}, {'role': 'developer', 'content': [{'type': 'text', 'text': say['system'][1]}]},
            {'role': 'user', 'content': prompt}, {'role': 'assistant', 'content': assistant, 'tool_calls': [call]},
            {'role': 'tool', 'tool_call_id': 'call_1', 'content': say['results'][0]['output']},
            {'role': 'user', 'content': [{'type': 'text', 'text': part}, {'type': 'text', 'text': last}]},
        ],
    }, rng.choice([0, 0.05] if large else [0, 0.1, 1])).encode()
    if stream:
        answer = ''.join(f'data: {write(rng, event)}\r\n\r\n' for event in events(rng, said, envelope)).encode()
    else:
        answer = write(rng, unary(said, envelope)).encode()
    mirror.pieces = cut(rng, answer, 40)
    status, _, heard = post(f'{url}/v1/chat/completions', body, timeout=120)
    assert status == 200, heard[:2000]
    for what, here, there in (('request', say, arrived(mirror.asked)), ('answer', said, told(stream, heard))):
        for place in here:
            if here[place] != there[place]:
                raise AssertionError(f'{what}, {place}, stream {stream}, large {large}:\n{ascii(here[place])[:1500]}\n{ascii(there[place])[:1500]}')


def halves(mirror, url, envelope):
    """Half of a surrogate pair is no text: refused by its path in a request, replaced in an answer."""
    half, fine = 'a\ud83dz', 'a\ufffdz'
    ask = lambda prompt, arguments, result: {'model': 'gemini-2.5-flash', 'messages': [
        {'role': 'user', 'content': [{'type': 'text', 'text': prompt}]},
        {'role': 'assistant', 'tool_calls': [{'id': 'call_1', 'type': 'function', 'function': {'name': 'note', 'arguments': json.dumps(arguments)}}]},
        {'role': 'tool', 'tool_call_id': 'call_1', 'content': result},
    ]}
    for place, body in (
        ('messages[0].content[0].text', ask(half, {}, 'fine')),
        ('messages[1].tool_calls[0].function.arguments', ask('fine', {'nested': [half]}, 'fine')),
        ('messages[1].tool_calls[0].function.arguments', ask('fine', {half: 1}, 'fine')),
        ('messages[2].content', ask('fine', {}, half)),
    ):
        status, _, heard = post(f'{url}/v1/chat/completions', body)
        assert (status, json.loads(heard)['error']['param']) == (400, place), (place, heard)
    said = {'thought': half, 'text': half, 'args': {half: [half]}}
    for stream in (False, True):
        answer = envelope(unary(said, lambda response: response))
        mirror.pieces = [b'data: %s\n\n' % json.dumps(answer).encode() if stream else json.dumps(answer).encode()]
        status, _, heard = post(f'{url}/v1/chat/completions', {**ask('fine', {}, 'fine'), 'stream': stream})
        assert status == 200, heard
        assert told(stream, heard) == {'thought': fine, 'text': fine, 'args': {fine: [fine]}}, heard


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument('--seed', type=int, default=20)
    options.add_argument('--count', type=int, default=150, help='small turns on each API')
    options = options.parse_args()
    places = ['system', 'prompt', 'result', 'argument', 'answer', 'thought', 'call']
    for upstream, envelope in (('antigravity', lambda response: {'response': response}), ('gemini', lambda response: response)):
        rng = random.Random(f'{options.seed} {upstream}')
        with Stack() as stack:
            port = free_port()
            stack.start('fake-google', ['--listen', f'127.0.0.1:{port}', '--tokens-out', 'tokens.json']).wait_for(str(port))
            mirror = Mirror(f'http://127.0.0.1:{port}')
            stack.callback(mirror.close)
            tokens = stack.token_service(TOKENS_FILE='tokens.json', DEFAULT_UPSTREAM=upstream)
            url = 'http://' + stack.gateway(tokens.address, ANTIGRAVITY_BASE_URLS=mirror.url, GEMINI_BASE_URL=mirror.url).address
            for nth in range(options.count):
                turn(rng, mirror, url, envelope, None)
            for place in places:
                turn(rng, mirror, url, envelope, place)
            halves(mirror, url, envelope)
        print(f'{upstream}: {options.count} turns of random Unicode and {len(places)} with 5 MB came through, seed {options.seed}')


if __name__ == '__main__':
    main()
