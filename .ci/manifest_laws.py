"""What has to hold in a rendering of the manifests, beyond its schema. Each law yields what breaks it, in words."""
import ipaddress, json, os, re

import yaml

from manifests import TOP, Manifests, seconds, selects

# For the last reports, and for the process itself.
MARGIN = 10
# How much memory a request takes at most, of the bytes of its body, and a gateway without any.
TIMES_ITS_BODY, GATEWAY_ALONE = 8, 64 << 20
# Bytes that a node may keep of a pod's log files: five of 10 MiB, unless its kubelet is told otherwise.
LOGS = 5 * (10 << 20)
# Who is to be reached by whom, at which ports; whoever is not named here is not to be.
EXPECTED = {
    ('ingress', 'gateway'): {8000}, ('client', 'gateway'): {8000}, ('monitoring', 'gateway'): {9090}, ('monitoring', 'token-service'): {9091},
    ('gateway', 'token-service'): {50051}, ('import', 'token-service'): {50051},
    ('ingress', 'acme solver'): {8089},
    ('gateway', 'dns'): {53}, ('token-service', 'dns'): {53}, ('import', 'dns'): {53}, ('migrate', 'dns'): {53}, ('fake-google', 'dns'): {53}, ('acme solver', 'dns'): {53},
    ('gateway', 'google'): {443}, ('token-service', 'google'): {443},
    ('token-service', 'database'): {5432}, ('migrate', 'database'): {5432},
    ('gateway', 'fake-google'): {8080}, ('token-service', 'fake-google'): {8080},
}
# Pods of others, by the labels of their namespaces and their own; addresses that are no pods.
OTHERS = {
    'ingress': ({'kubernetes.io/metadata.name': 'ingress-nginx'}, {'app.kubernetes.io/name': 'ingress-nginx'}),
    'client': ({'kubernetes.io/metadata.name': 'chats', 'antigravity-gateway/clients': 'true'}, {'app': 'chat'}),
    'monitoring': ({'kubernetes.io/metadata.name': 'monitoring'}, {'app.kubernetes.io/name': 'prometheus'}),
    'dns': ({'kubernetes.io/metadata.name': 'kube-system'}, {'k8s-app': 'kube-dns'}),
    'database': ({'kubernetes.io/metadata.name': 'databases'}, {'app.kubernetes.io/name': 'postgresql'}),
    'stranger': ({'kubernetes.io/metadata.name': 'default'}, {'app.kubernetes.io/name': 'antigravity-gateway', 'app.kubernetes.io/component': 'operator'}),
    'neighbour': (None, {'app.kubernetes.io/name': 'something-else'}),
}
# Pods that others put into our namespace, and for which there are policies.
GUESTS = {'acme solver': (None, {'acme.cert-manager.io/http01-solver': 'true'})}
GUESTS_PORTS = {8089}
ADDRESSES = {'google': '142.250.74.10', 'metadata server': '169.254.169.254', 'private network': '10.0.0.7', 'database outside': '10.1.2.3'}
PORTS = {22, 53, 80, 443, 5432, 8000, 8080, 8089, 9090, 9091, 50051}


def references(manifests, context):
    for workload in manifests.workloads():
        for kind, name, key in workload.references():
            if kind == 'Secret':
                keys = context.secrets.get(name)
                if keys is None or key is not None and key not in keys:
                    yield f'{workload}: no command of docs/kubernetes.md makes {key or "any key"} of the Secret {name}'
                continue
            found = manifests.find(kind, name) or workload.kind == 'Job' and context.base.find(kind, name)
            if not found or key is not None and key not in found.get('data', {}):
                yield f'{workload}: there is no {kind} {name}{f" with {key}" if key else ""}'
        for volume, path, read_only in workload.volumes():
            if volume is None:
                yield f'{workload}: nothing is mounted at {path}'
            elif not read_only and not {'persistentVolumeClaim', 'emptyDir'} & set(volume):
                yield f'{workload}: {path} is writable'
    for ingress in manifests.all('Ingress'):
        for tls in ingress['spec'].get('tls', ()):
            if tls['secretName'] not in context.secrets:
                yield f'Ingress {ingress["metadata"]["name"]}: no command makes the Secret {tls["secretName"]}'
    for document in manifests.all('Secret'):
        yield f'Secret {document["metadata"]["name"]} is in the repository'


