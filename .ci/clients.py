#!/usr/bin/env python3
"""What people use, against the real processes: SDKs and agents, each with a tool loop and a stream on a model that
demands its thought signatures back.

Every request goes to another of two gateways, and every third one to a gateway that was just started, so that nothing
can rest on what a gateway remembers. After each client the offline Google is asked: every signature that it issued on
a call came back, at its place, and no dummy, corrupt or missing one was seen.

Each client is a program in client_scripts, run with GATEWAY_URL, GATEWAY_KEY and MODEL. Two that keep fields which they
do not know run once more, with EXTRA_CONTENT, on gateways that put no signatures into ids.
"""
import argparse, contextlib, http.client, http.server, json, os, shutil, subprocess, sys, threading, urllib.request

from stack import API_KEY, Stack, clean_env, free_port, post

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'client_scripts')
# On every upstream.
MODEL = 'gemini-3.1-flash-lite'
DUMMIES = ('skip_thought_signature_validator', 'context_engineering_is_the_way_to_go')
# Where each is installed: they do not agree on a version of openai.
CLIENTS = {
    'openai_sdk.py': 'venv', 'llm_cli.py': 'venv', 'pydantic_agent.py': 'clients', 'llamaindex_agent.py': 'clients',
    'openai_sdk.mjs': 'clients', 'vercel_ai.mjs': 'clients', 'litellm_client.py': 'litellm',
}
KEEPERS = ['openai_sdk.py', 'vercel_ai.mjs']


