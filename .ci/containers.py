#!/usr/bin/env python3
"""Runs docker-compose.yml for real, with podman: as a stranger without anything, and as somebody with the FastAPI
version's files; three gateways, some of them killed under load; restarts, refusals. Needs the images that images.py builds.

The commands are those of the README and of docs/containers.md, word for word.
"""
import contextlib, json, os, re, signal, subprocess, tempfile, threading, time, urllib.request
import openai
from readme import blocks, documents
from stack import clean_env, consent
from terminal import Terminal

TOP = os.path.realpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), '..'))
BASE = 'http://127.0.0.1:8000'
KEY = 'sk-of-a-user-0123456789abcdef'
REFRESH_TOKENS = [f'1//fake-refresh-token-{n}' for n in (1, 2, 3)]
ASK = {'model': 'gemini-2.5-flash', 'messages': [{'role': 'user', 'content': 'Hello there, how long is this sentence of mine?'}]}
# What compose does with docker, podman-compose does with podman; the images are there already.
DOCKER = '''#!/bin/bash
if [ "$1" = compose ]; then
    shift
    arguments=()
    for argument in "$@"; do
        [ "$argument" = --build ] || arguments+=("$argument")
    done
    exec podman-compose "${arguments[@]}"
elif [ "$1" = build ]; then
    shift
    exec podman build --network host --format docker "$@"
fi
exec podman "$@"
'''


def check(condition, what):
    print('ok  ' if condition else 'FAIL', what, flush=True)
    if not condition:
        raise SystemExit(1)


def podman(*args):
    return subprocess.run(['podman', *args], check=True, capture_output=True, text=True).stdout.strip()


def containers(service, state='running'):
    found = podman('ps', '-a', '--filter', f'label=com.docker.compose.service={service}', '--filter', f'status={state}', '--format', '{{.Names}}')
    return sorted(found.split())


def get(url, seconds=5):
    try:
        with urllib.request.urlopen(url, timeout=seconds) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return None


def wait_for(what, seconds, condition, quiet=False):
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > seconds:
            print(logs(), flush=True)
            check(False, f'{what} within {seconds} s')
        time.sleep(0.2)
    if not quiet:
        print(f'ok   {what}: after {time.monotonic() - began:.1f} s', flush=True)


def logs():
    text = ''
    for name in podman('ps', '-a', '--format', '{{.Names}}').split():
        done = subprocess.run(['podman', 'logs', name], capture_output=True, text=True)
        text += f'--- {name}\n{done.stdout}{done.stderr}'
    return text


class Compose(contextlib.ExitStack):
    """A clean clone of the project, and what runs from it."""

    def __enter__(self):
        super().__enter__()
        self.folder = self.enter_context(tempfile.TemporaryDirectory(prefix='agw-compose-'))
        self.clone = os.path.join(self.folder, 'antigravity-gateway')
        subprocess.run(['git', 'clone', '-q', TOP, self.clone], check=True)
        path = os.path.join(self.folder, 'docker')
        with open(path, 'w', encoding='utf8') as file:
            file.write(DOCKER)
        os.chmod(path, 0o755)
        self.env = {**clean_env(), 'CONTAINERS_CONF': os.environ['CONTAINERS_CONF'], 'PATH': f'{self.folder}:{os.environ["PATH"]}', 'CURL_HOME': self.folder}
        self.callback(self.gone)
        return self

    def gone(self):
        """Everything ended and forgotten; podman-compose leaves volumes behind that gateways beyond the first had."""
        self.compose('--profile', 'demo', 'down', '--remove-orphans', '-t', '2', check=False)
        names = [name for name in podman('volume', 'ls', '-q').split() if name.startswith('antigravity-gateway_')]
        if names:
            podman('volume', 'rm', *names)

    def compose(self, *args, check=True):
        done = subprocess.run(['podman-compose', *args], cwd=self.clone, env=self.env, capture_output=True, text=True, timeout=500)
        if check and done.returncode:
            raise SystemExit(f'podman-compose {" ".join(args)}: {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}')
        return done.stdout

    @staticmethod
    def text(name):
        (text,) = [block.text for document in documents() for block in blocks(document) if block.runner == name]
        return text

    def block(self, name, after=''):
        """Runs a block of the documents, and then something more in the same shell."""
        text = self.text(name)
        done = subprocess.run(['bash', '-euo', 'pipefail', '-c', text + after], cwd=self.clone, env=self.env, capture_output=True, text=True, timeout=900)
        if done.returncode:
            print(logs(), flush=True)
            raise SystemExit(f'{name}: exit status {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}')
        print(f'ok   the block {name!r} of the documents', flush=True)
        return done.stdout


def ready():
    return get(f'{BASE}/readyz') == 200


