"""The manifests of deploy/kubernetes: rendered by kubectl, held against the published schemas, and looked up in."""
import copy, functools, json, os, subprocess, sys

import jsonschema, kubernetes_validate, yaml

TOP = os.path.realpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), '..'))
FOLDER = os.path.join(TOP, 'deploy', 'kubernetes')
# What is rendered, by its name in what is told.
RENDERED = {'base': 'base', 'postgres': 'overlays/postgres', 'observability': 'overlays/observability', 'demo': 'overlays/demo', 'import': 'import', 'migrate': 'migrate'}
# Those that are applied beside a base that runs already.
JOBS = ('import', 'migrate')
# The oldest version that the documentation promises, and the newest there is.
VERSIONS = ('1.29', '1.37')
SCHEMAS = os.path.join(FOLDER, 'components', 'observability', 'schemas')


def kubectl():
    """The one beside this Python, which .ci/requirements.txt installs."""
    path = os.path.join(os.path.dirname(sys.executable), 'kubectl')
    if not os.path.exists(path):
        raise SystemExit(f'{path} is missing: pip install -r .ci/requirements.txt')
    return path


def render(folder):
    """What kustomize makes of a folder below deploy/kubernetes, or anywhere."""
    done = subprocess.run([kubectl(), 'kustomize', os.path.join(FOLDER, folder)], capture_output=True, text=True)
    if done.returncode or done.stderr:
        raise SystemExit(f'kubectl kustomize {folder}: {done.returncode}\n{done.stderr}')
    return Manifests(list(yaml.safe_load_all(done.stdout)))


def render_text(text, folder):
    """What kustomize makes of a kustomization that stands beside a checkout of the project."""
    os.makedirs(folder)
    os.symlink(TOP, os.path.join(folder, 'antigravity-gateway'))
    with open(os.path.join(folder, 'kustomization.yaml'), 'w', encoding='utf8') as file:
        file.write(text)
    return render(folder)


@functools.cache
def published(kind):
    with open(os.path.join(SCHEMAS, f'{kind.lower()}.json'), encoding='utf8') as file:
        return json.load(file)


