"""A cluster of processes: pods with a root file system, a network and a first process of their own, as their manifests
say; Services as kube-proxy makes them; names; and what a Deployment does when its pods are replaced.

All of it is in namespaces of the system that this process has made for itself (`enter`), and is gone with it. Root alone
may make them.
"""
import base64, http.client, itertools, os, re, shlex, shutil, signal, socket, ssl, struct, subprocess, sys, threading, time

from manifests import TOP
from stack import BIN

# The network of pods, and that of Services' own addresses. Nothing of it leaves the namespace.
BRIDGE, POD_ADDRESS, SERVICE_ADDRESS = '10.244.0.1', '10.244.0.{}', '10.96.0.{}'
INSIDE = 'AGW_CLUSTER'
# How long a change of a Service's pods is under way to who sends to them: balancers and name servers.
PROPAGATION = 3
# What an image has besides its binaries; and what those of a build that is not static need.
SYSTEM = ('/lib', '/lib64', '/usr/lib', '/etc/ssl')
POD = '''
set -e
mount --make-rprivate /
mount -t tmpfs -o mode=755 image {root}
cd {root}
mkdir -p bin dev proc tmp etc data
chmod 1777 tmp; chmod 700 data; chown 65532:65532 data
for path in {system}; do [ -d $path ] && mkdir -p .$path && mount --rbind $path .$path && mount -o remount,bind,ro .$path; done
for name in null urandom; do touch dev/$name; mount --bind /dev/$name dev/$name; done
cp {resolv} etc/resolv.conf
{mounts}
touch bin/{binary}; mount --bind {bin}/{binary} bin/{binary}; mount -o remount,bind,ro,nosuid bin/{binary}
{link}
mount -t proc proc proc
{read_only}
ip link set lo up
echo made >&{ready}
read go
cd /
exec setpriv --no-new-privs chroot --userspec={user} --groups={groups} {root} {command} <&-
'''


def enter():
    """Starts this program anew in namespaces of its own, where it may do as it likes."""
    if os.environ.get(INSIDE):
        for command in ('ip link set lo up', 'ip link add pods type bridge', f'ip addr add {BRIDGE}/24 dev pods', 'ip link set pods up', 'ip route add 10.96.0.0/24 dev pods',
                        'sysctl -qw net.ipv4.ip_forward=1'):
            subprocess.run(command.split(), check=True)
        return
    if os.geteuid() != 0:
        raise SystemExit('root is needed: each pod gets a network and a root file system of its own')
    for tool in ('unshare', 'setpriv', 'nsenter', 'ip', 'nft', 'haproxy'):
        if not shutil.which(tool, path=f'{os.environ["PATH"]}:/usr/sbin:/sbin'):
            raise SystemExit(f'{tool} is missing: apt-get install util-linux iproute2 nftables haproxy')
    os.environ[INSIDE] = '1'
    os.environ['PATH'] += ':/usr/sbin:/sbin'
    os.execvp('unshare', ['unshare', '--net', '--mount', '--pid', '--ipc', '--fork', '--kill-child', '--mount-proc', sys.executable, *sys.argv])


def get(address, port, path, timeout, scheme='HTTP'):
    """The status of an answer; None: there was none in time. A kubelet verifies no certificate."""
    if scheme == 'HTTPS':
        connection = http.client.HTTPSConnection(address, port, timeout=timeout, context=ssl._create_unverified_context())
    else:
        connection = http.client.HTTPConnection(address, port, timeout=timeout)
    try:
        connection.request('GET', path)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def in_image(image):
    """The binary of an image, as the Dockerfile copies it, and the command by which it has another name too."""
    with open(os.path.join(TOP, 'Dockerfile'), encoding='utf8') as file:
        text = file.read()
    found = re.search(rf'ln -s (\S+) /out/{image}/(bin/\S+)', text)
    if found:
        return found[1], f'ln -s {found[1]} {found[2]}'
    return re.search(rf'^FROM base AS {image}\nCOPY --from=build /out/bin/(\S+) /bin/$', text, re.M)[1], ''