CHAT = '''
for stream in true false; do
    curl --no-buffer --fail-with-body --silent --show-error --max-time 30 --retry 20 --retry-all-errors --retry-delay 1 \\
        $OPENAI_BASE_URL/chat/completions -H "Authorization: Bearer $OPENAI_API_KEY" -H "Content-Type: application/json" \\
        -d "{\\"model\\": \\"gemini-2.5-flash\\", \\"stream\\": $stream, \\"messages\\": [{\\"role\\": \\"user\\", \\"content\\": \\"Hello there\\"}]}"
done
'''


def stranger():
    """Nothing but a clone: secrets are made, the demo chats."""
    with Compose() as stack:
        began = time.monotonic()
        listed = stack.block('containers', '\necho "key: $OPENAI_API_KEY"')
        key = re.search(r'key: (\S+)', listed)[1]
        check(len(key) == 46 and key.startswith('sk-'), 'an API key is made, and shown to who asks')
        wait_for('the gateway is ready through the load balancer', 60, ready)
        print(f'     from nothing to ready: {time.monotonic() - began:.1f} s, images there', flush=True)
        status, body = post(key)
        check(status == 503 and 'project' in body['error']['message'], f'an empty pool says what to do: {body["error"]["message"][:90]}')
        check(post('sk-wrong')[0] == 401, 'another key is refused')
        answer = stack.block('containers-demo', CHAT)
        check(answer.count('Hello there') >= 1 and '[DONE]' in answer and 'chat.completion"' in answer, 'the demo chats, streaming and not')
        text = logs()
        check(key not in text, 'no log tells the key')
        volumes(['antigravity-gateway_token-service', 'antigravity-gateway_gateway'])
        stack.block('containers-scale')
        three_balance('three gateways balance')
        stack.gone()
        one_container(stack)


def one_container(stack):
    try:
        shown = stack.block('containers-one')
        check(len(shown.split()[-1]) == 46, 'one container makes and shows its key')
        wait_for('it is ready', 30, ready)
        check(podman('exec', 'antigravity-gateway', 'antigravity-gateway', 'healthcheck') == '', 'and healthy')
    finally:
        subprocess.run(['podman', 'rm', '-f', '-t', '2', 'antigravity-gateway'], capture_output=True)
        subprocess.run(['podman', 'volume', 'rm', 'antigravity-gateway-data'], capture_output=True)


def volumes(names):
    """Each secret is private, and its service's."""
    for name in names:
        folder = podman('volume', 'inspect', '--format', '{{.Mountpoint}}', name)
        for entry in os.scandir(folder):
            stat = entry.stat()
            # The database's index of its log is made with the database's mode.
            check(stat.st_uid == 65532 and stat.st_mode & 0o077 == 0 or entry.name.startswith('tokens.db'), f'{name}/{entry.name}: {stat.st_mode & 0o777:o}, user {stat.st_uid}')
    there = set(os.listdir(podman('volume', 'inspect', '--format', '{{.Mountpoint}}', names[1])))
    check(there <= {'api_key', 'gateway_token'}, f'gateways see {sorted(there)} alone')


def post(key, timeout=30):
    request = urllib.request.Request(f'{BASE}/v1/chat/completions', json.dumps(ASK).encode(), {'Authorization': f'Bearer {key}', 'Content-Type': 'application/json'})
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def three_balance(what, seconds=60):
    """Waits until the load balancer knows three gateways."""
    began, told = time.monotonic(), False

    def know_three():
        nonlocal told
        if not told and time.monotonic() - began > 10:
            # Debian 12's aardvark-dns (1.4) goes deaf when two containers start at once, until it is told to look again.
            with open('/run/containers/networks/aardvark-dns/aardvark.pid', encoding='ascii') as file:
                os.kill(int(file.read()), signal.SIGHUP)
            print("     podman's name server needed a SIGHUP", flush=True)
            told = True
        return len(containers('gateway')) == 3 and len(balanced()) == 3

    wait_for(what, seconds, know_three)


def balanced():
    """The addresses that the load balancer knows."""
    done = subprocess.run(['podman', 'exec', *containers('load-balancer'), 'cat', '/tmp/gateways.conf'], capture_output=True, text=True)
    return set(re.findall(r'server ([\d.]+):8000', done.stdout))


