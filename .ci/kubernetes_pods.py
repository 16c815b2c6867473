"""The binaries as the manifests start them: what they listen on, what they answer to probes, who they are, and what the
commands of the documentation do in them; then rollouts under load."""
import asyncio, contextlib, os, re, shutil, socket, ssl, time, urllib.parse

from breaks import setting
from cluster import BRIDGE, PROPAGATION, Cluster
from manifest_laws import TIMES_ITS_BODY, bytes_of
from manifests import TOP
from postgres import Server
from readme import blocks
from rollout import Load, haproxy_text, tool, wait_for_port
from stack import Process, check, post

# Streams at all times, and unary requests a second, by each of the two ways to the gateways.
STREAMS, UNARY = 150, 50
# Seconds that the longest stream takes, a word a second: more than SHUTDOWN_DELAY.
LONGEST = 20
# More than the autoscaler's least, so that some stay while one goes.
GATEWAYS = 3


def api_key(secrets):
    (text,) = secrets['api-keys'].values()
    return text.decode().strip().split('=', 1)[1]


def listening(pod):
    """The ports on which a pod listens, for other pods too."""
    ports = set()
    for name in ('tcp', 'tcp6'):
        with open(f'/proc/{pod.pid}/net/{name}', encoding='utf8') as file:
            for line in list(file)[1:]:
                fields = line.split()
                if fields[3] == '0A':
                    ports.add(int(fields[1].rsplit(':', 1)[1], 16))
    return ports


def as_it_says(pod):
    """What is not as the manifest of a pod says, now that it runs."""
    workload = pod.workload
    for kind in ('startupProbe', 'readinessProbe', 'livenessProbe'):
        if kind in workload.container and not pod.probe(kind):
            yield f'{kind} does not hold'
    if listening(pod) != set(workload.ports.values()):
        yield f'it listens on {listening(pod)}, and declares {workload.ports}'
    with open(f'/proc/{pod.pid}/status', encoding='utf8') as file:
        status = dict(line.rstrip('\n').split(':\t', 1) for line in file if ':\t' in line)
    user = workload.pod['securityContext']['runAsUser']
    if status['Uid'].split() != [str(user)] * 4 or status['CapEff'].strip('0') or status['NoNewPrivs'] != '1':
        yield f'it runs as {status["Uid"]} with capabilities {status["CapEff"]}'
    for line in pod.text().split('\n'):
        # All begin at once, and may have to wait for each other.
        if re.search(r'"level":"(WARN|ERROR)"', line) and not re.search('the token-service does not answer|the token endpoint (cannot be reached|did not answer in time)', line):
            yield line


def started(cluster, replicas):
    """Starts everything of a rendering in the order in which a cluster does it, which is none."""
    for workload in cluster.manifests.workloads():
        for _ in range(replicas.get(workload.name, 1)):
            cluster.start(workload)

    def running():
        return [pod for workload in cluster.manifests.workloads() for pod in cluster.of(workload.name)]
    cluster.wait_until('everything is ready', 60, lambda: all(pod.ready for pod in running()))
    cluster.settle()
    for crash in cluster.crashed:
        # Of replicas that begin at once with an empty database, some may have to begin again.
        print(f'     began again: {crash}')
    return running()


def chats(cluster, secrets):
    """What a client of the Service is told."""
    url = f'http://{cluster.addresses["gateway"]}:8000/v1/chat/completions'
    ask = {'model': 'gemini-2.5-flash', 'messages': [{'role': 'user', 'content': 'Hello there'}]}
    status, _, body = post(url, ask, api_key(secrets))
    stream = post(url, {**ask, 'stream': True}, api_key(secrets))
    return status == stream[0] == 200 and b'Hello there' in body and stream[2].endswith(b'data: [DONE]\n\n')