class Pod:
    """One process, as its manifest says."""

    numbers = itertools.count(2)

    def __init__(self, cluster, workload):
        self.cluster, self.workload, self.number = cluster, workload, next(Pod.numbers)
        self.name, self.address = f'{workload.name}-{self.number}', POD_ADDRESS.format(self.number)
        self.folder = os.path.join(cluster.folder, self.name)
        os.makedirs(os.path.join(self.folder, 'root'))
        self.root = os.path.join(self.folder, 'root')
        self.ready, self.deleted, self.ended, self.probed = False, None, None, {}
        self.env = {'PATH': '/bin', **self._env()}
        self.log = os.path.join(self.folder, 'log')
        self._start()

    def _env(self):
        env = {}
        for name, value, reference in self.workload.variables():
            if value is None:
                kind, owner, key = reference
                value = self.cluster.secret(owner, key).decode()
            env[name] = value
        return env

    def _volumes(self):
        """Shell commands that mount the volumes, with the owner and the rights that a kubelet gives them."""
        group = self.workload.pod['securityContext'].get('fsGroup', 0)
        for number, (volume, path, read_only) in enumerate(self.workload.volumes()):
            if 'persistentVolumeClaim' in volume:
                source = os.path.join(self.cluster.folder, f'claim-{volume["persistentVolumeClaim"]["claimName"]}')
                os.makedirs(source, exist_ok=True)
                os.chown(source, 0, group)
                os.chmod(source, 0o2775)
            elif 'emptyDir' in volume:
                source = os.path.join(self.folder, f'volume-{number}')
                os.makedirs(source)
                os.chown(source, 0, group)
                os.chmod(source, 0o2777)
            else:
                source = os.path.join(self.folder, f'volume-{number}')
                os.makedirs(source)
                for name, data, mode in self._files(volume):
                    with open(os.path.join(source, name), 'wb') as file:
                        file.write(data)
                    os.chown(file.name, 0, group)
                    # A group that has files to itself may read them, whatever the mode says.
                    os.chmod(file.name, mode | 0o040 if group else mode)
            yield f'mkdir -p .{path} && mount --bind {source} .{path}' + (f' && mount -o remount,bind,ro .{path}' if read_only else '')

    def _files(self, volume):
        if 'configMap' in volume:
            data = self.cluster.manifests.find('ConfigMap', volume['configMap']['name'])['data']
            return [(name, text.encode(), 0o644) for name, text in data.items()]
        source = volume['secret']
        keys = source.get('items') or [{'key': key, 'path': key} for key in self.cluster.secrets[source['secretName']]]
        return [(item['path'], self.cluster.secret(source['secretName'], item['key']), source.get('defaultMode', 0o644)) for item in keys]

    def _start(self):
        pod = self.workload.pod['securityContext']
        read_only = self.workload.container['securityContext']['readOnlyRootFilesystem']
        resolv = os.path.join(self.folder, 'resolv.conf')
        with open(resolv, 'w', encoding='utf8') as file:
            zone = f'{self.workload.namespace}.svc.cluster.local'
            file.write(f'nameserver {BRIDGE}\nsearch {zone} svc.cluster.local cluster.local\noptions ndots:5\n')
        reading, writing = os.pipe()
        file, link = in_image(self.workload.image[0].rsplit('/', 1)[-1])
        script = POD.format(
            root=self.root, system=' '.join(SYSTEM), resolv=resolv, mounts='\n'.join(self._volumes()), bin=os.path.realpath(BIN), ready=writing,
            binary=file, link=link,
            read_only=f'mount -o remount,ro {self.root}' if read_only else '', user=f'{pod["runAsUser"]}:{pod["runAsGroup"]}', groups=pod.get('fsGroup', pod['runAsGroup']),
            command=shlex.join([f'/bin/{self.workload.binary}', *self.workload.arguments]))
        with open(self.log, 'wb') as log:
            self.process = subprocess.Popen(['unshare', '--net', '--mount', '--pid', '--ipc', '--uts', '--fork', '--kill-child', 'bash', '-c', script], env={**self.env, 'PATH': f'/bin:{os.environ["PATH"]}'},
                                            stdin=subprocess.PIPE, stdout=log, stderr=log, pass_fds=[writing])
        os.close(writing)
        made = os.read(reading, 5)
        os.close(reading)
        if made != b'made\n':
            raise SystemExit(f'{self.name} cannot be made:\n{self.text()}')
        outside = str(self.process.pid)
        with open(f'/proc/{outside}/task/{outside}/children', encoding='utf8') as file:
            self.pid = int(file.read())
        for command in (f'ip link add pod{self.number} type veth peer name eth0 netns {outside}', f'ip link set pod{self.number} master pods up',
                        f'nsenter -t {outside} -n ip addr add {self.address}/24 dev eth0', f'nsenter -t {outside} -n ip link set eth0 up',
                        f'nsenter -t {outside} -n ip route add default via {BRIDGE}'):
            subprocess.run(command.split(), check=True)
        self.process.stdin.write(b'go\n')
        self.process.stdin.close()
        self.started = time.monotonic()

    def text(self):
        with open(self.log, encoding='utf8', errors='replace') as file:
            return file.read()

    def execute(self, command, given=None):
        """As `kubectl exec` does."""
        pod = self.workload.pod['securityContext']
        inside = ['nsenter', '-t', str(self.pid), '-m', '-n', '-p', '-i', 'setpriv', '--no-new-privs', 'chroot', f'--userspec={pod["runAsUser"]}:{pod["runAsGroup"]}',
                  f'--groups={pod.get("fsGroup", 0)}', self.root, f'/bin/{command[0]}', *command[1:]]
        return subprocess.run(inside, env={**self.env, 'PATH': os.environ['PATH']}, input=given, capture_output=True, timeout=60)

    def probe(self, kind):
        """Asks once; whether the answer is a good one. What is not told is as Kubernetes has it."""
        told = self.workload.container[kind]
        asked = told['httpGet']
        assert set(asked) <= {'path', 'port', 'scheme'}, told
        status = get(self.address, self.workload.port(asked['port']), asked['path'], told.get('timeoutSeconds', 1), asked.get('scheme', 'HTTP'))
        return status is not None and 200 <= status < 400

    def watch(self):
        """What a kubelet does: the startup probe until it holds, then readiness and liveness; a pod that ends by itself has failed."""
        while self.process.poll() is None:
            kind = 'startupProbe' if 'startupProbe' in self.workload.container and not self.probed.get('startupProbe') else 'readinessProbe'
            told = self.workload.container[kind]
            held = self.probe(kind)
            if kind == 'startupProbe':
                self.probed[kind] = held
                if not held and time.monotonic() - self.started > told.get('periodSeconds', 10) * told.get('failureThreshold', 3):
                    raise SystemExit(f'{self.name} does not start:\n{self.text()[-3000:]}')
                if held:
                    continue
            else:
                count = 0 if held else self.probed.get('failures', 0) + 1
                self.probed['failures'] = count
                ready = held or self.ready and count < told.get('failureThreshold', 3)
                if ready != self.ready:
                    self.ready = ready
                    self.cluster.changed()
            time.sleep(told.get('periodSeconds', 10))
        self.ended = time.monotonic()
        if self.deleted is None and not self.cluster.over:
            # It ended by itself, and is replaced, not at once.
            time.sleep(1)
            self.deleted, self.ready = self.ended, False
            self.cluster.crashed.append(f'{self.name}: {self.text().strip().splitlines()[-1:]}')
            self.cluster.changed()
            self.cluster.start(self.workload)

    def delete(self):
        """What happens when a pod is deleted: at the same moment it leaves its Services, which takes its time until it is known, and is told to end."""
        self.deleted = time.monotonic()
        self.cluster.changed()

        def end():
            time.sleep(self.workload.pre_stop)
            self.signal(signal.SIGTERM)
            try:
                self.process.wait(self.workload.grace - self.workload.pre_stop)
            except subprocess.TimeoutExpired:
                self.cluster.killed.append(self.name)
                self.signal(signal.SIGKILL)
                self.process.wait()
            self.ended = time.monotonic()
        thread = threading.Thread(target=end, daemon=True)
        thread.start()
        return thread

    def signal(self, which):
        if self.process.poll() is None:
            os.kill(self.pid, which)

    def stop(self):
        self.signal(signal.SIGKILL)
        self.process.wait()


