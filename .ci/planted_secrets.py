#!/usr/bin/env python3
"""Plants secrets everywhere, makes things go right and wrong at the most talkative log level, and looks for the
secrets in all that was written: logs, errors, traces, request logs, the database, its -wal and -shm.
"""
import http.server, json, os, sqlite3, subprocess, sys, threading
from stack import API_KEY, BIN, TOKENS, Stack, clean_env, control, free_port, post

REFRESH = [f'1//planted-refresh-token-{n}' for n in range(4)]
CLIENT_SECRET, ACCESS = 'planted-client-secret', 'ya29.planted-access-token'


COLLECTOR_KEY, PROMPT = 'planted-collector-key', 'planted-prompt'


class Collector(http.server.ThreadingHTTPServer):
    """Keeps the spans that it is sent, as they came."""

    def __init__(self):
        self.sent = []
        collector = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                collector.sent.append(self.rfile.read(int(self.headers['Content-Length'])))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_):
                pass

        super().__init__(('127.0.0.1', 0), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()


def read_folder(folder):
    return b''.join(open(os.path.join(folder, name), 'rb').read() for name in os.listdir(folder))


def main():
    with Stack() as stack:
        collector = Collector()
        port = free_port()
        google = stack.start('fake-google', ['--listen', f'127.0.0.1:{port}', '--projects', '1', '--rotate-refresh-tokens'])
        google.wait_for(str(port))
        base = f'http://127.0.0.1:{port}'
        control(base, 'accounts', [{'refresh_token': token, 'client_id': 'client-1', 'client_secret': CLIENT_SECRET, 'projects': [f'p{n}']} for n, token in enumerate(REFRESH[:3])])
        projects = [{'project_id': f'p{n}', 'refresh_token': token, 'access_token': ACCESS if n == 0 else None, 'expires_at': '2099-01-01T00:00:00' if n == 0 else None} for n, token in enumerate(REFRESH)]
        file = stack.tokens_file(projects, f'{base}/token', client=('client-1', CLIENT_SECRET))
        loud = {'LOG_LEVEL': 'trace', 'OTEL_EXPORTER_OTLP_ENDPOINT': f'http://127.0.0.1:{collector.server_port}', 'OTEL_EXPORTER_OTLP_HEADERS': f'x-key={COLLECTOR_KEY}'}
        logged = {bodies: os.path.join(stack.folder, f'requests-{bodies}') for bodies in ('false', 'true')}
        tokens = stack.token_service(TOKENS_FILE=file, **loud)
        gateways = {bodies: stack.gateway(tokens.address, ANTIGRAVITY_BASE_URLS=base, REQUEST_LOG=folder, REQUEST_LOG_BODIES=bodies, **loud) for bodies, folder in logged.items()}
        urls = [f'http://{gateway.address}/v1/chat/completions' for gateway in gateways.values()]
        body = {'model': 'gemini-2.5-flash', 'messages': [{'role': 'user', 'content': PROMPT}]}
        told = []
        for fault in (None, 'unauthenticated', 'rate_limited', 'internal', 'terms_of_service', 'service_disabled'):
            if fault:
                control(base, 'faults', {'matcher': {}, 'times': 2 * len(urls), 'action': {'kind': 'error', 'error': fault}})
            for url in urls:
                for stream in (False, True):
                    told.append(post(url, {**body, 'stream': stream}))
        assert any(status == 200 for status, _, _ in told), told
        for url in urls:
            told.append(post(url, body, key='sk-planted-wrong-key'))
            told.append(post(url, b'{"model": "x", '))
        wrong = {**clean_env(), 'DATABASE_URL': f'sqlite://{stack.database}', 'TOKEN_SERVICE_LISTEN': '127.0.0.1:0', 'TOKENS_FILE': file,
                 'ENCRYPTION_KEY': 'cGxhbnRlZC1lbmNyeXB0aW9uLWtleS1vZi0zMi1ieXRlcw==', **TOKENS}
        told.append(subprocess.run([os.path.join(BIN, 'token-service')], env=wrong, capture_output=True, timeout=60))
        for gateway in gateways.values():
            gateway.stop()
        files = [stack.database + suffix for suffix in ('', '-wal', '-shm')]
        held = b''.join(open(path, 'rb').read() for path in files if os.path.exists(path))
        assert os.path.exists(stack.database + '-wal'), 'the service runs in WAL mode'
        tokens.stop()
        held += open(stack.database, 'rb').read()
        logs = ''.join(process.text() for process in (*gateways.values(), tokens)).encode()
        spans, with_bodies, without = b''.join(collector.sent), read_folder(logged['true']), read_folder(logged['false'])
        haystacks = {'logs': logs, 'answers': repr(told).encode(), 'database': held, 'traces': spans, 'request log': without, 'request log with bodies': with_bodies}
        assert b'chat gemini-2.5-flash' in spans and b'refresh access token' in spans, 'spans were sent'
        # With bodies the prompt is there by intent, and nowhere else.
        assert PROMPT.encode() in with_bodies and without.count(b'"outcome":"ok"') > 1, 'requests were logged'
        found = []
        issued = [row for row in sqlite3.connect(stack.database).execute('select name from sqlite_master')]
        assert issued, 'the database holds tables'
        for place in ('logs', 'traces', 'request log', 'database'):
            if PROMPT.encode() in haystacks[place]:
                found.append(f'the prompt in the {place}')
        for secret in [*REFRESH, COLLECTOR_KEY, CLIENT_SECRET, ACCESS, 'ya29.', '1//fake', API_KEY, 'sk-planted-wrong-key', *TOKENS.values(), 'planted-encryption', 'cGxhbnRlZC1l']:
            for place, hay in haystacks.items():
                if secret.encode() in hay:
                    at = hay.index(secret.encode())
                    found.append(f'{secret!r} in the {place}: …{hay[max(0, at - 200):at + 40]!r}')
        sizes = ', '.join(f'{len(hay)} bytes of {place}' for place, hay in haystacks.items())
        print(f'looked through {sizes}')
        for line in found:
            print('FOUND', line)
        sys.exit(bool(found))


if __name__ == '__main__':
    main()
