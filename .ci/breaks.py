"""Ways to break the manifests: (rendering, change, words by which it has to be noticed)."""


def workload(manifests, name):
    return manifests.workload(name)


def container(name, /, **fields):
    """Sets fields of a container."""
    return lambda manifests: workload(manifests, name).container.update(fields)


def pod(name, /, **fields):
    return lambda manifests: workload(manifests, name).pod.update(fields)


def spec(kind, name, /, **fields):
    return lambda manifests: manifests.find(kind, name)['spec'].update(fields)


def variable(name, /, **fields):
    return lambda manifests: workload(manifests, name).container['env'].append(fields)


def setting(name, key, value):
    """Sets a key of a ConfigMap, whose name ends in a digest."""
    def change(manifests):
        (found,) = [document for document in manifests.all('ConfigMap') if document['metadata']['name'].startswith(f'{name}-')]
        found['data'][key] = value
    return change


def policy(name, direction, number, /, **fields):
    return lambda manifests: manifests.find('NetworkPolicy', name)['spec'][direction][number].update(fields)


def without(kind, name):
    return lambda manifests: manifests.documents.remove(manifests.find(kind, name))


def security(name, /, **fields):
    return lambda manifests: workload(manifests, name).container['securityContext'].update(fields)


def annotation(key, value):
    return lambda manifests: manifests.find('Ingress', 'gateway')['metadata']['annotations'].update({key: value})


def probe(name, kind, /, **fields):
    return lambda manifests: workload(manifests, name).container[kind]['httpGet'].update(fields)


def unmounted(name, path):
    def change(manifests):
        container = workload(manifests, name).container
        container['volumeMounts'] = [mount for mount in container['volumeMounts'] if mount['mountPath'] != path]
    return change


def rule(**fields):
    return lambda manifests: manifests.all('PrometheusRule')[0]['spec']['groups'][0]['rules'][0].update(fields)


def endpoint(**fields):
    return lambda manifests: manifests.all('ServiceMonitor')[0]['spec']['endpoints'][0].update(fields)


def port(kind, name, /, **fields):
    return lambda manifests: manifests.find(kind, name)['spec']['ports'][0].update(fields)