def _files(manifests, volume):
    if 'configMap' in volume:
        return (manifests.find('ConfigMap', volume['configMap']['name']) or {'data': {}})['data']
    return [item['path'] for item in volume.get('secret', {}).get('items', ())]


def variables(manifests, context):
    for workload in manifests.workloads():
        known = context.variables.get(workload.binary)
        if known is None:
            continue
        told = {}
        for name, value, reference in workload.variables():
            if name not in known:
                yield f'{workload}: {workload.binary} knows no variable {name}'
            told[name] = value
            if name.endswith('_FILE') and value:
                mounted = [(volume, path) for volume, path, _ in workload.volumes() if os.path.dirname(value) == path]
                if not any(os.path.basename(value) in _files(manifests, volume) for volume, _ in mounted if volume):
                    yield f'{workload}: {name}: nothing puts a file at {value}'
        for name in told:
            if f'{name}_FILE' in told:
                yield f'{workload}: {name} and {name}_FILE'


def ports(manifests, context):
    for workload in manifests.workloads():
        numbers = list(workload.ports.values())
        if len(set(numbers)) != len(numbers):
            yield f'{workload}: a port is declared twice'
        for name, kind in (('PORT', 'http'), ('ADMIN_LISTEN', 'metrics'), ('TOKEN_SERVICE_LISTEN', 'grpc'), ('TOKEN_SERVICE_ADMIN_LISTEN', 'metrics')):
            value = workload.plain(name)
            if value and int(value.rsplit(':', 1)[-1]) != workload.ports.get(kind):
                yield f'{workload}: {name} is {value}, and its port {kind} {workload.ports.get(kind)}'
        url = workload.plain('TOKEN_SERVICE_URL')
        if url:
            host, _, number = url.removeprefix('http://').partition(':')
            service = manifests.find('Service', host)
            # The Job's Service is in another rendering.
            if workload.kind == 'Deployment' and (service is None or int(number) not in [port['port'] for port in service['spec']['ports']]):
                yield f'{workload}: there is no Service {host} with a port {number}'
            if service and service['spec'].get('clusterIP') != 'None':
                yield f'Service {host} is not headless: all calls of a gateway would go to one pod'
        for kind in ('startupProbe', 'readinessProbe', 'livenessProbe'):
            probe = workload.container.get(kind)
            if probe and workload.port(probe['httpGet']['port']) is None:
                yield f'{workload}: {kind} asks a port that is not declared'
        if workload.kind == 'Job':
            taken = [service for service in context.base.all('Service') if selects({'matchLabels': service['spec']['selector']}, workload.labels)]
            yield from (f'{workload}: the Service {service["metadata"]["name"]} takes it for one of its pods' for service in taken)
    for service in manifests.all('Service'):
        name = f'Service {service["metadata"]["name"]}'
        found = manifests.selected({'matchLabels': service['spec']['selector']})
        if len(found) != 1:
            yield f'{name} selects {[str(workload) for workload in found]}'
            continue
        for port in service['spec']['ports']:
            number = found[0].port(port.get('targetPort', port['port']))
            if number is None:
                yield f'{name}: {found[0]} has no port {port.get("targetPort", port["port"])}'
            elif number != port['port']:
                yield f'{name}: its port {port["port"]} is the container\'s {number}'
    for ingress in manifests.all('Ingress'):
        for rule in ingress['spec']['rules']:
            for path in rule['http']['paths']:
                backend = path['backend']['service']
                service = manifests.find('Service', backend['name'])
                if service is None or backend['port'].get('name') not in [port['name'] for port in service['spec']['ports']]:
                    yield f'Ingress {ingress["metadata"]["name"]}: there is no Service {backend}'