class Load:
    """Clients that ask without a pause and without retries, streaming and not."""

    def __init__(self, clients=6):
        self.client = openai.OpenAI(base_url=f'{BASE}/v1', api_key=KEY, max_retries=0, timeout=30)
        self.over, self.good, self.failures = threading.Event(), 0, []
        self.lock = threading.Lock()
        self.threads = [threading.Thread(target=self.ask, args=(n % 2 == 0,), daemon=True) for n in range(clients)]

    def ask(self, stream):
        while not self.over.is_set():
            try:
                if stream:
                    text = ''.join(chunk.choices[0].delta.content or '' for chunk in self.client.chat.completions.create(**ASK, stream=True))
                else:
                    text = self.client.chat.completions.create(**ASK).choices[0].message.content
                assert 'Hello there' in text, text
                with self.lock:
                    self.good += 1
            except Exception as error:
                with self.lock:
                    self.failures.append(f'{error!r} {error.__cause__!r}'[:300])

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        for thread in self.threads:
            thread.join(40)

    def some_more(self, count=60, quiet=False):
        wanted = self.good + count
        wait_for(f'{count} more answers', 60, lambda: self.good >= wanted, quiet)


def google():
    """Where fake-google is reached from here, through its network."""
    (name,) = containers('fake-google')
    address = podman('inspect', '--format', '{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}', name)
    return f'http://{address}:8080'


def fake(path):
    """What fake-google counted."""
    with urllib.request.urlopen(f'{google()}{path}', timeout=5) as answer:
        return json.load(answer)


def logged_in(stack):
    """The block of logins in a terminal, where the answer is pasted; the pool is as big as before."""
    before = projects()
    terminal = Terminal(stack)
    terminal.start(['bash', '-euo', 'pipefail', '-c', stack.text('containers-login')], stack.clone, stack.env)
    address = terminal.wait_for(r'http://fake-google:8080/o/oauth2/v2/auth\?\S+')[0]
    back = consent(address.replace('http://fake-google:8080', google()), 'fake-project-2@example.com')
    terminal.type(back)
    terminal.wait_for('exit status: 0')
    text = terminal.text()
    check('fake-project-2 has a new login' in text and 'has answered a real call' in text, 'a login by paste in the container')
    check('fake-client-secret' not in text and 'ya29.' not in text, 'no secret shows')
    check(list(projects()) == list(before), 'and the pool has the same projects')


def projects():
    listed = podman('exec', *containers('token-service'), 'antigravity-gateway', 'projects', 'list', '--json')
    return {project['id']: project for project in json.loads(listed)['projects']}


