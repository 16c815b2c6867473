#!/usr/bin/env python3
"""Plants secrets everywhere, makes things go right and wrong at the most talkative log level, and looks for the
secrets in all that was written: logs, errors, what logins tell, traces, request logs, the database, its -wal and -shm.
"""
import http.server, json, os, sqlite3, subprocess, sys, threading, urllib.parse
from stack import API_KEY, BIN, TOKENS, Stack, clean_env, consent, control, free_port, post

REFRESH = [f'1//planted-refresh-token-{n}' for n in range(4)]
CLIENT_SECRET, ACCESS = 'planted-client-secret', 'ya29.planted-access-token'
GEMINI_KEYS = ['AIzaPlantedGeminiKey', 'AIzaPlantedAndRefused']


def log_in(service, account, decision):
    """One `login` by paste; `again` pastes a code that is not one. Returns its state, and what it told beside its address."""
    env = {**clean_env(), 'TOKEN_SERVICE_URL': f'http://{service}', 'LOG_LEVEL': 'trace', **TOKENS}
    command = [os.path.join(BIN, 'antigravity-gateway'), 'login', '--no-browser', '--json']
    login = subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    told = ''
    while '/o/oauth2/v2/auth?' not in (line := login.stderr.readline()):
        assert line, told
        told += line
    address = line.strip()
    state = urllib.parse.parse_qs(urllib.parse.urlsplit(address).query)['state'][0]
    answer = '4/0Aplanted' if decision == 'again' else consent(address, account, decision)
    out, rest = login.communicate(answer + '\n', timeout=60)
    return state, (login.returncode, out, told, rest)


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
        key_file = os.path.join(stack.folder, 'key.json')
        google = stack.start('fake-google', ['--listen', f'127.0.0.1:{port}', '--projects', '1', '--rotate-refresh-tokens', '--service-account-out', key_file,
                                             '--api-key', GEMINI_KEYS[0]])
        google.wait_for(str(port))
        base = f'http://127.0.0.1:{port}'
        control(base, 'accounts', [{'refresh_token': token, 'client_id': 'client-1', 'client_secret': CLIENT_SECRET, 'projects': [f'p{n}']} for n, token in enumerate(REFRESH[:3])])
        projects = [{'project_id': f'p{n}', 'refresh_token': token, 'access_token': ACCESS if n == 0 else None, 'expires_at': '2099-01-01T00:00:00' if n == 0 else None} for n, token in enumerate(REFRESH)]
        with open(key_file, encoding='utf8') as key:
            service_account = json.load(key)
        # No line of it may be found, each being worth a part.
        private_key = service_account['private_key'].splitlines()[1:-1]
        projects += [{'service_account_key': service_account}, *({'api_key': key} for key in GEMINI_KEYS)]
        projects += [{'service_account_key': {**service_account, 'token_uri': 'https://elsewhere.example/token'}}, {'api_key': GEMINI_KEYS[0], 'upstream': 'vertex'}]
        file = stack.tokens_file(projects, f'{base}/token', client=('client-1', CLIENT_SECRET))
        loud = {'LOG_LEVEL': 'trace', 'OTEL_EXPORTER_OTLP_ENDPOINT': f'http://127.0.0.1:{collector.server_port}', 'OTEL_EXPORTER_OTLP_HEADERS': f'x-key={COLLECTOR_KEY}'}
        places = {'OAUTH_TOKEN_URL': f'{base}/token', 'OAUTH_AUTH_URL': f'{base}/o/oauth2/v2/auth', 'OAUTH_USERINFO_URL': f'{base}/oauth2/v2/userinfo',
                  'ANTIGRAVITY_BASE_URLS': base, 'GEMINI_BASE_URL': base, 'VERTEX_BASE_URL': base}
        logged = {bodies: os.path.join(stack.folder, f'requests-{bodies}') for bodies in ('false', 'true')}
        tokens = stack.token_service(TOKENS_FILE=file, **places, **loud)
        gateways = {bodies: stack.gateway(tokens.address, ANTIGRAVITY_BASE_URLS=base, GEMINI_BASE_URL=base, VERTEX_BASE_URL=base, REQUEST_LOG=folder,
                                          REQUEST_LOG_BODIES=bodies, **loud) for bodies, folder in logged.items()}
        urls = [f'http://{gateway.address}/v1/chat/completions' for gateway in gateways.values()]
        body = {'model': 'gemini-2.5-flash', 'messages': [{'role': 'user', 'content': PROMPT}]}
        told = []
        states = []
        for account, decision, code in (('p1@example.com', 'allow', 0), ('p2@example.com', 'deny', 1), ('p2@example.com', 'again', 1)):
            state, done = log_in(tokens.address, account, decision)
            assert done[0] == code, done
            states.append(state)
            told.append(done)
        for fault in (None, 'unauthenticated', 'rate_limited', 'internal', 'terms_of_service', 'service_disabled'):
            if fault:
                control(base, 'faults', {'matcher': {}, 'times': 2 * len(urls), 'action': {'kind': 'error', 'error': fault}})
            for url in urls:
                for stream in (False, True):
                    told.append(post(url, {**body, 'stream': stream}))
        assert any(answer[0] == 200 for answer in told), told
        cli = {**clean_env(), 'TOKEN_SERVICE_URL': f'http://{tokens.address}', 'ADMIN_TOKEN': TOKENS['ADMIN_TOKEN']}
        run = lambda *args, stdin='': told.append(subprocess.run([os.path.join(BIN, 'antigravity-gateway'), *args], env=cli, cwd=stack.folder, input=stdin, capture_output=True, text=True, timeout=60))
        run('projects', 'list')
        run('projects', 'list', '--json')
        run('import', file, '--json')
        run('projects', 'add', '--service-account-file', key_file)
        run('projects', 'add', '--api-key-file', '-', stdin=GEMINI_KEYS[0])
        run('projects', 'add', 'p', '--api-key-file', '-', stdin=REFRESH[0])
        run('projects', 'add', '--service-account-file', '-', stdin=json.dumps(service_account)[:1500])
        run('export', 'pool.sealed', '--passphrase-file', '-', stdin='a planted passphrase')
        run('backup', 'pool.db')
        run('keys', 'rotate')
        run('keys', 'list', '--json')
        run('restore', 'pool.db', '--yes')
        run('usage', '--by', 'key,project,model', '--csv')
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
        with open(os.path.join(stack.folder, 'pool.sealed'), 'rb') as sealed:
            export = sealed.read()
        assert any('Google refuses the API key' in str(answer) for answer in told), 'an API key was refused'
        keys = [key for name in ('encryption.key', 'encryption.key.retired') for key in open(os.path.join(os.path.dirname(stack.database), name), encoding='utf8').read().strip().split(',')]
        backup = open(os.path.join(stack.folder, 'pool.db'), 'rb').read()
        logs = ''.join(process.text() for process in (*gateways.values(), tokens)).encode()
        spans, with_bodies, without = b''.join(collector.sent), read_folder(logged['true']), read_folder(logged['false'])
        haystacks = {'export': export, 'backup': backup, 'logs': logs, 'answers': repr(told).encode(), 'database': held, 'traces': spans, 'request log': without,
                     'request log with bodies': with_bodies}
        assert b'chat gemini-2.5-flash' in spans and b'refresh access token' in spans, 'spans were sent'
        # With bodies the prompt is there by intent, and nowhere else.
        assert PROMPT.encode() in with_bodies and without.count(b'"outcome":"ok"') > 1, 'requests were logged'
        found = []
        issued = [row for row in sqlite3.connect(stack.database).execute('select name from sqlite_master')]
        assert issued, 'the database holds tables'
        for place in ('logs', 'traces', 'request log', 'database', 'backup'):
            if PROMPT.encode() in haystacks[place]:
                found.append(f'the prompt in the {place}')
        for secret in [*REFRESH, *GEMINI_KEYS, *private_key, 'PRIVATE KEY', 'planted passphrase', COLLECTOR_KEY, CLIENT_SECRET, ACCESS, 'ya29.', '1//fake', '1//0g', '4/0A', '4%2F0A', 'code_verifier', *states, API_KEY, 'sk-planted-wrong-key', *TOKENS.values(), 'planted-encryption', 'cGxhbnRlZC1l', *keys]:
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