def selectors(manifests, _):
    for workload in manifests.workloads():
        if workload.kind == 'Deployment' and not selects(workload.spec['selector'], workload.labels):
            yield f'{workload}: its selector does not match its pods'
        for constraint in workload.pod.get('topologySpreadConstraints', ()):
            if not selects(constraint['labelSelector'], workload.labels):
                yield f'{workload}: spread over {constraint["topologyKey"]} counts other pods'
    for document in manifests.all('HorizontalPodAutoscaler'):
        target = document['spec']['scaleTargetRef']
        found = manifests.find(target['kind'], target['name'])
        if found is None:
            yield f'HorizontalPodAutoscaler: there is no {target["kind"]} {target["name"]}'
        elif 'replicas' in found['spec']:
            yield f'HorizontalPodAutoscaler: each apply would set the replicas of {target["name"]} back'
    jobs = []
    for document in manifests.all('ServiceMonitor'):
        found = [service for service in manifests.all('Service') if selects(document['spec']['selector'], service['metadata']['labels'])]
        jobs += [service['metadata']['labels'].get(document['spec']['jobLabel']) for service in found]
        for endpoint in document['spec']['endpoints']:
            if not all(endpoint['port'] in [port['name'] for port in service['spec']['ports']] for service in found):
                yield f'ServiceMonitor: not each Service has a port {endpoint["port"]}'
    if manifests.all('ServiceMonitor') and sorted(map(str, jobs)) != ['antigravity-gateway', 'antigravity-token-service']:
        yield f'ServiceMonitor: the jobs are {jobs}, by which neither alerts nor dashboard know them'


def endings(manifests, context):
    for workload in manifests.workloads():
        try:
            pre_stop = workload.pre_stop
        except ValueError as error:
            yield str(error)
            continue
        if workload.binary == 'gateway':
            delay, grace = seconds(workload.plain('SHUTDOWN_DELAY', '5s')), seconds(workload.plain('SHUTDOWN_GRACE', '300s'))
            needed = pre_stop + delay + grace + MARGIN
            if delay < 10:
                yield f'{workload}: SHUTDOWN_DELAY of {delay} s: load balancers may still send to a pod that is gone'
        elif workload.binary == 'token-service':
            needed = pre_stop + 2 * context.token_service_grace + MARGIN
        else:
            continue
        if workload.grace < needed:
            yield f'{workload}: terminationGracePeriodSeconds is {workload.grace}, and {needed} may be needed'


def availability(manifests, _):
    for document in manifests.all('PodDisruptionBudget'):
        found = manifests.selected(document['spec']['selector'])
        if len(found) != 1:
            yield f'PodDisruptionBudget {document["metadata"]["name"]} selects {[str(workload) for workload in found]}'
            continue
        replicas, least = manifests.replicas(found[0]), document['spec'].get('minAvailable', 0)
        if document['spec'].get('maxUnavailable', 1) == 0 or isinstance(least, str) or least >= replicas:
            yield f'{found[0]}: its PodDisruptionBudget lets no node be drained'
    for workload in manifests.workloads():
        if workload.kind != 'Deployment':
            continue
        claims = [volume for volume in workload.pod.get('volumes', ()) if 'persistentVolumeClaim' in volume]
        strategy, replicas = workload.spec['strategy'], manifests.replicas(workload)
        if claims and (strategy['type'] != 'Recreate' or replicas != 1):
            yield f'{workload}: two pods would want its volume'
        elif strategy['type'] == 'RollingUpdate' and strategy['rollingUpdate'] != {'maxSurge': 1, 'maxUnavailable': 0}:
            yield f'{workload}: a rollout takes pods away before others are there'
        budgets = [document for document in manifests.all('PodDisruptionBudget') if selects(document['spec']['selector'], workload.labels)]
        if strategy['type'] == 'RollingUpdate' and (replicas < 2 or not budgets or len(workload.pod.get('topologySpreadConstraints', ())) < 2):
            yield f'{workload}: {replicas} replicas, {len(budgets)} budgets: a node that goes takes it along'
        probes = {'readinessProbe'} if workload.binary == 'fake-google' else {'startupProbe', 'readinessProbe', 'livenessProbe'}
        if missing := probes - set(workload.container):
            yield f'{workload}: no {sorted(missing)}'