def heaviest(cluster, secrets):
    """The request that takes the most memory for its bytes, of as many as are allowed: messages without end."""
    pod = cluster.of('gateway')[0]
    most = bytes_of(pod.env['MAX_BODY_BYTES'].removesuffix('B'))
    message = b'{"role":"user","content":"a"}'
    body = b'{"model":"gemini-2.5-flash","stream":true,"messages":[' + b','.join([message] * (most // (len(message) + 1) - 4)) + b']}'
    before = peak(pod)
    status, _, answer = post(f'http://{pod.address}:8000/v1/chat/completions', body, api_key(secrets), timeout=60)
    took = (peak(pod) - before) / len(body)
    check(status == 200 and answer.endswith(b'data: [DONE]\n\n') and took < TIMES_ITS_BODY, f'{len(body)} bytes of small messages take {took:.1f} times as much memory, less than {TIMES_ITS_BODY}')
    status, _, answer = post(f'http://{pod.address}:8000/v1/chat/completions', body + b' ' * (most - len(body) + 1), api_key(secrets), timeout=60)
    check(status == 413, f'more than {most} are refused: {status}')


def peak(pod):
    """Bytes of memory that a pod's process has had at most."""
    with open(f'/proc/{pod.pid}/status', encoding='utf8') as file:
        return int(re.search(r'^VmHWM:\s+(\d+) kB$', file.read(), re.M)[1]) * 1024


def executed(cluster, secrets):
    """Runs the commands of docs/kubernetes.md that are run in a pod; whether all went well."""
    texts = [block.text.replace('\\\n', ' ') for block in blocks('docs/kubernetes.md') if block.runner == 'kubernetes-exec']
    lines = [line for text in texts for line in text.split('\n') if line.strip()]
    said = []
    for line in lines:
        found = re.fullmatch(r'kubectl -n \S+ exec (-i )?deploy/([\w-]+) -- (.*?)(?: < (\S+))?', line)
        assert found, f'docs/kubernetes.md: who runs {line!r}?'
        pod = cluster.of(found[2])[0]
        given = None
        if found[4]:
            with open(os.path.join(TOP, 'deploy', 'kubernetes', 'overlays', 'demo', os.path.basename(found[4])), 'rb') as file:
                given = file.read()
        done = pod.execute(found[3].split(), given)
        check(done.returncode == 0, f'`{line}`: {len(done.stdout)} characters {done.stderr.decode()[-500:] if done.returncode else ""}')
        said.append(done.stdout.decode())
    return lines, said


def base(manifests, job, secrets, folder):
    """The base, without a Google; the Job and the documentation's commands bring projects in."""
    cluster = Cluster(manifests, secrets, folder)
    try:
        for pod in started(cluster, {'gateway': manifests.replicas(manifests.workload('gateway'))}):
            wrong = list(as_it_says(pod))
            check(not wrong, f'base: {pod.name} runs as it says {wrong or ""}')
        check(not cluster.crashed, f'none has ended by itself {cluster.crashed or ""}')
        imported = cluster.start(job.workload('import'))
        imported.process.wait(60)
        check(imported.process.returncode == 0, f'the Job has imported: {imported.text()[-300:].strip()!r}')
        lines, said = executed(cluster, secrets)
        listed = [text for line, text in zip(lines, said) if line.endswith('projects list')]
        check(listed and all(f'fake-project-{n}' in listed[0] for n in (1, 2, 3)), 'and its projects are there')
        # All that is written is in the volume.
        claim = sorted(os.listdir(os.path.join(folder, 'claim-token-service')))
        check('tokens.db' in claim and not set(claim) & {'encryption.key', 'admin_token', 'gateway_token'}, f'the volume has the database, and no secret: {claim}')
        rebuilt = cluster.of('token-service')[0]
        rebuilt.delete().join()
        cluster.start_all('token-service', 1)
        done = cluster.of('token-service')[0].execute(['antigravity-gateway', 'projects', 'list'])
        check(b'fake-project-3' in done.stdout, 'and a pod that comes after has them too')
    finally:
        cluster.stop()


def demo(manifests, secrets, folder):
    """The demo answers, as it stands."""
    cluster = Cluster(manifests, secrets, folder)
    try:
        for pod in started(cluster, {'gateway': manifests.replicas(manifests.workload('gateway'))}):
            wrong = list(as_it_says(pod))
            check(not wrong, f'demo: {pod.name} runs as it says {wrong or ""}')
        check(not cluster.crashed, f'none has ended by itself {cluster.crashed or ""}')
        check(chats(cluster, secrets), 'the demo answers at the address of its Service, whole and streamed')
        heaviest(cluster, secrets)
    finally:
        cluster.stop()


def within_tls(manifests, secrets, folder):
    """The documentation's kustomization with TLS runs as it says, and is scraped as its ServiceMonitor says."""
    cluster = Cluster(manifests, secrets, folder)
    try:
        for pod in started(cluster, {'gateway': 1}):
            wrong = list(as_it_says(pod))
            check(not wrong, f'TLS within: {pod.name} runs as it says {wrong or ""}')
        (endpoint,) = manifests.find('ServiceMonitor', 'antigravity-gateway')['spec']['endpoints']
        told = endpoint['tlsConfig']['ca']['secret']
        trusted = ssl.create_default_context(cadata=secrets[told['name']][told['key']].decode())
        (gateway,) = cluster.of('gateway')
        with socket.create_connection((gateway.address, gateway.workload.port(endpoint['port'])), timeout=10) as plain:
            with trusted.wrap_socket(plain, server_hostname=endpoint['tlsConfig']['serverName']) as connection:
                connection.sendall(f'GET {endpoint["path"]} HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n\r\n'.encode())
                answer = b''.join(iter(lambda: connection.recv(65536), b''))
        check(answer.startswith(b'HTTP/1.1 200') and b'antigravity_gateway_build_info' in answer, f'and is scraped over TLS, its certificate verified: {len(answer)} bytes')
    finally:
        cluster.stop()


class Ingress:
    """A controller that knows the pods by their addresses and is told of each change, as those of nginx and HAProxy are:
    HAProxy with the settings of deploy/load-balancers, without health checks of its own."""

    ROOM = 12

    def __init__(self, cluster, stack_folder):
        self.port, self.socket, self.slots = 8080, os.path.join(stack_folder, 'haproxy.sock'), {}
        own = os.path.join(stack_folder, 'haproxy.cfg')
        with open(own, 'w', encoding='utf8') as file:
            file.write(f'global\n    maxconn 4096\n    log stdout format raw local0\n    stats socket {self.socket} level admin\n' + haproxy_text(self.port, self.ROOM))
        self.process = Process('ingress', ['-db', '-f', own], {}, stack_folder, binary=tool('haproxy'))
        wait_for_port(self.process, self.port)
        cluster.balancers.append(self.heard)

    def heard(self, endpoints):
        addresses = {pod.address for pod in endpoints['gateway']}
        for address in set(self.slots) - addresses:
            self.tell(f'set server gateways/gateway-{self.slots.pop(address)} state maint')
        for address in sorted(addresses - set(self.slots)):
            slot = next(number for number in range(1, self.ROOM + 1) if number not in self.slots.values())
            self.slots[address] = slot
            self.tell(f'set server gateways/gateway-{slot} addr {address} port 8000; set server gateways/gateway-{slot} state ready')

    def tell(self, command):
        with socket.socket(socket.AF_UNIX) as to:
            to.connect(self.socket)
            to.sendall(f'{command}\n'.encode())
            answer = b''.join(iter(lambda: to.recv(4096), b'')).decode().strip()
            assert not answer or 'changed' in answer or 'no need' in answer, (command, answer)


def rolled_out(manifests, secrets, folder, what, gateways=GATEWAYS, streams=STREAMS, ways=('Service', 'Ingress'), longest=LONGEST, propagation=PROPAGATION, names=()):
    """Replaces all gateways, and then (`what`) the token-service, under load by each of the ways; the loads, and what the rollouts said."""
    manifests = manifests.copy()
    # All of them with one key.
    setting('gateway', 'MAX_CONCURRENT_REQUESTS_PER_KEY', '1000')(manifests)
    # Streams of a word a second.
    manifests.workload('fake-google').container['args'] = ['--listen', '0.0.0.0:8080', '--text-chunks', str(longest), '--event-delay', '1000']
    cluster, said = Cluster(manifests, secrets, folder, propagation, names), []
    ingress = Ingress(cluster, folder) if 'Ingress' in ways else None
    try:
        running = started(cluster, {'gateway': gateways, 'token-service': manifests.workload('token-service').spec['replicas']})
        wrong = [f'{pod.name}: {what}' for pod in running for what in as_it_says(pod)]
        said.append((not wrong, f'{len(running)} pods run as they say {wrong or ""}'))
        addresses = {'Service': (cluster.addresses['gateway'], 8000), 'Ingress': ('127.0.0.1', 8080)}
        loads = {way: Load(addresses[way], longest, api_key(secrets), streams, UNARY) for way in ways}

        def say(holds, text):
            said.append((holds, text))

        async def run():
            over = asyncio.Event()

            async def roll():
                # Until all streams of all ways run.
                while any(load.live < 0.95 * load.at_once and not load.failures for load in loads.values()):
                    await asyncio.sleep(0.1)
                for name in what:
                    await asyncio.to_thread(cluster.roll_out, name, say)
                    await asyncio.to_thread(cluster.settle)
                over.set()
            await asyncio.gather(roll(), *(load.run(over.wait()) for load in loads.values()))
        began = time.monotonic()
        asyncio.run(run())
        return loads, said, time.monotonic() - began
    finally:
        cluster.stop()
        if ingress:
            ingress.process.stop()


# The demo, with PostgreSQL and its token-services.
REPLICAS = '''
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
namespace: antigravity-gateway-demo
labels: [{pairs: {app.kubernetes.io/part-of: antigravity-gateway}, includeTemplates: true}]
resources: [antigravity-gateway/deploy/kubernetes/overlays/demo]
components: [antigravity-gateway/deploy/kubernetes/components/postgres]
'''


@contextlib.contextmanager
def database(secrets, certificates):
    """The database that the Secret of docs/kubernetes.md names, word for word, and the address of its server."""
    url = urllib.parse.urlsplit(secrets['database']['url'].decode().strip())
    server = Server(port=url.port or 5432, settings={
        'listen_addresses': f'127.0.0.1,{BRIDGE}', 'ssl': 'on', 'ssl_cert_file': 'server.crt', 'ssl_key_file': 'server.key', 'fsync': 'off'})
    try:
        for name in ('server.crt', 'server.key'):
            shutil.copy(os.path.join(certificates, name), server.data)
            shutil.chown(server.data / name, 'postgres')
            os.chmod(server.data / name, 0o600)
        with open(server.data / 'pg_hba.conf', 'a', encoding='utf8') as file:
            # Over TLS alone.
            file.write('hostssl all all 10.244.0.0/24 scram-sha-256\n')
        server.start()
        server.sql(f"CREATE ROLE {url.username} LOGIN PASSWORD '{url.password}'")
        server.sql(f'CREATE DATABASE {url.path[1:]} OWNER {url.username}')
        yield server, {url.hostname: BRIDGE}
    finally:
        server.remove()
