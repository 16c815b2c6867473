"""What docs/kubernetes.md says of a pool's data, done in a cluster of processes: the move from the volume to PostgreSQL,
command by command, and a backup and a restore from an operator's machine."""
import os, re, shlex, subprocess

from cluster import Cluster
from kubernetes_pods import started
from manifests import FOLDER, JOBS, TOP, render, render_text
from readme import blocks
from stack import BIN, check, clean_env

PROJECTS = {f'fake-project-{n}' for n in (1, 2, 3)}


def block(runner):
    (found,) = [block for block in blocks('docs/kubernetes.md') if block.runner == runner]
    return found


def operator(cluster, secrets):
    """The environment of an operator's machine to which the port of a token-service was forwarded."""
    return {**clean_env(), 'PATH': f'{os.path.abspath(BIN)}:{os.environ["PATH"]}', 'TOKEN_SERVICE_URL': f'http://{cluster.of("token-service")[0].address}:50051',
            'ADMIN_TOKEN': secrets['token-service']['admin-token'].decode().strip()}


def said(command, env, folder):
    done = subprocess.run(['bash', '-euo', 'pipefail', '-c', command], env=env, cwd=folder, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL)
    check(done.returncode == 0, f'`{command.strip()}`: {len(done.stdout)} characters {done.stderr[-600:] if done.returncode else ""}')
    return done.stdout


def listed(env, folder):
    return set(re.findall(r'fake-project-\d+', said('antigravity-gateway projects list', env, folder)))


def kept(cluster, secrets, folder):
    """A project that was removed after the backup is back after the restore."""
    os.makedirs(folder)
    env = operator(cluster, secrets)
    backup, restore = block('kubernetes-backup').text.strip().split('\n')
    said(backup, env, folder)
    said('antigravity-gateway projects remove fake-project-1 --yes', env, folder)
    check(listed(env, folder) == PROJECTS - {'fake-project-1'}, 'a project is removed after the backup')
    said(restore, env, folder)
    check(listed(env, folder) == PROJECTS, 'and the restore brings it back')


class Moving:
    """Does what kubectl would be told, a command at a time; whichever it does not know ends the check."""

    def __init__(self, secrets, folder, names):
        self.secrets, self.folder, self.names, self.job = secrets, folder, names, None
        self.cluster = self.at('base')

    def at(self, name):
        return Cluster(render(name), self.secrets, os.path.join(self.folder, os.path.basename(name)), names=self.names)

    def applied(self, name):
        """A Job is started beside what runs; everything else is in place of it."""
        if name in JOBS:
            self.job = self.cluster.start(render(name).workload(name))
            return
        self.cluster.stop()
        self.cluster = self.at(name)
        started(self.cluster, {'gateway': 1, 'token-service': self.cluster.manifests.workload('token-service').spec['replicas']})

    def run(self, line):
        words = [word for word in shlex.split(line) if word not in ('-n', 'antigravity-gateway')][1:]
        match words:
            case ['scale', 'deployment', name, '--replicas=0']:
                for pod in self.cluster.of(name):
                    pod.delete().join()
            case ['wait', '--for=delete', 'pod', '-l', label, _]:
                key, value = label.split('=')
                left = [pod.name for pod in self.cluster.pods if pod.workload.labels.get(key) == value and pod.ended is None]
                check(any(workload.labels.get(key) == value for workload in self.cluster.manifests.workloads()) and not left, f'no token-service runs any more {left or ""}')
            case ['apply', '-k', path] if os.path.isdir(os.path.join(TOP, path)):
                self.applied(os.path.relpath(path, os.path.relpath(FOLDER, TOP)))
            case ['wait', '--for=condition=complete', job, timeout] if timeout.startswith('--timeout='):
                self.job.process.wait(60)
                check(self.job.process.returncode == 0 and f'job/{self.job.workload.name}' == job, f'{job} is complete')
            case ['logs', job]:
                print(f'     {job}: {self.job.text().strip().splitlines()[0]}')
            case ['rollout', 'status', 'deployment', name]:
                check(all(pod.ready for pod in self.cluster.of(name)), f'{len(self.cluster.of(name))} pods of {name} are ready')
            case _:
                raise SystemExit(f'{block("kubernetes-migrate")}: who does {line!r}?')


def moved_back(moving, folder):
    """The Job that the page shows brings the pool back to the volume, whose database is of before."""
    (shown,) = [block for block in blocks('docs/kubernetes.md') if 'kind: Kustomization' in block.text and '--start-over' in block.text]
    for pod in moving.cluster.of('token-service'):
        pod.delete().join()
    # The volume outlives what mounts it.
    claim = 'claim-token-service'
    os.symlink(os.path.join(folder, 'base', claim), os.path.join(moving.cluster.folder, claim))
    job = moving.cluster.start(render_text(shown.text, os.path.join(folder, 'back')).workload('migrate'))
    job.process.wait(60)
    check(job.process.returncode == 0 and 'Moved 3 projects' in job.text(), f'the Job has moved the pool back: {job.text().strip()[:200]}')
    moving.applied('base')
    (pod,) = moving.cluster.of('token-service')
    there = pod.execute(['antigravity-gateway', 'projects', 'list']).stdout.decode()
    check(all(project in there for project in PROJECTS), f'{pod.name} serves it from the volume again')


def moved(secrets, folder, names):
    """The pool of the base, on its volume, is moved to the database of the Secret, and served by three; then kept and brought back."""
    moving = Moving(secrets, folder, names)
    try:
        started(moving.cluster, {'gateway': 1})
        moving.applied('import')
        moving.job.process.wait(60)
        kept(moving.cluster, secrets, os.path.join(folder, 'kept-sqlite'))
        # Without the pool, PostgreSQL is served by nobody: each waits for the one before, also where people paste it.
        text = block('kubernetes-migrate').text.strip()
        commands = text[text.index('kubectl apply'):].split('\n')
        check(all(command.endswith(' &&') for command in commands[:-1]), f'whatever fails ends the move: {len(commands)} commands')
        for line in text.split('\n'):
            moving.run(line.strip().removesuffix(' &&'))
        check('Moved 3 projects' in moving.job.text(), 'the Job has moved what there was')
        for pod in moving.cluster.of('token-service'):
            there = pod.execute(['antigravity-gateway', 'projects', 'list']).stdout.decode()
            check(all(project in there for project in PROJECTS), f'{pod.name} serves it from PostgreSQL')
        kept(moving.cluster, secrets, os.path.join(folder, 'kept-postgres'))
        moved_back(moving, folder)
    finally:
        moving.cluster.stop()
