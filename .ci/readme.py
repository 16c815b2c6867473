#!/usr/bin/env python3
"""Runs every command and code block of the READMEs and of docs/, as a new user would.

  readme.py VENV CLIENTS MODULES     a virtual environment with openai and grpcurl, one with the other Python clients
                                     (each wants its own version of openai), and a node_modules
  readme.py block NAME               prints the block that this runner is for
  readme.py consent ADDRESS          consents there as a browser would: the BROWSER of the block of logins

A block's runner is named in a comment before it (`<!-- run: serve -->`); without one it is run against `demo`. Both
READMEs have the same blocks (a test of the project holds that), so those of one are run.
"""
import os, re, shutil, signal, socket, subprocess, sys, tempfile, time, urllib.request
from stack import BIN, clean_env, consent, free_port

TOP = os.path.join(os.path.dirname(os.path.abspath(__file__)), '..')
RUNNERS = {'start', 'test', 'install', 'login', 'login-begin', 'login-finish', 'serve', 'served', 'demo', 'fastapi', 'apart'}
# These are run by containers.py.
CONTAINERS = {'containers', 'containers-demo', 'containers-scale', 'containers-fastapi', 'containers-admin', 'containers-login', 'containers-one'}
# And these by kubernetes.py.
KUBERNETES = {'kubernetes-secrets', 'kubernetes-secret', 'kubernetes-exec', 'kubernetes-backup', 'kubernetes-migrate'}
# And these by operations.py, which holds that it has run each.
OPERATIONS = 'operations-'
# For reading only: pictures, and settings of other programs.
SHOWN = {'json', 'text', 'yaml'}
REFRESH_TOKEN, CLIENT, SECRET = '1//a-refresh-token-of-mine', '123-abc.apps.googleusercontent.com', 'a-client-secret-of-mine'


class Block:
    def __init__(self, file, line, language, runner, text):
        self.file, self.line, self.language, self.runner, self.text = file, line, language, runner, text

    def __str__(self):
        return f'{self.file}:{self.line} ({self.language}, {self.runner})'


def blocks(file):
    """The fenced blocks of a Markdown file."""
    with open(os.path.join(TOP, file), encoding='utf8') as text:
        lines = text.read().split('\n')
    found, at = [], 0
    while at < len(lines):
        fence = re.fullmatch(r'```(\w*)', lines[at])
        if not fence:
            assert '```' not in lines[at], f'{file}:{at + 1}: a fence that is not read'
            at += 1
            continue
        end = lines.index('```', at + 1)
        named = re.fullmatch(r'<!-- run: ([\w-]+) -->', lines[at - 1])
        language = fence[1]
        runner = named[1] if named else 'shown' if language in SHOWN else 'demo'
        assert runner in RUNNERS | CONTAINERS | KUBERNETES | {'shown'} or runner.startswith(OPERATIONS), f'{file}:{at}: nobody runs {runner!r}'
        assert runner == 'shown' or language in ('sh', 'bash', 'python', 'js'), f'{file}:{at + 1}: nobody runs {language!r}'
        found.append(Block(file, at + 1, language, runner, '\n'.join(lines[at + 1:end]) + '\n'))
        at = end + 1
    return found


def documents():
    docs = os.path.join(TOP, 'docs')
    return ['README.md', *(f'docs/{name}' for name in sorted(os.listdir(docs)) if name.endswith('.md'))]


def wait_for(what, seconds, condition):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return
        time.sleep(0.1)
    raise SystemExit(f'{what}: not within {seconds} s')


def listens(port):
    with socket.socket() as s:
        return s.connect_ex(('127.0.0.1', port)) == 0


