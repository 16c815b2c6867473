#!/usr/bin/env python3
"""Plays the recorded Gemini answers to the real services and compares what their client is told.

  replay.py SHARED [--upstream antigravity,gemini,vertex] [--sample N] [--full]

Exit status 0: no failure of any class, and every request that went upstream is one that Google would take. Among the
recorded requests are some that name files on the internet, which a gateway that fetches nothing refuses: where they are
played, failures of class D are shown and do not count.
"""
import argparse, os, subprocess, sys
from stack import API_KEY, Stack, free_port

# (modes, extra arguments, the classes that count); each run has services of its own, since an error may rest the only project.
# Broken connections are tried twice: with one project the pauses between more tries would be all of the time.
RUNS = [
    ('stream,unary', ['--split', 'random'], 'WSD'),
    ('stream,unary', ['--split', 'byte', '--newline', 'lf'], 'WSD'),
    ('stream,unary', ['--split', 'random', '--real-requests'], 'WS'),
    ('cut,end,fin,unary-cut,unary-end', ['--split', 'whole'], 'WSD'),
    ('live', ['--split', 'event'], 'WSD'),
]


def run(shared, upstream, modes, extra, sample, fail_on):
    replay, fixtures = os.path.join(shared, 'replay'), os.path.join(shared, 'fixtures')
    with Stack() as stack:
        port = free_port()
        log = os.path.join(stack.folder, 'requests.jsonl')
        google = stack.start('replay-upstream', [os.path.join(replay, 'replay_upstream.py'), '--cases', fixtures, '--port', str(port), '--log', log], binary=sys.executable)
        google.wait_for('cases on http')
        base = f'http://127.0.0.1:{port}'
        projects = [{'project_id': 'replay-project', 'refresh_token': '1//replay', 'access_token': None, 'expires_at': None, 'upstream': upstream}]
        tokens = stack.token_service(TOKENS_FILE=stack.tokens_file(projects, f'{base}/token'))
        gateway = stack.gateway(tokens.address, ANTIGRAVITY_BASE_URLS=base, GEMINI_BASE_URL=base, VERTEX_BASE_URL=base, MAX_ATTEMPTS='2' if 'cut' in modes else '6')
        args = [sys.executable, os.path.join(replay, 'run_replay.py'), '--base-url', f'http://{gateway.address}/v1', '--api-key', API_KEY, '--cases', fixtures,
                '--upstream', base, '--mode', modes, '--fail-on', fail_on, '--tsv', os.environ.get('REPLAY_TSV', os.path.join(stack.folder, 'out.tsv')), *extra]
        if sample:
            args += ['--sample', str(sample)]
        if 'live' in modes:
            args += ['--jobs', '16']
        print(f'\n=== {upstream}: {modes} {" ".join(extra)} ===', flush=True)
        failed = subprocess.run(args).returncode
        checked = subprocess.run([sys.executable, os.path.join(replay, 'check_requests.py'), log]).returncode
        alive = gateway.process.poll() is None and tokens.process.poll() is None
        if not alive:
            print('a service died:\n' + gateway.text()[-2000:] + tokens.text()[-2000:])
        return failed or checked or not alive


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('shared')
    parser.add_argument('--upstream', default='antigravity,gemini,vertex')
    parser.add_argument('--sample', type=int)
    parser.add_argument('--runs', help='numbers of the runs, from 0')
    args = parser.parse_args()
    runs = [RUNS[int(n)] for n in args.runs.split(',')] if args.runs else RUNS
    failed = [f'{upstream} {modes} {extra}' for upstream in args.upstream.split(',') for modes, extra, fail_on in runs
              if run(os.path.abspath(args.shared), upstream, modes, extra, args.sample, fail_on)]
    for name in failed:
        print('FAILED:', name)
    sys.exit(bool(failed))


if __name__ == '__main__':
    main()