class Cluster:
    """Pods, Services and names of one rendering."""

    def __init__(self, manifests, secrets, folder, propagation=PROPAGATION, names=()):
        os.makedirs(folder, exist_ok=True)
        self.manifests, self.secrets, self.folder, self.propagation = manifests, secrets, folder, propagation
        self.pods, self.killed, self.crashed, self.balancers, self.lock = [], [], [], [], threading.RLock()
        self.over = False
        # Of hosts that are outside of the cluster.
        self.outside = dict(names)
        services = manifests.all('Service')
        self.services = {service['metadata']['name']: service for service in services}
        self.addresses = {name: SERVICE_ADDRESS.format(number) for number, name in enumerate(self.services, 10) if self.services[name]['spec'].get('clusterIP') != 'None'}
        # What balancers and name servers have heard of.
        self.endpoints = {name: [] for name in self.services}
        self.names = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.names.bind((BRIDGE, 53))
        self.names.settimeout(0.2)
        self.answering = threading.Thread(target=self._answer_names, daemon=True)
        self.answering.start()
        self._balance()

    def secret(self, name, key):
        return self.secrets[name][key]

    def start(self, workload):
        pod = Pod(self, workload)
        with self.lock:
            self.pods.append(pod)
        if 'readinessProbe' in workload.container:
            threading.Thread(target=pod.watch, daemon=True).start()
        return pod

    def of(self, name):
        with self.lock:
            return [pod for pod in self.pods if pod.workload.name == name and pod.deleted is None]

    def wait_until(self, what, within, holds):
        end = time.monotonic() + within
        while not holds():
            if time.monotonic() > end:
                raise SystemExit(f'{what}: not within {within} s\n' + '\n'.join(f'--- {pod.name}\n{pod.text()[-1500:]}' for pod in self.pods))
            time.sleep(0.05)

    def start_all(self, name, replicas):
        workload = self.manifests.workload(name)
        pods = [self.start(workload) for _ in range(replicas)]
        self.wait_until(f'{name} is ready', 60, lambda: all(pod.ready for pod in pods))
        return pods

    def changed(self):
        """A pod came, went, or is ready or no more: who sends to it hears of that a while later."""
        with self.lock:
            now = {name: [pod for pod in self.pods if pod.ready and pod.deleted is None and self._selects(service, pod)] for name, service in self.services.items()}
        timer = threading.Timer(self.propagation, self._heard, [now])
        timer.daemon = True
        timer.start()

    @staticmethod
    def _selects(service, pod):
        return all(pod.workload.labels.get(key) == value for key, value in service['spec']['selector'].items())

    def _heard(self, endpoints):
        with self.lock:
            if self.over:
                return
            self.endpoints = endpoints
            self._balance()
            for balancer in self.balancers:
                balancer(endpoints)

    def settle(self):
        time.sleep(self.propagation + 0.5)

    def _balance(self):
        """As kube-proxy does: each new connection to a Service's address goes to any of its pods, however that is."""
        rules = []
        for name, address in self.addresses.items():
            for port in self.services[name]['spec']['ports']:
                pods = self.endpoints[name]
                to = ', '.join(f'{number} : {pod.address} . {pod.workload.port(port["targetPort"])}' for number, pod in enumerate(pods))
                match = f'ip daddr {address} tcp dport {port["port"]}'
                rules.append(f'{match} dnat ip to numgen random mod {len(pods)} map {{ {to} }}' if pods else f'{match} drop')
        body = '\n'.join(rules)
        text = 'add table ip services\ndelete table ip services\ntable ip services {\n'
        for hook in ('output', 'prerouting'):
            text += f'chain {hook} {{ type nat hook {hook} priority -100; policy accept;\n{body}\n}}\n'
        subprocess.run(['nft', '-f', '-'], input=text + '}\n', text=True, check=True)

    def _answer_names(self):
        """A name server: A records of Services, and no others."""
        while not self.over:
            try:
                asked, who = self.names.recvfrom(512)
            except TimeoutError:
                continue
            at, labels = 12, []
            while asked[at]:
                labels.append(asked[at + 1:at + 1 + asked[at]].decode())
                at += 1 + asked[at]
            kind = struct.unpack('>H', asked[at + 1:at + 3])[0]
            question, name = asked[12:at + 5], '.'.join(labels).lower()
            addresses = self.lookup(name)
            records = [b'\xc0\x0c' + struct.pack('>HHIH', 1, 1, 5, 4) + socket.inet_aton(address) for address in addresses or ()] if kind == 1 else []
            flags = 0x8580 if addresses else 0x8583
            self.names.sendto(asked[:2] + struct.pack('>HHHHH', flags, 1, len(records), 0, 0) + question + b''.join(records), who)

    def lookup(self, name):
        for service in self.services:
            namespace = self.services[service]['metadata']['namespace']
            if name == f'{service}.{namespace}.svc.cluster.local':
                return [self.addresses[service]] if service in self.addresses else [pod.address for pod in self.endpoints[service]]
        return [self.outside[name]] if name in self.outside else []

    def stop(self):
        with self.lock:
            self.over = True
        for pod in self.pods:
            pod.stop()
        self.answering.join()
        self.names.close()

    def roll_out(self, name, say):
        """Replaces all pods of a Deployment as its strategy says, and returns when those of before are gone."""
        old, workload = self.of(name), self.manifests.workload(name)
        strategy, least, threads = workload.spec['strategy'], workload.spec.get('minReadySeconds', 0), []
        began = time.monotonic()
        if strategy['type'] == 'Recreate':
            for pod in old:
                pod.delete().join()
            self.start_all(name, len(old))
        else:
            assert strategy['rollingUpdate'] == {'maxSurge': 1, 'maxUnavailable': 0}, strategy
            for pod in old:
                self.start_all(name, 1)
                time.sleep(least)
                threads.append(pod.delete())
        replaced = time.monotonic() - began
        for thread in threads:
            thread.join()
        longest = max(pod.ended - pod.deleted for pod in old)
        status = {pod.process.returncode for pod in old}
        say(status == {0} and not self.killed, f'{name}: {len(old)} pods replaced within {replaced:.0f} s; the last of before ended {longest:.1f} s after it was told to, with status {status}, '
            f'of {workload.grace} s that it had {self.killed or ""}')


def decoded(secret):
    """The data of a Secret as Kubernetes would hand it out."""
    return {key: base64.b64decode(value) for key, value in secret.get('data', {}).items()}
