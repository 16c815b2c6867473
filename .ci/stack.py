"""Starts the real processes on loopback ports of their own, and ends them again."""
import contextlib, http.client, itertools, json, os, random, re, signal, socket, subprocess, tempfile, time, urllib.parse, urllib.request

BIN = os.environ.get('BIN_DIR') or os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'target', 'release')
API_KEY = 'sk-ci-0123456789abcdef'
TOKENS = {'GATEWAY_TOKEN': 'gateway-token-of-this-run', 'ADMIN_TOKEN': 'admin-token-of-this-run'}
# What did not hold, of a check that goes on to tell the rest.
failed = []


def check(holds, what):
    print(f'{"ok  " if holds else "FAIL"} {what}', flush=True)
    if not holds:
        failed.append(what)


def clean_env():
    """The environment without variables that would configure our processes."""
    keep = ('PATH', 'HOME', 'LANG', 'TMPDIR', 'RUST_BACKTRACE')
    return {name: value for name, value in os.environ.items() if name in keep}


class Process:
    """A process whose log lines are JSON; knows the address that it bound."""

    def __init__(self, name, args, env, folder, binary=None):
        self.name, self.folder, self.address = name, folder, None
        self.log = os.path.join(folder, f'{name}-{time.monotonic_ns()}.log')
        self.out = open(self.log, 'wb')
        binary = binary or os.path.join(BIN, name)
        self.process = subprocess.Popen([binary, *args], cwd=folder, env={**clean_env(), 'LOG_FORMAT': 'json', **env},
                                        stdout=self.out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)

    @property
    def pid(self):
        return self.process.pid

    def text(self):
        with open(self.log, encoding='utf8', errors='replace') as file:
            return file.read()

    def wait_for(self, pattern, seconds=30):
        """The first match of `pattern` in the log."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            found = re.search(pattern, self.text())
            if found:
                return found
            if self.process.poll() is not None:
                raise SystemExit(f'{self.name} ended with {self.process.returncode}:\n{self.text()[-3000:]}')
            time.sleep(0.05)
        raise SystemExit(f'{self.name} did not say {pattern!r} within {seconds} s:\n{self.text()[-3000:]}')

    def listening(self, message='listening'):
        self.address = self.wait_for(rf'"message":"{message}","address":"(127\.0\.0\.1:\d+)"')[1]
        return self

    def kill(self, how=signal.SIGKILL):
        if self.process.poll() is None:
            self.process.send_signal(how)

    def stop(self, seconds=20):
        self.kill(signal.SIGTERM)
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            self.process.wait()
        self.out.close()
        return self.process.returncode


class Stack(contextlib.ExitStack):
    """A folder and the processes in it."""

    def __enter__(self):
        super().__enter__()
        self.folder = self.enter_context(tempfile.TemporaryDirectory(prefix='agw-ci-'))
        self.database = os.path.join(self.folder, 'data', 'tokens.db')
        return self

    def start(self, name, args=(), env=None, binary=None):
        process = Process(name, list(args), env or {}, self.folder, binary)
        self.callback(process.stop)
        return process

    def tokens_file(self, projects, token_url, client=('client-1', 'secret-of-client-1')):
        path = os.path.join(self.folder, 'tokens.json')
        with open(path, 'w', encoding='utf8') as file:
            json.dump({'oauth_config': {'client_id': client[0], 'client_secret': client[1], 'token_url': token_url}, 'projects': projects}, file, indent=1)
        return path

    def token_service(self, **env):
        base = {'TOKEN_SERVICE_LISTEN': '127.0.0.1:0', 'DATABASE_URL': f'sqlite://{self.database}', **TOKENS}
        return self.start('token-service', env={**base, **env}).listening()

    def gateway(self, token_service, binary=None, **env):
        base = {'HOST': '127.0.0.1', 'PORT': '0', 'API_KEYS': json.dumps([API_KEY]), 'TOKEN_SERVICE_URL': f'http://{token_service}',
                'GATEWAY_TOKEN': TOKENS['GATEWAY_TOKEN'], 'SHUTDOWN_DELAY': '0s', 'SHUTDOWN_GRACE': '5s'}
        return self.start('gateway', env={**base, **env}, binary=binary).listening('the gateway listens')


ports = itertools.count(random.randrange(20_000))


def free_port():
    """Below the ports that the system gives to connections, so that none of them takes it before it is used."""
    for nth in ports:
        port = 12_000 + nth % 20_000
        with socket.socket() as probe:
            with contextlib.suppress(OSError):
                probe.bind(('127.0.0.1', port))
                return port


def control(base, path, body):
    """Tells fake-google to do something."""
    request = urllib.request.Request(f'{base}/__fake/{path}', json.dumps(body).encode(), {'Content-Type': 'application/json'})
    urllib.request.urlopen(request, timeout=10).read()


def consent(address, account, decision='allow'):
    """Decides on fake-google's consent page as `account`; returns where the browser is sent."""
    page = urllib.parse.urlsplit(address)
    fields = f'{page.query}&{urllib.parse.urlencode({"login_hint": account, "decision": decision})}'
    connection = http.client.HTTPConnection(page.netloc, timeout=10)
    connection.request('POST', page.path, fields, {'Content-Type': 'application/x-www-form-urlencoded'})
    answer = connection.getresponse()
    answer.read()
    connection.close()
    assert answer.status == 302, answer.status
    return answer.getheader('Location')


def post(url, body, key=API_KEY, headers=None, timeout=30):
    """(status, headers, body) of a POST; errors are answers too."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {'Authorization': f'Bearer {key}', 'Content-Type': 'application/json', **(headers or {})})
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            return answer.status, dict(answer.headers), answer.read()
    except urllib.error.HTTPError as error:
        return error.code, dict(error.headers), error.read()