class Background:
    """A block that serves until it is interrupted."""

    def __init__(self, block, folder, env):
        self.block = block
        self.log = open(os.path.join(folder, f'log-{block.runner}'), 'w+b')
        self.process = subprocess.Popen(['bash', '-euo', 'pipefail', '-c', block.text], cwd=env.get('PWD', folder), env=env, stdin=subprocess.DEVNULL,
                                        stdout=self.log, stderr=subprocess.STDOUT, start_new_session=True)

    def said(self):
        with open(self.log.name, encoding='utf8', errors='replace') as file:
            return file.read()

    def wait_for(self, pattern, seconds):
        def there():
            if self.process.poll() not in (None, 0):
                raise SystemExit(f'{self.block} ended with {self.process.returncode}:\n{self.said()[-3000:]}')
            return re.search(pattern, self.said())
        wait_for(f'{self.block} says {pattern!r}', seconds, there)

    def interrupt(self):
        """What Ctrl-C does: everything that the block started is told."""
        try:
            os.killpg(self.process.pid, signal.SIGINT)
        except ProcessLookupError:
            pass
        self.process.wait(60)
        self.log.close()


class Runner:
    def __init__(self, scratch, venv, clients, modules):
        self.scratch, self.venv, self.clients = scratch, venv, clients
        os.symlink(modules, os.path.join(scratch, 'node_modules'))
        self.bin = os.path.join(scratch, 'installed', 'bin')
        self.env = {**clean_env(), 'CARGO_INSTALL_ROOT': os.path.join(scratch, 'installed'), 'CURL_HOME': scratch, 'NO_COLOR': '1',
                    'PATH': f'{self.bin}:{venv}/bin:{os.environ["PATH"]}', 'PYTHONUNBUFFERED': '1'}
        # A status of 400 or more is a failure.
        self.write('.curlrc', 'fail-with-body\nsilent\nshow-error\nmax-time = 60\n')
        # The commands that talk of "this folder" mean the checkout, whatever it is called.
        self.checkout = os.path.join(scratch, 'antigravity-gateway')
        os.symlink(os.path.realpath(TOP), self.checkout)
        self.seconds = {}

    def write(self, name, text):
        path = os.path.join(self.scratch, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, 'w', encoding='utf8') as file:
            file.write(text)
        return path

    def run(self, block, folder, env=None, timeout=900):
        began = time.monotonic()
        if block.language in ('sh', 'bash'):
            command = ['bash', '-euo', 'pipefail', '-c', block.text]
        elif block.language == 'python':
            venv = self.venv if re.search(r'^(from|import) openai\b', block.text, re.M) else self.clients
            command = [os.path.join(venv, 'bin', 'python'), '-c', block.text]
        else:
            command = ['node', self.write(f'block-{block.line}.mjs', block.text)]
        done = subprocess.run(command, cwd=folder, env={**self.env, **(env or {})}, capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL)
        if done.returncode:
            raise SystemExit(f'FAIL {block}: exit status {done.returncode}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}')
        if not done.stdout.strip() and block.runner != 'install':
            raise SystemExit(f'FAIL {block}: it says nothing\n{done.stderr[-3000:]}')
        print(f'ok   {block}: {time.monotonic() - began:.1f} s, {len(done.stdout)} characters', flush=True)
        return done.stdout


def chat(port, key):
    body = b'{"model": "gemini-2.5-flash", "messages": [{"role": "user", "content": "Hello there"}]}'
    request = urllib.request.Request(f'http://127.0.0.1:{port}/v1/chat/completions', body, {'Authorization': f'Bearer {key}', 'Content-Type': 'application/json'})
    with urllib.request.urlopen(request, timeout=30) as answer:
        text = answer.read().decode()
    assert 'Hello there' in text, text