def rights(manifests, context):
    namespace = manifests.all('Namespace')
    if namespace and namespace[0]['metadata']['labels'].get('pod-security.kubernetes.io/enforce') != 'restricted':
        yield 'Namespace: it is not restricted'
    for document in manifests.documents:
        expected = None if document['kind'] == 'Namespace' else namespace[0]['metadata']['name'] if namespace else 'antigravity-gateway'
        if document['metadata'].get('namespace') != expected:
            yield f'{document["kind"]} {document["metadata"]["name"]}: its namespace is {document["metadata"].get("namespace")}'
        if document['metadata'].get('labels', {}).get('app.kubernetes.io/part-of') != 'antigravity-gateway':
            yield f'{document["kind"]} {document["metadata"]["name"]}: it has no label part-of'
    for workload in manifests.workloads():
        pod, security = workload.pod, workload.container.get('securityContext', {})
        whole = pod.get('securityContext', {})
        wanted = {
            'runAsNonRoot': whole.get('runAsNonRoot') is True and whole.get('runAsUser') == 65532 == whole.get('runAsGroup'),
            'seccomp': whole.get('seccompProfile') == {'type': 'RuntimeDefault'},
            'read-only root': security.get('readOnlyRootFilesystem') is True,
            'no escalation': security.get('allowPrivilegeEscalation') is False and not security.get('privileged'),
            'no capabilities': security.get('capabilities') == {'drop': ['ALL']},
            'no token of a service account': pod.get('automountServiceAccountToken') is False,
            'no addresses of Services in the environment': pod.get('enableServiceLinks') is False,
            'nothing of the host': not {'hostNetwork', 'hostPID', 'hostIPC'} & set(pod) and not any('hostPath' in volume for volume in pod.get('volumes', ())),
            'requests and a limit of memory': {'cpu', 'memory'} <= set(workload.container.get('resources', {}).get('requests', ())) and 'memory' in workload.container['resources'].get('limits', ()),
            'a group for what it reads': 'fsGroup' in whole or not any({'secret', 'persistentVolumeClaim'} & set(volume) for volume in pod.get('volumes', ())),
        }
        yield from (f'{workload}: {what} is not so' for what, holds in wanted.items() if not holds)
        name, tag = workload.image
        # Whatever registry it comes from.
        found = re.fullmatch(r'(?:[\w.:-]+/)?antigravity-gateway/([\w-]+)', name)
        if not found or found[1] not in context.images or tag != context.version:
            yield f'{workload}: no build of this version makes the image {name}:{tag}'


def streaming(manifests, context):
    for ingress in manifests.all('Ingress'):
        told, name = ingress['metadata']['annotations'], f'Ingress {ingress["metadata"]["name"]}'
        for prefix, off in (('nginx.ingress.kubernetes.io', 'off'), ('nginx.org', 'False')):
            if told.get(f'{prefix}/proxy-buffering') != off:
                yield f'{name}: {prefix} buffers streams'
            for kind in ('read', 'send'):
                timeout = seconds(told.get(f'{prefix}/proxy-{kind}-timeout', '60'))
                if timeout <= seconds(context.defaults['REQUEST_TIMEOUT']) or timeout <= seconds(context.defaults['KEEPALIVE_INTERVAL']):
                    yield f'{name}: {prefix} waits {timeout} s to {kind}, less than an answer may be silent'
            if told.get(f'{prefix}/{"proxy" if prefix.startswith("nginx.i") else "client-max"}-body-size') != '0':
                yield f'{name}: {prefix} refuses large bodies'
        if told.get('nginx.ingress.kubernetes.io/proxy-request-buffering') != 'off':
            yield f'{name}: prompts are kept'


def tls(manifests, _):
    """Whoever asks a gateway that speaks TLS speaks it too, and nobody else does."""
    gateway = manifests.find('Deployment', 'gateway')
    if not gateway:
        return
    workload = manifests.workload('gateway')
    speaks = workload.plain('TLS_CERT_FILE') is not None
    askers = {kind: workload.container.get(kind, {}).get('httpGet', {}).get('scheme', 'HTTP') == 'HTTPS' for kind in ('startupProbe', 'readinessProbe', 'livenessProbe')}
    for ingress in manifests.all('Ingress'):
        told = ingress['metadata']['annotations']
        askers['ingress-nginx'] = told.get('nginx.ingress.kubernetes.io/backend-protocol', 'HTTP') == 'HTTPS'
        askers['NGINX Ingress Controller'] = 'gateway' in told.get('nginx.org/ssl-services', '').split(',')
    askers['the Service'] = manifests.find('Service', 'gateway')['spec']['ports'][0].get('appProtocol') == 'https'
    for monitor in manifests.all('ServiceMonitor'):
        for endpoint in monitor['spec']['endpoints']:
            asks = endpoint.get('scheme') == 'https'
            if monitor['metadata']['name'] == 'antigravity-gateway':
                askers['Prometheus'] = asks
            # Pods are scraped by their addresses, which no certificate has.
            if asks and not {'ca', 'serverName'} <= set(endpoint.get('tlsConfig', ())):
                yield f'ServiceMonitor {monitor["metadata"]["name"]}: no certificate can be verified'
    yield from (f'Deployment gateway: {asker} {"does not speak" if speaks else "speaks"} TLS with it' for asker, asks in askers.items() if asks != speaks)


