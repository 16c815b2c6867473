#!/usr/bin/env python3
"""Holds deploy/kubernetes against the published schemas and against the binaries: the manifests are rendered and looked
through, broken on purpose, started as they say in a cluster of processes, and rolled out under load.

  kubernetes.py            all of that
  kubernetes.py --update   writes the PrometheusRule anew from deploy/observability/alerts.yml
  kubernetes.py --part P   only the part P of what is tried with processes
"""
import argparse, concurrent.futures, contextlib, os, re, shutil, subprocess, sys, tempfile, textwrap

import yaml

import breaks
import kubernetes_pods as pods
from cluster import decoded, enter
from kubernetes_move import moved
from manifest_laws import Context, broken
from manifests import FOLDER, JOBS, RENDERED, TOP, kubectl, render, render_text, valid
from readme import blocks
from stack import BIN, check, clean_env, failed

RULE = os.path.join(FOLDER, 'components', 'observability', 'prometheus-rule.yaml')
# What `kubectl create` would have sent to a cluster.
DRY = '''#!/bin/bash
exec {kubectl} "$@" --dry-run=client -o yaml > {folder}/$$-$RANDOM.yaml
'''


def update():
    """The one file that kustomize cannot make: it puts no file's content into a field."""
    with open(os.path.join(TOP, 'deploy', 'observability', 'alerts.yml'), encoding='utf8') as file:
        text = file.read()
    with open(RULE, encoding='utf8') as file:
        head = file.read().split('spec:\n')[0]
    with open(RULE, 'w', encoding='utf8') as file:
        file.write(f'{head}spec:\n' + textwrap.indent(text[text.index('groups:'):], '  '))


def certificates(folder):
    """Of an authority (ca.crt), the database's (server.crt) and the gateway's host (tls.crt)."""
    def openssl(*arguments):
        subprocess.run(['openssl', *arguments], cwd=folder, check=True, capture_output=True)
    openssl('req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-subj', '/CN=an authority', '-days', '90', '-keyout', 'ca.key', '-out', 'ca.crt')
    for name, host in (('server', 'postgres.example.com'), ('tls', 'gateway.example.com')):
        with open(os.path.join(folder, f'{name}.ext'), 'w', encoding='utf8') as file:
            file.write(f'subjectAltName=DNS:{host}\nbasicConstraints=critical,CA:FALSE\n')
        openssl('req', '-newkey', 'rsa:2048', '-nodes', '-subj', f'/CN={host}', '-keyout', f'{name}.key', '-out', f'{name}.csr')
        openssl('x509', '-req', '-in', f'{name}.csr', '-CA', 'ca.crt', '-CAkey', 'ca.key', '-CAcreateserial', '-days', '90', '-extfile', f'{name}.ext', '-out', f'{name}.crt')


@contextlib.contextmanager
def secrets():
    """What the commands of docs/kubernetes.md make, {Secret: {key: bytes}}, and the folder in which they were run."""
    made = {}
    with tempfile.TemporaryDirectory(prefix='agw-secrets-') as folder:
        shim, out = os.path.join(folder, 'kubectl'), os.path.join(folder, 'made')
        os.mkdir(out)
        with open(shim, 'w', encoding='utf8') as file:
            file.write(DRY.format(kubectl=kubectl(), folder=out))
        os.chmod(shim, 0o755)
        certificates(folder)
        shutil.copy(os.path.join(FOLDER, 'overlays', 'demo', 'tokens.json'), folder)
        for block in blocks('docs/kubernetes.md'):
            if block.runner in ('kubernetes-secrets', 'kubernetes-secret'):
                done = subprocess.run(['bash', '-euo', 'pipefail', '-c', block.text], cwd=folder, env={**clean_env(), 'PATH': f'{folder}:{os.environ["PATH"]}'}, capture_output=True, text=True)
                if done.returncode:
                    raise SystemExit(f'{block}: exit status {done.returncode}\n{done.stderr}')
        for name in os.listdir(out):
            with open(os.path.join(out, name), encoding='utf8') as file:
                document = yaml.safe_load(file)
            if document['kind'] == 'Secret':
                if document['metadata']['name'] in made:
                    raise SystemExit(f'docs/kubernetes.md makes the Secret {document["metadata"]["name"]} twice')
                made[document['metadata']['name']] = decoded(document)
        yield made, folder