def against_demo(runner, start, all_blocks):
    demo = Background(start, runner.scratch, {**runner.env, 'PWD': runner.checkout})
    try:
        demo.wait_for('Ctrl-C ends it', 900)
        said = demo.said()
        assert 'taken; using another' not in said, said
        exports = dict(re.findall(r'^export (\w+)=(\S+)$', said, re.M))
        assert set(exports) == {'OPENAI_BASE_URL', 'OPENAI_API_KEY', 'TOKEN_SERVICE_URL', 'ADMIN_TOKEN'}, exports
        print(f'ok   {start}: four exports', flush=True)
        folder = os.path.join(runner.scratch, 'tried')
        runner.write('tried/secret.txt', SECRET + '\n')
        runner.write('tried/token.txt', REFRESH_TOKEN + '\n')
        runner.write('tried/passphrase.txt', 'correct horse battery staple\n')
        runner.write('tried/tokens.json', f'{{"oauth_config": {{"client_id": "another-client.apps.googleusercontent.com", "client_secret": "{SECRET}"}},\n'
                     '"projects": [{"project_id": "another-project", "refresh_token": "1//another-refresh-token"}]}\n')
        for block in all_blocks:
            if block.runner == 'demo':
                runner.run(block, folder, exports, timeout=120)
        # The pool still answers after everything that the examples did to it.
        for _ in range(4):
            chat(8000, exports['OPENAI_API_KEY'])
    finally:
        demo.interrupt()
    assert demo.process.returncode == 0, demo.said()[-2000:]
    wait_for('demo leaves its ports', 10, lambda: not listens(8000) and not listens(50051))


def google(runner):
    """A fake Google for `serve`, and the files of the FastAPI version that name it."""
    port = free_port()
    base = f'http://127.0.0.1:{port}'
    folder = os.path.join(runner.scratch, 'antigravity-fastapi')
    os.makedirs(os.path.join(folder, 'data'))
    process = subprocess.Popen([os.path.join(BIN, 'fake-google'), '--listen', f'127.0.0.1:{port}', '--tokens-out', os.path.join(folder, 'data', 'tokens.json')], stdout=subprocess.DEVNULL)
    wait_for('fake-google', 20, lambda: listens(port))
    return process, base, folder


def served(runner, by_runner):
    process, base, folder = google(runner)
    env = {**runner.env, 'ANTIGRAVITY_BASE_URLS': base, 'OAUTH_AUTH_URL': f'{base}/o/oauth2/v2/auth', 'OAUTH_USERINFO_URL': f'{base}/oauth2/v2/userinfo'}
    try:
        # A folder of one's own: nothing is configured but where Google is.
        own = os.path.join(runner.scratch, 'own')
        os.makedirs(os.path.join(own, 'data'))
        shutil.copy(os.path.join(folder, 'data', 'tokens.json'), os.path.join(own, 'data'))
        serve = Background(by_runner['serve'], own, env)
        try:
            wait_for('serve listens', 30, lambda: listens(8000))
            runner.run(by_runner['served'], own)
            said = runner.run(by_runner['login'], own, {**env, 'BROWSER': f'{sys.executable} {os.path.abspath(__file__)} consent'})
            assert 'fake-project-1 has a new login' in said, said
            logged_in_by_rpc(runner, by_runner, own)
            print(f'ok   {by_runner["serve"]}', flush=True)
        finally:
            serve.interrupt()
        assert serve.process.returncode == 0, serve.said()[-2000:]
        wait_for('serve leaves its port', 30, lambda: not listens(8000))

        # The FastAPI version's folder, its .env and tokens.json untouched.
        runner.write('antigravity-fastapi/.env', 'API_KEYS=["sk-of-a-user-0123456789"]\nHOST=0.0.0.0\nPORT=8000\n')
        before = open(os.path.join(folder, 'data', 'tokens.json'), 'rb').read()
        moved = Background(by_runner['fastapi'], runner.scratch, {**env, 'PWD': runner.checkout})
        try:
            wait_for('the moved one listens', 900, lambda: listens(8000))
            chat(8000, 'sk-of-a-user-0123456789')
            print(f'ok   {by_runner["fastapi"]}', flush=True)
        finally:
            moved.interrupt()
        assert open(os.path.join(folder, 'data', 'tokens.json'), 'rb').read() == before
        wait_for('the moved one leaves its port', 30, lambda: not listens(8000))

        # Apart: in the checkout, so with everything in the environment, to leave nothing there.
        key = 'sk-apart-0123456789abcdef'
        apart = {**env, 'API_KEYS': key, 'GATEWAY_TOKEN': 'gateway-token-of-this-run', 'ADMIN_TOKEN': 'admin-token-of-this-run', 'SHUTDOWN_DELAY': '0s',
                 'ENCRYPTION_KEY': 'MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=', 'DATABASE_URL': f'sqlite://{runner.scratch}/apart/tokens.db',
                 'TOKENS_FILE': os.path.join(folder, 'data', 'tokens.json'), 'PWD': runner.checkout}
        block = by_runner['apart']
        block.text += 'wait\n'
        running = Background(block, runner.scratch, apart)
        try:
            wait_for('both gateways listen', 1200, lambda: listens(8000) and listens(8002))
            for port in (8000, 8002):
                chat(port, key)
            print(f'ok   {block}', flush=True)
        finally:
            # A shell starts background jobs deaf to SIGINT.
            subprocess.run(['pkill', '-TERM', '-s', str(running.process.pid)], check=False)
            running.interrupt()
        wait_for('they leave their ports', 30, lambda: not listens(8000) and not listens(8002) and not listens(50051))
    finally:
        process.kill()
        process.wait()