def observability(manifests, _):
    rules, dashboards = manifests.all('PrometheusRule'), [d for d in manifests.all('ConfigMap') if d['metadata'].get('labels', {}).get('grafana_dashboard')]
    if not manifests.all('ServiceMonitor'):
        return
    with open(os.path.join(TOP, 'deploy', 'observability', 'alerts.yml'), encoding='utf8') as file:
        alerts = yaml.safe_load(file)
    if [rule['spec'] for rule in rules] != [alerts]:
        yield 'PrometheusRule: it is not deploy/observability/alerts.yml; .ci/kubernetes.py --update makes it'
    with open(os.path.join(TOP, 'deploy', 'observability', 'grafana-dashboard.json'), encoding='utf8') as file:
        dashboard = json.load(file)
    if [[json.loads(text) for text in found['data'].values()] for found in dashboards] != [[dashboard]]:
        yield 'the dashboard is not deploy/observability/grafana-dashboard.json'


def _allows(manifests, direction, labels, peer, port):
    """Whether the policies of a pod with these labels let it talk with a peer: (labels of its namespace or None for ours, labels) or an address."""
    selecting = [policy['spec'] for policy in manifests.all('NetworkPolicy') if selects(policy['spec']['podSelector'], labels) and direction in policy['spec']['policyTypes']]
    if not selecting:
        return True
    return any(_rule_allows(rule, 'from' if direction == 'Ingress' else 'to', peer, port) for policy in selecting for rule in policy.get(direction.lower(), ()))


def _rule_allows(rule, key, peer, port):
    if 'ports' in rule and port not in [entry['port'] for entry in rule['ports']]:
        return False
    return key not in rule or any(_is(entry, peer) for entry in rule[key])


def _is(entry, peer):
    if 'ipBlock' in entry:
        if not isinstance(peer, str):
            return False
        address, block = ipaddress.ip_address(peer), ipaddress.ip_network(entry['ipBlock']['cidr'])
        return address in block and not any(address in ipaddress.ip_network(part) for part in entry['ipBlock'].get('except', ()))
    if isinstance(peer, str):
        return False
    namespace, labels = peer
    if 'namespaceSelector' not in entry:
        return namespace is None and selects(entry.get('podSelector'), labels)
    return selects(entry['namespaceSelector'], namespace or {'kubernetes.io/metadata.name': 'antigravity-gateway'}) and selects(entry.get('podSelector'), labels)


def network(manifests, context):
    """Each pair of pods and addresses, port by port: what the policies let through is what is expected, and no more."""
    # Jobs are beside a base, and a base has the Jobs beside it.
    others = [context.base] if not manifests.all('Namespace') else []
    others += [job for job in context.jobs if not any(manifests.find('Job', workload.name) for workload in job.workloads())]
    manifests = Manifests(manifests.documents + [document for other in others for document in other.documents])
    ours = {**{workload.name: (None, workload.labels) for workload in manifests.workloads()}, **GUESTS}
    everybody = {**OTHERS, **ours, **ADDRESSES}
    for source, from_peer in everybody.items():
        for target, to_peer in everybody.items():
            if source not in ours and target not in ours or source == target or source in ADDRESSES:
                continue
            reached = {port for port in PORTS
                       if (source not in ours or _allows(manifests, 'Egress', from_peer[1], to_peer, port)) and (target not in ours or _allows(manifests, 'Ingress', to_peer[1], from_peer, port))}
            expected = EXPECTED.get((source, target), set())
            if target == 'database' and source == 'token-service' and not any(name == 'database' for _, name, _ in manifests.workload(source).references()):
                expected = set()
            # Whose policy names an address has no pods of this cluster for it.
            if target.startswith('database') and source in ours and outside(manifests, source):
                expected = {5432} if target == 'database outside' else set()
            if reached != expected:
                yield f'network: {source} reaches {target} at {sorted(reached)}, and is to at {sorted(expected)}'
    for policy in manifests.all('NetworkPolicy'):
        found = manifests.selected(policy['spec']['podSelector'])
        guests = any(selects(policy['spec']['podSelector'], labels) for _, labels in GUESTS.values())
        if not found and not guests:
            yield f'NetworkPolicy {policy["metadata"]["name"]} is for nobody'
        for rule in policy['spec'].get('ingress', ()):
            for port in rule['ports']:
                if not all(port['port'] in workload.ports.values() for workload in found) or not found and port['port'] not in GUESTS_PORTS:
                    yield f'NetworkPolicy {policy["metadata"]["name"]}: {port["port"]} is no port of {[str(workload) for workload in found]}'