def valid(document):
    """What is wrong with a document by its schema."""
    name = f'{document["kind"]} {document["metadata"]["name"]}'
    problems = []
    if document['apiVersion'].startswith('monitoring.coreos.com/'):
        found = jsonschema.Draft202012Validator(published(document['kind'])).iter_errors(document)
        problems += [f'{name}: {"/".join(map(str, error.path))}: {error.message[-300:]}' for error in found]
        return problems
    for version in VERSIONS:
        try:
            kubernetes_validate.validate(document, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            problems.append(f'{name}, Kubernetes {version}: {"/".join(map(str, error.path))}: {error.message}'[:300])
        except kubernetes_validate.SchemaNotFoundError as error:
            problems.append(f'{name}, Kubernetes {version}: {error}')
    return problems


def seconds(text):
    """A duration as our variables and the annotations of ingress controllers write it."""
    for unit, factor in (('ms', 0.001), ('s', 1), ('m', 60), ('h', 3600)):
        if text.endswith(unit) and text[:-len(unit)].isdigit():
            return int(text[:-len(unit)]) * factor
    return int(text)


def selects(selector, labels):
    """Whether a label selector matches; an empty one matches all."""
    unknown = set(selector or ()) - {'matchLabels', 'matchExpressions'}
    assert not unknown, f'a selector with {unknown}'
    for key, value in ((selector or {}).get('matchLabels') or {}).items():
        if labels.get(key) != value:
            return False
    for term in (selector or {}).get('matchExpressions') or ():
        operator, value, values = term['operator'], labels.get(term['key']), term.get('values') or ()
        if operator == 'In' and value not in values or operator == 'NotIn' and value in values:
            return False
        if operator == 'Exists' and value is None or operator == 'DoesNotExist' and value is not None:
            return False
        assert operator in ('In', 'NotIn', 'Exists', 'DoesNotExist'), operator
    return True


class Workload:
    """A Deployment or a Job, and its one container."""

    def __init__(self, manifests, document):
        self.manifests, self.document = manifests, document
        self.kind, self.name, self.namespace = document['kind'], document['metadata']['name'], document['metadata']['namespace']
        self.spec, self.template = document['spec'], document['spec']['template']
        self.labels, self.pod = self.template['metadata']['labels'], self.template['spec']
        (self.container,) = self.pod['containers']

    def __str__(self):
        return f'{self.kind} {self.name}'

    @property
    def binary(self):
        """The program that runs: the command's, or the image's."""
        command = self.container.get('command')
        return command[0] if command else self.image[0].rsplit('/', 1)[-1]

    @property
    def arguments(self):
        return [*self.container.get('command', [])[1:], *self.container.get('args', [])]

    @property
    def image(self):
        """(name, tag)"""
        name, _, tag = self.container['image'].rpartition(':')
        return (name, tag) if name else (tag, '')

    @property
    def ports(self):
        return {port['name']: port['containerPort'] for port in self.container.get('ports', ())}

    def port(self, port):
        """The number of a port that is named or a number; None: it is not declared."""
        return self.ports.get(port) if isinstance(port, str) else port if port in self.ports.values() else None

    def variables(self):
        """(name, value or None, (kind, object, key) or None) in the order in which later ones win."""
        for source in self.container.get('envFrom', ()):
            assert set(source) == {'configMapRef'}, source
            name = source['configMapRef']['name']
            found = self.manifests.find('ConfigMap', name)
            for key, value in (found['data'] if found else {}).items():
                yield key, value, ('ConfigMap', name, key)
        for variable in self.container.get('env', ()):
            if 'valueFrom' not in variable:
                yield variable['name'], variable['value'], None
                continue
            (kind, reference), = variable['valueFrom'].items()
            kind = {'secretKeyRef': 'Secret', 'configMapKeyRef': 'ConfigMap'}[kind]
            yield variable['name'], None, (kind, reference['name'], reference['key'])

    def plain(self, name, otherwise=None):
        """The value of a variable that is no secret."""
        return {key: value for key, value, _ in self.variables()}.get(name) or otherwise

    def volumes(self):
        """(volume, mount path, read-only) of each mount."""
        by_name = {volume['name']: volume for volume in self.pod.get('volumes', ())}
        for mount in self.container.get('volumeMounts', ()):
            yield by_name.get(mount['name']), mount['mountPath'], mount.get('readOnly', False)

    def references(self):
        """(kind, object, key; None for all) of the Secrets, ConfigMaps and claims that it needs."""
        for source in self.container.get('envFrom', ()):
            yield 'ConfigMap', source['configMapRef']['name'], None
        for _, _, reference in self.variables():
            if reference:
                yield reference
        for reference in self.pod.get('imagePullSecrets', ()):
            yield 'Secret', reference['name'], '.dockerconfigjson'
        for volume in self.pod.get('volumes', ()):
            if 'secret' in volume or 'configMap' in volume:
                kind = 'Secret' if 'secret' in volume else 'ConfigMap'
                source = volume.get('secret') or volume['configMap']
                name = source.get('secretName') or source.get('name')
                for item in source.get('items') or [{'key': None}]:
                    yield kind, name, item['key']
            elif 'persistentVolumeClaim' in volume:
                yield 'PersistentVolumeClaim', volume['persistentVolumeClaim']['claimName'], None

    @property
    def grace(self):
        return self.pod.get('terminationGracePeriodSeconds', 30)

    @property
    def pre_stop(self):
        """Seconds; of preStop nothing but sleep can run in an image without a shell."""
        hook = self.container.get('lifecycle', {}).get('preStop')
        if hook is None:
            return 0
        if set(hook) != {'sleep'}:
            raise ValueError(f'{self}: preStop {sorted(hook)}: the image has no shell')
        return hook['sleep']['seconds']


class Manifests:
    """What one rendering holds."""

    def __init__(self, documents):
        self.documents = documents

    def copy(self):
        return Manifests(copy.deepcopy(self.documents))

    def all(self, *kinds):
        return [document for document in self.documents if document['kind'] in kinds]

    def find(self, kind, name):
        return next((document for document in self.all(kind) if document['metadata']['name'] == name), None)

    def workloads(self):
        return [Workload(self, document) for document in self.all('Deployment', 'Job')]

    def workload(self, name):
        return next(workload for workload in self.workloads() if workload.name == name)

    def selected(self, selector):
        return [workload for workload in self.workloads() if selects(selector, workload.labels)]

    def replicas(self, workload):
        """How many there are at least."""
        for scaler in self.all('HorizontalPodAutoscaler'):
            target = scaler['spec']['scaleTargetRef']
            if (target['kind'], target['name']) == (workload.kind, workload.name):
                return scaler['spec'].get('minReplicas', 1)
        return workload.spec.get('replicas', 1)