def logged_in_by_rpc(runner, by_runner, folder):
    """The two calls, with a browser between them that is none."""
    with open(os.path.join(folder, 'data', 'admin_token'), encoding='utf8') as file:
        env = {'ADMIN_TOKEN': file.read().strip()}
    # What the block of grpcurl has defined before.
    (text,) = [block.text for block in blocks('README.md') if 'admin() {' in block.text]
    defined = text[:text.index('# What there is')]
    for name in ('login-begin', 'login-finish'):
        block = by_runner[name]
        block.text = defined + block.text
        said = runner.run(block, folder, env)
        if name == 'login-begin':
            with open(os.path.join(folder, 'answer.txt'), 'w', encoding='utf8') as file:
                file.write(consent(said.split()[-1], 'fake-project-2@example.com'))
    assert 'STEP_DONE' in said and '"fake-project-2@example.com"' in said, said


def main():
    if sys.argv[1] == 'consent':
        urllib.request.urlopen(consent(sys.argv[2], 'fake-project-1@example.com'), timeout=60).read()
        return
    if sys.argv[1] == 'block':
        print(next(block.text for document in documents() for block in blocks(document) if block.runner == sys.argv[2]), end='')
        return
    all_blocks = [block for document in documents() for block in blocks(document)]
    by_runner = {block.runner: block for block in all_blocks if block.runner in RUNNERS - {'demo'}}
    once = [block.runner for block in all_blocks if block.runner in RUNNERS - {'demo'}]
    assert sorted(once) == sorted(RUNNERS - {'demo'}), f'each once: {once}'
    with open(os.path.join(TOP, '.ci', 'run'), encoding='utf8') as run:
        # The stage that runs the tests takes the command from the README.
        assert '.ci/readme.py block test' in run.read(), 'no stage runs the block of tests'
    for port in (8000, 8002, 50051):
        assert not listens(port), f'port {port} is taken'
    with tempfile.TemporaryDirectory(prefix='agw-readme-') as scratch:
        runner = Runner(scratch, *map(os.path.abspath, sys.argv[1:4]))
        runner.run(by_runner['install'], runner.checkout, timeout=1800)
        against_demo(runner, by_runner['start'], all_blocks)
        served(runner, by_runner)
    counted = sum(block.runner in RUNNERS for block in all_blocks)
    print(f'{counted} blocks of {len(documents())} documents run; {sum(b.runner in CONTAINERS for b in all_blocks)} more run with containers')


if __name__ == '__main__':
    main()