def known_variables(binary, *arguments):
    """({name}, {name: default}) of what a binary's help tells."""
    text = subprocess.run([os.path.join(BIN, binary), *arguments, '--help'], env=clean_env(), capture_output=True, text=True, check=True).stdout
    names, defaults = set(), {}
    for name, notes in re.findall(r'^  ([A-Z][A-Z0-9_]+)(?: \[([^]]*)\])?$', text[text.index('Environment variables'):], re.M):
        names.add(name)
        for note in notes.split('; '):
            if note == f'or {name}_FILE':
                names.add(f'{name}_FILE')
            elif note.startswith('default '):
                defaults[name] = note.removeprefix('default ')
    if len(names) < 10:
        raise SystemExit(f'{binary} --help tells no variables')
    return names, defaults


def looked_through(renderings, context):
    for name, manifests in renderings.items():
        problems = [problem for document in manifests.documents for problem in valid(document)] + broken(manifests, context)
        check(not problems, f'{name}: {len(manifests.documents)} objects are valid, and as they have to be')
        for problem in problems[:20]:
            print(f'     {problem}')


def broken_on_purpose(renderings, context):
    """Each break has to be noticed, in the words that are expected of it."""
    unnoticed = []
    for number, (name, change, expected) in enumerate(breaks.BREAKS):
        manifests = renderings[name].copy()
        change(manifests)
        # What the change has left alone is valid, as was seen before.
        changed = [document for document in manifests.documents if document not in renderings[name].documents]
        problems = [problem for document in changed for problem in valid(document)] + broken(manifests, context)
        if not any(expected in problem for problem in problems):
            unnoticed.append((number, name, expected, problems[:3]))
    check(not unnoticed, f'{len(breaks.BREAKS)} ways to break the manifests, and each is noticed')
    for which in unnoticed:
        print(f'     {which}')


class Parts:
    """What is tried with processes, each in namespaces of its own, so that they can run beside each other."""

    def __init__(self, made, certificates, full):
        self.secrets, self.certificates = made, certificates
        self.size = {'streams': 300, 'longest': 60, 'propagation': 10} if full else {}

    def started(self, folder):
        """The base, the import's Job, the demo, and gateways with TLS, as they say."""
        pods.base(render('base'), render('import'), self.secrets, os.path.join(folder, 'base'))
        pods.demo(render(RENDERED['demo']), self.secrets, os.path.join(folder, 'demo'))
        (text,) = [block.text for block in blocks('docs/kubernetes.md') if 'TLS_CERT_FILE=' in block.text]
        pods.within_tls(render_text(text, os.path.join(folder, 'kustomization')), self.secrets, os.path.join(folder, 'tls'))

    def rollout(self, folder):
        """All gateways and then the token-service are replaced, and nothing is lost."""
        loads, said, took = pods.rolled_out(render(RENDERED['demo']), self.secrets, folder, ['gateway', 'token-service'], **self.size)
        self.told(loads, said, took)

    def replicas(self, folder):
        """Three token-services with PostgreSQL, as the overlay has them, are replaced one by one."""
        manifests = render_text(pods.REPLICAS, os.path.join(folder, 'kustomization'))
        with pods.database(self.secrets, self.certificates) as (server, names):
            self.told(*pods.rolled_out(manifests, self.secrets, os.path.join(folder, 'cluster'), ['token-service'], gateways=2, ways=['Service'], longest=8, names=names))
            stored = server.sql('SELECT count(*) FROM projects', 'antigravity')
            check(stored == '3', f'all of them have had one pool: {stored} projects are in PostgreSQL')

    def moved(self, folder):
        """A pool is moved from its volume to PostgreSQL, backed up and restored, as the documentation says."""
        with pods.database(self.secrets, self.certificates) as (_, names):
            moved(self.secrets, folder, names)

    def breaks(self, folder):
        """With one value less than it has to be, a rollout loses something."""
        for name, change in (('SHUTDOWN_DELAY of nothing', breaks.setting('gateway', 'SHUTDOWN_DELAY', '0s')), ('a grace of 3 seconds', breaks.pod('gateway', terminationGracePeriodSeconds=3))):
            wrong = render(RENDERED['demo'])
            change(wrong)
            loads, _, _ = pods.rolled_out(wrong, self.secrets, os.path.join(folder, name.replace(' ', '-')), ['gateway'], gateways=1, streams=30, ways=['Service'], longest=8)
            lost = loads['Service'].failures
            check(lost, f'{name} loses requests, and is noticed: {dict(lost)}')

    @staticmethod
    def told(loads, said, took):
        for holds, text in said:
            check(holds, text)
        for way, load in loads.items():
            print(f'     by the {way}:')
            load.told(took)