class Balancer:
    """Hands requests to the gateways in turn, and starts anew every third that it goes to."""

    def __init__(self, start):
        self.start, self.gateways, self.turn, self.lock = start, [start(), start()], 0, threading.Lock()
        balancer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = 'HTTP/1.1'

            def log_message(self, *_):
                pass

            def do_POST(self):
                balancer.forward(self, self.rfile.read(int(self.headers.get('content-length') or 0)))

            def do_GET(self):
                balancer.forward(self, None)

        class Server(http.server.ThreadingHTTPServer):
            def handle_error(self, request, client_address):
                """Clients end with connections open."""
                if not isinstance(sys.exc_info()[1], ConnectionError):
                    super().handle_error(request, client_address)

        self.server = Server(('127.0.0.1', 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f'http://127.0.0.1:{self.server.server_address[1]}/v1'

    def next(self):
        with self.lock:
            self.turn += 1
            at = self.turn % 2
            if self.turn % 3 == 0:
                self.gateways[at].stop()
                self.gateways[at] = self.start()
            return self.gateways[at].address

    def forward(self, client, body):
        upstream = http.client.HTTPConnection(self.next(), timeout=60)
        dropped = ('host', 'connection', 'content-length', 'transfer-encoding', 'accept-encoding')
        headers = {name: value for name, value in client.headers.items() if name.lower() not in dropped}
        upstream.request(client.command, client.path, body, headers)
        answer = upstream.getresponse()
        client.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in dropped:
                client.send_header(name, value)
        client.send_header('Transfer-Encoding', 'chunked')
        client.end_headers()
        try:
            while piece := answer.read1(65536):
                client.wfile.write(b'%x\r\n%s\r\n' % (len(piece), piece))
                client.wfile.flush()
            client.wfile.write(b'0\r\n\r\n')
        except OSError:
            # The client hung up: so does its request to the gateway.
            client.close_connection = True
        finally:
            upstream.close()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


class Google:
    """What the offline Google saw since it was last asked."""

    def __init__(self, base):
        self.base, self.seen = base, 0
        self.before = self.counters()

    def get(self, what):
        with urllib.request.urlopen(f'{self.base}/__fake/{what}', timeout=30) as answer:
            return json.load(answer)

    def counters(self):
        counters = self.get('counters')
        refused = sum(count for status, count in counters['statuses'].items() if status not in ('200', '401'))
        return {**counters['signatures'], 'refused': refused}

    def news(self):
        now, requests = self.counters(), self.get('requests')
        counted = {name: now[name] - self.before[name] for name in now}
        requests, self.seen, self.before = requests[self.seen:], len(requests), now
        return counted, [request['body'] for request in requests if 'content' in request['endpoint']]


def signatures(body):
    """Of each model's turn with calls the signature of its first call, None where it has none, and that call."""
    turns = [content['parts'] for content in body.get('request', body)['contents'] if content.get('role') == 'model']
    calls = [[part for part in parts if 'functionCall' in part] for parts in turns]
    return [(of_turn[0].get('thoughtSignature'), json.dumps(of_turn[0]['functionCall'], sort_keys=True)) for of_turn in calls if of_turn]


def judge(google):
    """What a client's loops have to look like from Google's side."""
    counted, bodies = google.news()
    returned = [signature for body in bodies for signature in signatures(body)]
    assert all(signature for signature, _ in returned), f'a call came back without its signature: {returned}'
    wrong = {name: counted[name] for name in ('dummy', 'corrupt', 'missing', 'refused') if counted[name]}
    assert not wrong, f'{wrong}, refused: {bodies[-1]}'
    assert counted['issued'] >= 3, f'no loop was run: {counted}'
    # What is distinct and real was issued; so when the numbers are the same, nothing was lost.
    distinct, places = {signature for signature, _ in returned}, set(returned)
    assert len(distinct) == counted['issued'], f'{counted} but {len(distinct)} came back'
    assert len(places) == len(distinct), f'a signature stood on several calls: {places}'
    return counted, len(bodies)


def dummies(google, url):
    """A history of another model has no signatures: a dummy stands in, on the first call alone."""
    call = lambda nth: {'id': f'call_{nth}', 'type': 'function', 'function': {'name': 'get_weather', 'arguments': '{}'}}
    tool = {'type': 'function', 'function': {'name': 'get_weather', 'parameters': {'type': 'object', 'properties': {}}}}
    messages = [{'role': 'user', 'content': 'How is it outside?'}, {'role': 'assistant', 'tool_calls': [call(1), call(2)]},
                *({'role': 'tool', 'tool_call_id': f'call_{nth}', 'content': 'sunny'} for nth in (1, 2))]
    status, _, body = post(f'{url}/chat/completions', {'model': MODEL, 'messages': messages, 'tools': [tool]})
    assert status == 200, body
    counted, bodies = google.news()
    assert counted['dummy'] == 1 and not counted['missing'] and signatures(bodies[-1])[0][0] in DUMMIES, counted


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument('venv', help='virtual environment of requirements.txt')
    options.add_argument('clients', help='virtual environment of requirements-clients.txt and folder of package.json')
    options.add_argument('litellm', help='virtual environment of requirements-litellm.txt')
    options.add_argument('--upstream', choices=['antigravity', 'gemini', 'vertex'], default='antigravity')
    options.add_argument('--only', choices=CLIENTS, help='one client')
    options = options.parse_args()
    with Stack() as stack:
        port = free_port()
        base = f'http://127.0.0.1:{port}'
        fake = ['--listen', f'127.0.0.1:{port}', '--tokens-out', 'tokens.json', '--keep-requests', '10000', '--event-delay', '5']
        stack.start('fake-google', fake).wait_for(str(port))
        tokens = stack.token_service(TOKENS_FILE='tokens.json', DEFAULT_UPSTREAM=options.upstream)
        hosts = {'ANTIGRAVITY_BASE_URLS': base, 'GEMINI_BASE_URL': base, 'VERTEX_BASE_URL': base}
        google = Google(base)

        def run(script, balancer, **env):
            folder = os.path.abspath(getattr(options, CLIENTS[script]))
            program, path = os.path.join(folder, 'bin', 'python'), os.path.join(HERE, script)
            if script.endswith('.mjs'):
                # Node looks for packages beside the script.
                program, path = 'node', shutil.copy(path, folder)
            home = os.path.join(stack.folder, 'home')
            os.makedirs(home, exist_ok=True)
            env = {**clean_env(), 'HOME': home, 'GATEWAY_URL': balancer.url, 'GATEWAY_KEY': API_KEY, 'MODEL': MODEL, 'OPENAI_API_KEY': API_KEY,
                   'LITELLM_LOCAL_MODEL_COST_MAP': 'True', 'NO_PROXY': '127.0.0.1', **env}
            ran = subprocess.run([program, path], env=env, capture_output=True, text=True, timeout=120)
            if script.endswith('.mjs'):
                os.remove(path)
            if ran.returncode:
                raise SystemExit(f'{script} failed:\n{ran.stdout[-3000:]}\n{ran.stderr[-6000:]}')
            counted, requests = judge(google)
            print(f'{ran.stdout.strip().splitlines()[-1]}: {requests} requests, {counted["issued"]} signatures issued on calls, all came back')

        chosen = [script for script in CLIENTS if options.only in (None, script)]
        for limit, scripts, env in (('4096', chosen, {}), ('0', [script for script in KEEPERS if script in chosen], {'EXTRA_CONTENT': '1'})):
            balancer = Balancer(lambda: stack.gateway(tokens.address, SIGNATURE_ID_LIMIT=limit, **hosts))
            with contextlib.closing(balancer):
                for script in scripts:
                    run(script, balancer, **env)
                dummies(google, balancer.url)
            print(f'a dummy where history had none; {balancer.turn} requests over 2 gateways, {balancer.turn // 3} restarts, {options.upstream}')


if __name__ == '__main__':
    main()
