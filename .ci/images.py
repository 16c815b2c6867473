#!/usr/bin/env python3
"""Builds the images as `deploy/images` does, and looks into them: size, user, health check, what files there are, the
bills of materials; then builds them anew from nothing, and demands the same binaries.
"""
import hashlib, json, os, subprocess, tarfile, tempfile, time
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

TOP = os.path.realpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), '..'))
LIMIT = 40_000_000
# Format docker: the other one has no place for a health check.
ARGUMENTS = ['--network', 'host', '--format', 'docker']
# One file each; the token-service's name is a link in its image.
BINARIES = {'gateway': 'gateway', 'token-service': 'antigravity-gateway', 'antigravity-gateway': 'antigravity-gateway', 'fake-google': 'fake-google'}
# What has to be in the bill of materials of each, besides Debian's.
MATERIALS = {'gateway': {'axum', 'reqwest', 'tonic'}, 'token-service': {'libsqlite3-sys', 'tonic', 'clap'}, 'antigravity-gateway': {'libsqlite3-sys', 'axum'}, 'fake-google': {'hyper'}}


def podman(*args, **more):
    return subprocess.run(['podman', *args], check=True, capture_output=True, text=True, **more).stdout.strip()


def files(image):
    """Name → SHA-256 of each file in an image."""
    container = podman('create', image)
    try:
        with tempfile.TemporaryFile() as archive:
            subprocess.run(['podman', 'export', container], check=True, stdout=archive)
            archive.seek(0)
            with tarfile.open(fileobj=archive) as tar:
                return {member.name: hashlib.sha256(tar.extractfile(member).read()).hexdigest() for member in tar if member.isfile()}
    finally:
        podman('rm', container)


def look(target):
    image = f'antigravity-gateway/{target}'
    (inspected,) = json.loads(podman('image', 'inspect', image))
    config = inspected['Config']
    assert inspected['Size'] <= LIMIT, f'{image}: {inspected["Size"]} bytes'
    assert config['User'] == '65532:65532', config['User']
    health = (inspected.get('HealthCheck') or inspected.get('Healthcheck') or config.get('Healthcheck') or {}).get('Test')
    assert health and any('healthcheck' in word for word in health), inspected
    there = files(image)
    wanted = {f'bin/{BINARIES[target]}', 'etc/ssl/certs/ca-certificates.crt', 'etc/os-release', 'var/lib/dpkg/status.d/libc6', 'var/lib/dpkg/status.d/ca-certificates'}
    # podman's own, made when a container is.
    made = {name for name in there if name.split('/')[0] in ('dev', 'proc', 'sys', 'run')} | {'etc/hosts', 'etc/hostname', 'etc/resolv.conf', 'etc/mtab'}
    assert set(there) - made == wanted, set(there) ^ wanted
    version = podman('run', '--rm', '--network', 'none', '--read-only', '--cap-drop', 'all', image, '--version')
    assert version.startswith(target), version
    with open(os.path.join(TOP, 'target', 'images', f'{target}.cdx.json'), encoding='utf8') as file:
        text = file.read()
    bill = json.loads(text)
    wrong = JsonStrictValidator(getattr(SchemaVersion, 'V' + bill['specVersion'].replace('.', '_'))).validate_str(text)
    assert wrong is None, f'{target}: {wrong}'
    names = {component['name'] for component in bill['components']}
    assert MATERIALS[target] | {'libc6', 'ca-certificates'} <= names, names
    assert 'tmp' not in text.split('"dependencies"')[1][:20_000].replace('tempfile', ''), 'a path of this machine'
    assert bill['metadata']['component']['hashes'][0]['content'] == inspected['Id'].removeprefix('sha256:')
    print(f'ok   {image}: {inspected["Size"] / 1e6:.1f} MB, {", ".join(sorted(wanted & set(there)))[:60]}…, {len(names)} components, {version}', flush=True)
    return {name: digest for name, digest in there.items() if name.startswith('bin/')}


def main():
    began = time.monotonic()
    subprocess.run([os.path.join(TOP, 'deploy', 'images')], check=True, env={**os.environ, 'ENGINE': 'podman', 'BUILD_ARGUMENTS': ' '.join(ARGUMENTS)})
    print(f'built in {time.monotonic() - began:.0f} s', flush=True)
    first = {}
    for target in BINARIES:
        first.update({f'{target}:{name}': digest for name, digest in look(target).items()})

    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix='agw-images-') as folder:
        clone = os.path.join(folder, 'clone')
        subprocess.run(['git', 'clone', '-q', TOP, clone], check=True)
        # Cache mounts live below TMPDIR, so that this build has none of the other's.
        podman('build', '--no-cache', *ARGUMENTS, '--target', 'build', '-t', 'antigravity-gateway/again', clone, env={**os.environ, 'TMPDIR': folder})
    again = {name: digest for name, digest in files('antigravity-gateway/again').items() if name.startswith('out/bin/')}
    for name, digest in first.items():
        assert again[f'out/{name.split(":")[1]}'] == digest, f'{name} differs from build to build'
        print(f'ok   {name}: sha256 {digest[:16]}… in both builds')
    podman('rmi', 'antigravity-gateway/again')
    print(f'built again in {time.monotonic() - began:.0f} s')


if __name__ == '__main__':
    main()