# Those that follow each other run beside the others.
BESIDE = (['rollout'], ['started', 'moved', 'breaks'], ['replicas'])


def run_parts(full):
    def run(names):
        return [subprocess.run([sys.executable, os.path.abspath(__file__), '--part', name, *(['--full'] if full else [])], capture_output=True, text=True) for name in names]
    with concurrent.futures.ThreadPoolExecutor() as threads:
        for names, done in zip(BESIDE, threads.map(run, BESIDE)):
            for name, part in zip(names, done):
                print(f'\n{name}: {getattr(Parts, name).__doc__}\n{part.stdout}{part.stderr}', end='', flush=True)
                check(part.returncode == 0, f'{name}: exit status {part.returncode}')


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--update', action='store_true')
    parser.add_argument('--full', action='store_true', help='twice as many streams, of up to a minute, and load balancers that hear of a change 10 s late')
    parser.add_argument('--part', choices=[name for names in BESIDE for name in names])
    arguments = parser.parse_args()
    if arguments.update:
        return update()
    if arguments.part:
        enter()
        with tempfile.TemporaryDirectory(prefix='agw-cluster-') as folder, secrets() as (made, certificates):
            getattr(Parts(made, certificates, arguments.full), arguments.part)(folder)
    else:
        with secrets() as (made, _):
            look_through(made)
        run_parts(arguments.full)
    if failed:
        raise SystemExit(f'\n{len(failed)} failed: {failed}')


def look_through(made):
    """All that can be told without starting anything."""
    variables, defaults = {}, {}
    for binary in ('gateway', 'token-service', 'antigravity-gateway'):
        variables[binary], told = known_variables(binary)
        defaults.update(told)
    renderings = {name: render(folder) for name, folder in RENDERED.items()}
    with tempfile.TemporaryDirectory(prefix='agw-kustomize-') as folder:
        # What the documentation shows as a kustomization of one's own.
        for number, block in enumerate(block for block in blocks('docs/kubernetes.md') if 'kind: Kustomization' in block.text):
            renderings[f'docs/kubernetes.md:{block.line}'] = render_text(block.text, os.path.join(folder, str(number)))
    for page in ('docs/kubernetes.md', 'docs/operations.md'):
        # Debian's sh is one that knows nothing of bash.
        unread = [str(block) for block in blocks(page) if block.language == 'sh' and subprocess.run(['dash', '-n'], input=block.text, text=True, capture_output=True).returncode]
        check(not unread, f'{page}: what says sh is read by one {unread or ""}')
    context = Context(variables, defaults, made, renderings['base'], [renderings[name] for name in JOBS])
    looked_through(renderings, context)
    broken_on_purpose(renderings, context)


if __name__ == '__main__':
    main()