def moved():
    """The FastAPI version's files; only where Google is has been added, as there is none here."""
    with Compose() as stack:
        old = os.path.join(stack.folder, 'antigravity-fastapi')
        os.makedirs(os.path.join(old, 'data'))
        with open(os.path.join(old, '.env'), 'w', encoding='utf8') as file:
            file.write(f'API_KEYS=["{KEY}"]\nHOST=0.0.0.0\nPORT=8000\nANTIGRAVITY_BASE_URLS=http://fake-google:8080\nOAUTH_AUTH_URL=http://fake-google:8080/o/oauth2/v2/auth\nOAUTH_USERINFO_URL=http://fake-google:8080/oauth2/v2/userinfo\nCOMPOSE_PROFILES=demo\n')
        path = os.path.join(old, 'data', 'tokens.json')
        with open(path, 'w', encoding='utf8') as file:
            json.dump({'oauth_config': {'client_id': 'fake-client.apps.googleusercontent.com', 'client_secret': 'fake-client-secret', 'token_url': 'http://fake-google:8080/token'},
                       'projects': [{'project_id': f'fake-project-{n}', 'refresh_token': token, 'access_token': None, 'expires_at': None} for n, token in enumerate(REFRESH_TOKENS, 1)]}, file)
        # As its owner keeps it.
        os.chmod(path, 0o600)
        stack.block('containers-fastapi')
        wait_for('the gateway is ready through the load balancer', 60, ready)
        wait_for('the projects have tokens', 30, lambda: len([p for p in projects().values() if p['token_expires_at']]) == 3)
        check(sorted(projects()) == ['fake-project-1', 'fake-project-2', 'fake-project-3'], 'the three projects of tokens.json are there')
        admin = stack.block('containers-admin')
        logged_in(stack)
        check('fake-project-1' in admin and os.path.getsize(os.path.join(stack.clone, 'encryption.key')) == 44, 'the daily commands work in the container')

        # Scaled by hand, as compose is told no number.
        stack.compose('up', '-d', '--scale', 'gateway=3')
        three_balance('three gateways balance')
        streams()
        with Load() as load:
            load.some_more()
            check(not load.failures, f'no failure with three gateways: {load.failures[:3]}')
            for _ in range(20):
                podman('exec', *containers('load-balancer'), 'nginx', '-s', 'reload')
                load.some_more(10, quiet=True)
            check(not load.failures, f'nor while the load balancer is told twenty times who there is: {load.failures[:3]}')

            # The last of them: podman removes none that another container was made to depend on.
            before, victim = balanced(), containers('gateway')[-1]
            podman('rm', '--force', '--time', '30', victim)
            check(len(containers('gateway')) == 2, f'{victim} was told to end, and ended')
            stack.compose('up', '-d', '--scale', 'gateway=3')
            three_balance('another takes its place')
            load.some_more()
            check(not load.failures, f'no request was lost when a gateway was replaced: {load.failures[:3]}')

            victim = containers('gateway')[1]
            os.kill(int(podman('inspect', '--format', '{{.State.Pid}}', victim)), signal.SIGKILL)
            time.sleep(3)
            if victim not in containers('gateway'):
                # Docker restarts it by itself; podman 4.3 does not always.
                print(f'     {victim} was not restarted: compose is asked to', flush=True)
                stack.compose('up', '-d', '--scale', 'gateway=3')
            wait_for(f'{victim}, killed, runs again', 60, lambda: victim in containers('gateway'))
            three_balance('and is balanced again')
            load.some_more()
            lost = len(load.failures)
            check(lost <= len(load.threads), f'a killed gateway loses what it had in hand: {lost} of {load.good}, {load.failures[:1]}')
            check(len(before | balanced()) >= 3, f'addresses: {sorted(before)} → {sorted(balanced())}')

            refreshes = fake('/__fake/counters')['oauth']
            (service,) = containers('token-service')
            # In two steps, as the second starts what it depends on too: init, which has ended long ago.
            podman('stop', '--time', '20', service)
            podman('start', service)
            wait_for('the token-service answers again', 30, lambda: service in containers('token-service') and len(projects()) == 3)
            load.some_more()
            check(len(load.failures) == lost, f'nobody noticed that the token-service was restarted: {load.failures[lost:][:3]}')
            check(fake('/__fake/counters')['oauth'] == refreshes, 'its tokens are there still: none was refreshed')
        print(f'     {load.good} answers', flush=True)

        fingerprints = {name: project['token_fingerprint'] for name, project in projects().items()}
        for service in ('gateway', 'token-service', 'load-balancer'):
            for name in containers(service):
                done = subprocess.run(['podman', 'healthcheck', 'run', name], capture_output=True, text=True)
                check(done.returncode == 0, f'{name} is healthy {done.stderr[-200:]}')
                state = json.loads(podman('inspect', name))[0]
                check(state['HostConfig']['ReadonlyRootfs'] and state['Config']['User'] not in ('', 'root', '0', '0:0') and not state['EffectiveCaps'], f'{name} has a read-only root, no capability, and is not root')
        text = logs()
        for secret in (KEY, *REFRESH_TOKENS, 'fake-client-secret', 'ya29.'):
            check(secret not in text, f'no log tells {secret[:6]}…')
        stack.compose('--profile', 'demo', 'down', '--remove-orphans', '-t', '10')

        stack.block('containers-fastapi')
        wait_for('it is ready again', 60, ready)
        check({name: project['token_fingerprint'] for name, project in projects().items()} == fingerprints, 'projects and tokens are those of before')
        stack.compose('--profile', 'demo', 'down', '--remove-orphans', '-t', '2')

        sample = os.path.join(stack.clone, '.env')
        with open(sample, encoding='utf8') as file:
            text = file.read()
        with open(sample, 'w', encoding='utf8') as file:
            file.write(text.replace(KEY, 'sk-your-secret-key'))
        stack.compose('up', '-d', check=False)
        wait_for('the sample key is refused, by its name', 30, lambda: 'sk-your-secret-key' in logs())
        refusal = next(line for line in logs().splitlines() if 'sk-your-secret-key' in line)
        print(f'     {refusal}')
        (init,) = containers('init', 'exited')
        check(podman('inspect', '--format', '{{.State.ExitCode}}', init) == '2', 'with exit status 2')
        time.sleep(3)
        check(not ready(), 'and nothing serves')


def streams():
    """Events arrive as they are written: nothing on the way collects them."""
    client = openai.OpenAI(base_url=f'{BASE}/v1', api_key=KEY)
    times = [time.monotonic() for chunk in client.chat.completions.create(**ASK, stream=True) if chunk.choices and chunk.choices[0].delta.content]
    check(times[-1] - times[0] > 0.05, f'{len(times)} pieces over {times[-1] - times[0]:.3f} s')


def main():
    if podman('ps', '-a', '--filter', 'label=com.docker.compose.project=antigravity-gateway', '-q'):
        raise SystemExit('containers of this project run already: `podman-compose --profile demo down --remove-orphans` first')
    if [name for name in podman('volume', 'ls', '-q').split() if name.startswith('antigravity-gateway')]:
        raise SystemExit('there are volumes of this project: `podman volume rm` them first, if nothing in them matters')
    stranger()
    moved()


if __name__ == '__main__':
    main()