WEB = {'to': [{'ipBlock': {'cidr': '0.0.0.0/0'}}], 'ports': [{'protocol': 'TCP', 'port': 443}]}
BREAKS = [
    # Schemas.
    ('base', spec('Deployment', 'gateway', replica=2), 'Additional properties'),
    ('base', spec('Deployment', 'gateway', minReadySeconds='5'), 'is not of type'),
    ('base', probe('gateway', 'readinessProbe', paths='/readyz'), 'Additional properties'),
    ('observability', rule(runbook='x'), 'Additional properties'),
    ('observability', rule(**{'for': '2 minutes'}), 'does not match'),
    ('observability', rule(record='x'), 'is valid under each of'),
    ('observability', endpoint(timeout='10s'), 'Additional properties'),
    # Variables, Secrets, ConfigMaps.
    ('base', setting('gateway', 'SHUTDOWN_DELAYS', '15s'), 'knows no variable SHUTDOWN_DELAYS'),
    ('base', setting('token-service', 'ADMIN_LISTEN', '0.0.0.0:9091'), 'knows no variable ADMIN_LISTEN'),
    ('base', variable('gateway', name='ADMIN_TOKEN', value='x'), 'knows no variable ADMIN_TOKEN'),
    ('import', variable('import', name='TOKEN_SERVICE', value='x'), 'knows no variable TOKEN_SERVICE'),
    ('base', variable('gateway', name='API_KEYS', value='x'), 'API_KEYS and API_KEYS_FILE'),
    ('base', variable('gateway', name='UPSTREAM_HEADERS_FILE', value='/secrets/headers'), 'nothing puts a file at /secrets/headers'),
    ('base', variable('gateway', name='UPSTREAM_HEADERS', valueFrom={'secretKeyRef': {'name': 'headers', 'key': 'headers'}}), 'the Secret headers'),
    ('postgres', variable('token-service', name='UPSTREAM_HEADERS', valueFrom={'secretKeyRef': {'name': 'database', 'key': 'dsn'}}), 'dsn of the Secret database'),
    ('base', pod('gateway', imagePullSecrets=[{'name': 'registries'}]), 'the Secret registries'),
    ('base', lambda m: workload(m, 'gateway').pod['volumes'][0]['secret']['items'][0].update(key='keys'), 'keys of the Secret api-keys'),
    ('base', lambda m: workload(m, 'gateway').container['envFrom'][0]['configMapRef'].update(name='gateways'), 'there is no ConfigMap gateways'),
    ('base', without('PersistentVolumeClaim', 'token-service'), 'there is no PersistentVolumeClaim'),
    ('base', lambda m: workload(m, 'token-service').container['volumeMounts'][-1].update(readOnly=False), 'is writable'),
    ('base', lambda m: m.documents.append({'apiVersion': 'v1', 'kind': 'Secret', 'metadata': {'name': 'gateway-token', 'namespace': 'antigravity-gateway'}}), 'is in the repository'),
    ('base', lambda m: m.find('Ingress', 'gateway')['spec']['tls'][0].update(secretName='certificate'), 'no command makes the Secret certificate'),
    # Ports, Services, selectors.
    ('base', setting('gateway', 'PORT', '8080'), 'PORT is 8080'),
    ('base', setting('token-service', 'TOKEN_SERVICE_LISTEN', '0.0.0.0:50052'), 'TOKEN_SERVICE_LISTEN is 0.0.0.0:50052'),
    ('base', setting('gateway', 'TOKEN_SERVICE_URL', 'http://token-service:5005'), 'no Service token-service with a port 5005'),
    ('base', setting('gateway', 'TOKEN_SERVICE_URL', 'http://tokens:50051'), 'no Service tokens'),
    ('base', spec('Service', 'token-service', clusterIP='10.96.0.50'), 'is not headless'),
    ('base', probe('gateway', 'livenessProbe', port='admin'), 'livenessProbe asks a port'),
    ('base', port('Service', 'gateway', targetPort='https'), 'has no port https'),
    ('base', port('Service', 'gateway', port=80), "its port 80 is the container's 8000"),
    ('base', spec('Service', 'gateway', selector={'app.kubernetes.io/name': 'gateway'}), 'Service gateway selects []'),
    ('base', spec('Service', 'gateway', selector={'app.kubernetes.io/part-of': 'antigravity-gateway'}), 'Service gateway selects ['),
    ('base', lambda m: workload(m, 'gateway').labels.update({'app.kubernetes.io/name': 'x'}), 'its selector does not match its pods'),
    ('base', lambda m: m.all('HorizontalPodAutoscaler')[0]['spec']['scaleTargetRef'].update(name='gateways'), 'there is no Deployment gateways'),
    ('base', spec('Deployment', 'gateway', replicas=2), 'would set the replicas of gateway back'),
    ('observability', lambda m: m.all('ServiceMonitor')[0]['spec'].update(jobLabel='app.kubernetes.io/component'), 'by which neither alerts nor dashboard'),
    ('observability', endpoint(port='http'), 'not each Service has a port http'),
    # Endings, and what is there meanwhile.
    ('base', pod('gateway', terminationGracePeriodSeconds=310), 'terminationGracePeriodSeconds is 310'),
    ('base', setting('gateway', 'SHUTDOWN_GRACE', '10m'), 'terminationGracePeriodSeconds is 330'),
    ('base', setting('gateway', 'SHUTDOWN_DELAY', '2s'), 'SHUTDOWN_DELAY of 2 s'),
    ('base', container('gateway', lifecycle={'preStop': {'exec': {'command': ['sleep', '5']}}}), 'the image has no shell'),
    ('base', container('gateway', lifecycle={'preStop': {'sleep': {'seconds': 30}}}), 'terminationGracePeriodSeconds is 330'),
    ('base', pod('token-service', terminationGracePeriodSeconds=5), 'terminationGracePeriodSeconds is 5'),
    ('base', spec('PodDisruptionBudget', 'gateway', maxUnavailable=0), 'lets no node be drained'),
    ('base', lambda m: m.find('PodDisruptionBudget', 'gateway')['spec'].update(minAvailable=2) or m.find('PodDisruptionBudget', 'gateway')['spec'].pop('maxUnavailable'), 'lets no node be drained'),
    ('base', spec('PodDisruptionBudget', 'gateway', selector={'matchLabels': {'app': 'gateway'}}), 'PodDisruptionBudget gateway selects []'),
    ('base', spec('HorizontalPodAutoscaler', 'gateway', minReplicas=1), 'a node that goes takes it along'),
    ('base', spec('Deployment', 'token-service', replicas=2), "two pods would want its volume"),
    ('base', spec('Deployment', 'token-service', strategy={'type': 'RollingUpdate', 'rollingUpdate': {'maxSurge': 1, 'maxUnavailable': 0}}), 'two pods would want its volume'),
    ('postgres', spec('Deployment', 'token-service', replicas=1), 'a node that goes takes it along'),
    ('postgres', without('PodDisruptionBudget', 'token-service'), 'a node that goes takes it along'),
    ('base', lambda m: workload(m, 'gateway').spec['strategy']['rollingUpdate'].update(maxUnavailable=1), 'takes pods away before others are there'),
    ('base', lambda m: workload(m, 'gateway').container.pop('startupProbe'), "no ['startupProbe']"),
    # What is written.
    ('base', unmounted('token-service', '/tmp'), 'nothing can be written to /tmp'),
    ('postgres', unmounted('token-service', '/tmp'), 'nothing can be written to /tmp'),
    ('migrate', unmounted('migrate', '/tmp'), 'nothing can be written to /tmp'),
    ('base', lambda m: workload(m, 'token-service').pod['volumes'][1]['emptyDir'].clear(), 'an emptyDir without a sizeLimit'),
    ('postgres', lambda m: workload(m, 'token-service').container['resources']['limits'].update({'ephemeral-storage': '256Mi'}), 'less than its volumes and its logs'),
    ('base', setting('gateway', 'MAX_CONCURRENT_REQUESTS_PER_KEY', '30'), '30 requests of 20971520 bytes may take more'),
    ('base', setting('gateway', 'MAX_BODY_BYTES', '32MiB'), '20 requests of 33554432 bytes may take more'),
    ('base', lambda m: [document['data'].pop('MAX_CONCURRENT_REQUESTS_PER_KEY', None) for document in m.all('ConfigMap')], 'nothing limits what one key'),
    # Rights.
    ('base', security('gateway', readOnlyRootFilesystem=False), 'read-only root is not so'),
    ('base', security('token-service', allowPrivilegeEscalation=True), 'no escalation is not so'),
    ('demo', security('fake-google', capabilities={'drop': ['NET_RAW']}), 'no capabilities is not so'),
    ('import', lambda m: workload(m, 'import').pod['securityContext'].update(runAsUser=0), 'runAsNonRoot is not so'),
    ('base', lambda m: workload(m, 'gateway').pod['securityContext'].pop('seccompProfile'), 'seccomp is not so'),
    ('base', lambda m: workload(m, 'gateway').pod['securityContext'].pop('fsGroup'), 'a group for what it reads is not so'),
    ('base', pod('gateway', automountServiceAccountToken=True), 'no token of a service account is not so'),
    ('base', pod('gateway', enableServiceLinks=True), 'no addresses of Services'),
    ('base', pod('gateway', hostNetwork=True), 'nothing of the host is not so'),
    ('base', lambda m: workload(m, 'gateway').container['resources'].pop('limits'), 'requests and a limit of memory is not so'),
    ('base', container('gateway', image='antigravity-gateway/gateway:latest'), 'no build of this version'),
    ('base', container('gateway', image='antigravity-gateway/proxy:0.1.0'), 'no build of this version'),
    ('base', lambda m: m.all('Namespace')[0]['metadata']['labels'].pop('pod-security.kubernetes.io/enforce'), 'it is not restricted'),
    ('observability', lambda m: m.all('PrometheusRule')[0]['metadata'].pop('namespace'), 'its namespace is None'),
    # The Ingress.
    ('base', annotation('nginx.ingress.kubernetes.io/proxy-buffering', 'on'), 'buffers streams'),
    ('base', annotation('nginx.ingress.kubernetes.io/proxy-read-timeout', '600'), 'less than an answer may be silent'),
    ('base', annotation('nginx.org/proxy-send-timeout', '60s'), 'less than an answer may be silent'),
    ('base', annotation('nginx.org/client-max-body-size', '1m'), 'refuses large bodies'),
    ('base', lambda m: m.find('Ingress', 'gateway')['spec']['rules'][0]['http']['paths'][0]['backend']['service']['port'].update(name='web'), 'there is no Service'),
    # TLS.
    ('base', setting('gateway', 'TLS_CERT_FILE', '/secrets/api-keys/api-keys'), 'readinessProbe does not speak TLS with it'),
    ('base', setting('gateway', 'TLS_CERT_FILE', '/secrets/api-keys/api-keys'), 'ingress-nginx does not speak TLS with it'),
    ('base', probe('gateway', 'livenessProbe', scheme='HTTPS'), 'livenessProbe speaks TLS with it'),
    ('observability', setting('gateway', 'TLS_CERT_FILE', '/secrets/api-keys/api-keys'), 'Prometheus does not speak TLS with it'),
    ('observability', endpoint(scheme='https'), 'no certificate can be verified'),
    # What is scraped.
    ('observability', rule(expr='up == 0'), 'it is not deploy/observability/alerts.yml'),
    ('observability', without('ConfigMap', 'grafana-dashboard'), 'the dashboard is not'),
    # The network.
    ('base', without('NetworkPolicy', 'default-deny'), 'network: ingress reaches import'),
    ('base', without('NetworkPolicy', 'gateway'), 'network: ingress reaches gateway at []'),
    ('base', without('NetworkPolicy', 'dns'), 'network: gateway reaches dns at []'),
    ('base', policy('token-service', 'ingress', 0, **{'from': [{'podSelector': {}}]}), 'network: neighbour reaches token-service'),
    ('base', policy('token-service', 'ingress', 0, **{'from': [{'namespaceSelector': {}, 'podSelector': {'matchLabels': {'app.kubernetes.io/component': 'operator'}}}]}), 'network: stranger reaches token-service'),
    ('base', policy('token-service', 'egress', 0, **WEB), 'network: token-service reaches metadata server'),
    ('base', policy('gateway', 'egress', 1, **WEB), 'network: gateway reaches private network'),
    ('base', policy('gateway', 'ingress', 0, ports=[{'protocol': 'TCP', 'port': 80}]), '80 is no port of'),
    ('base', policy('gateway', 'egress', 0, ports=[{'protocol': 'TCP', 'port': 50052}]), 'network: gateway reaches token-service at []'),
    ('postgres', without('NetworkPolicy', 'token-service-database'), 'network: token-service reaches database at []'),
    ('postgres', lambda m: m.find('NetworkPolicy', 'token-service-database')['spec']['egress'][0].update(to=[{'ipBlock': {'cidr': '10.0.0.0/8'}}]), 'network: token-service reaches private network'),
    ('migrate', without('NetworkPolicy', 'migrate-database'), 'network: migrate reaches database at []'),
    ('migrate', lambda m: workload(m, 'migrate').labels.update({'app.kubernetes.io/name': 'antigravity-token-service'}), 'the Service token-service takes it for one of its pods'),
    ('base', without('NetworkPolicy', 'acme-solver'), 'network: ingress reaches acme solver at []'),
    ('base', policy('acme-solver', 'ingress', 0, ports=[{'protocol': 'TCP', 'port': 8090}]), '8090 is no port of'),
    ('demo', without('NetworkPolicy', 'to-fake-google'), 'network: gateway reaches fake-google at []'),
    ('base', spec('NetworkPolicy', 'gateway', podSelector={'matchLabels': {'app': 'gateway'}}), 'NetworkPolicy gateway is for nobody'),
]