def outside(manifests, source):
    """Whether a workload's way to its database is one to an address."""
    policy = manifests.find('NetworkPolicy', f'{source}-database')
    return bool(policy) and any('ipBlock' in peer for rule in policy['spec']['egress'] for peer in rule['to'])


def room(manifests, _):
    """What is written has a place, and the node's share of a pod is as much as its volumes may take."""
    for workload in manifests.workloads():
        folders = {path: volume for volume, path, read_only in workload.volumes() if volume and 'emptyDir' in volume and not read_only}
        # The root is read-only. SQLite sorts there; a backup of PostgreSQL, and one that is restored, is drafted there.
        if workload.image[0].endswith('/token-service') and workload.name != 'import' and '/tmp' not in folders:
            yield f'{workload}: nothing can be written to /tmp'
        sizes = [bytes_of(volume['emptyDir'].get('sizeLimit', '0')) for volume in folders.values()]
        if folders and not all(sizes):
            yield f'{workload}: an emptyDir without a sizeLimit may fill the node'
        limit = bytes_of(workload.container.get('resources', {}).get('limits', {}).get('ephemeral-storage', '0'))
        if limit < sum(sizes) + LOGS:
            yield f'{workload}: ephemeral-storage is limited to {limit}, less than its volumes and its logs may take'


def memory(manifests, context):
    """One key's requests, however they are made, fit into a gateway."""
    for workload in manifests.workloads():
        if workload.binary != 'gateway':
            continue
        body = bytes_of(workload.plain('MAX_BODY_BYTES', context.defaults['MAX_BODY_BYTES']).removesuffix('B'))
        at_once = workload.plain('MAX_CONCURRENT_REQUESTS_PER_KEY')
        if at_once is None:
            yield f'{workload}: nothing limits what one key may ask for at once'
            continue
        limit = bytes_of(workload.container.get('resources', {}).get('limits', {}).get('memory', '0'))
        if limit < GATEWAY_ALONE + TIMES_ITS_BODY * body * int(at_once):
            yield f'{workload}: {at_once} requests of {body} bytes may take more than its memory of {limit}'


def bytes_of(quantity):
    """A quantity as Kubernetes writes it."""
    found = re.fullmatch(r'(\d+)(Ki|Mi|Gi)?', quantity)
    return int(found[1]) * {None: 1, 'Ki': 1 << 10, 'Mi': 1 << 20, 'Gi': 1 << 30}[found[2]]


LAWS = (references, variables, ports, selectors, endings, availability, room, memory, rights, streaming, tls, observability, network)


def broken(manifests, context):
    return [problem for law in LAWS for problem in law(manifests, context)]


class Context:
    """What the manifests are held against."""

    def __init__(self, variables, defaults, secrets, base, jobs):
        self.variables, self.defaults, self.secrets, self.base, self.jobs = variables, defaults, secrets, base, jobs
        with open(os.path.join(TOP, 'Dockerfile'), encoding='utf8') as file:
            self.images = set(re.findall(r'^FROM base AS (\S+)$', file.read(), re.M))
        with open(os.path.join(TOP, 'Cargo.toml'), encoding='utf8') as file:
            self.version = re.search(r'^version = "([^"]+)"', file.read(), re.M)[1]
        with open(os.path.join(TOP, 'token-service', 'src', 'serve.rs'), encoding='utf8') as file:
            # Calls get so long to end, and then refreshes.
            self.token_service_grace = int(re.search(r'^const GRACE: Duration = Duration::from_secs\((\d+)\);', file.read(), re.M)[1])
