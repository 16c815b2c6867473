#!/usr/bin/env python3
"""Traces of the real processes at a stand-in of a collector, which is made from OpenTelemetry's published protocol
(PyPI: opentelemetry-proto) and keeps what it is sent: over gRPC and over HTTP, with a retry, a stream, an error and a
client that hangs up. Then a collector that hangs, and a request log whose disk is full.
"""
import concurrent.futures, http.client, http.server, json, os, re, socket, subprocess, sys, threading, time

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as messages, trace_service_pb2_grpc as service
from stack import API_KEY, Stack, check, control, failed, free_port, post

BODY = {'model': 'gemini-2.5-flash', 'messages': [{'role': 'user', 'content': 'hi'}]}
CLIENT = '00f067aa0ba902b7'
KEY = 'planted-collector-key'
ACQUIRE = 'antigravity.token.v1.TokenService/AcquireTokens'


class Collector:
    """Takes spans in both ways."""

    def __init__(self):
        self.spans, self.keys, self.bytes = [], set(), 0
        collector = self

        class Servicer(service.TraceServiceServicer):
            def Export(self, request, context):
                collector.take(request, dict(context.invocation_metadata()).get('x-key'))
                return messages.ExportTraceServiceResponse()

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = 'HTTP/1.1'

            def do_POST(self):
                body = self.rfile.read(int(self.headers['Content-Length']))
                if self.path == '/v1/traces' and self.headers['Content-Type'] == 'application/x-protobuf':
                    collector.take(messages.ExportTraceServiceRequest.FromString(body), self.headers['x-key'])
                self.send_response(200)
                self.send_header('Content-Length', '0')
                self.end_headers()

            def log_message(self, *_):
                pass

        self.grpc = grpc.server(concurrent.futures.ThreadPoolExecutor(4))
        service.add_TraceServiceServicer_to_server(Servicer(), self.grpc)
        self.grpc_port = self.grpc.add_insecure_port('127.0.0.1:0')
        self.grpc.start()
        self.http = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
        self.http.daemon_threads = True
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def take(self, request, key):
        self.keys.add(key)
        self.bytes += request.ByteSize()
        for resource in request.resource_spans:
            name = next(a.value.string_value for a in resource.resource.attributes if a.key == 'service.name')
            self.spans.extend((name, span) for scope in resource.scope_spans for span in scope.spans)

    def env(self, protocol):
        port = self.grpc_port if protocol == 'grpc' else self.http.server_port
        return {'OTEL_EXPORTER_OTLP_ENDPOINT': f'http://127.0.0.1:{port}', 'OTEL_EXPORTER_OTLP_PROTOCOL': protocol, 'OTEL_EXPORTER_OTLP_HEADERS': f'x-key={KEY}'}

    def trace(self, trace_id, seconds=10):
        """The spans of a trace, when they are whole and no more come."""
        end, before = time.monotonic() + seconds, 0
        while time.monotonic() < end:
            spans = [(name, span) for name, span in list(self.spans) if span.trace_id.hex() == trace_id]
            ids = {span.span_id.hex() for _, span in spans} | {CLIENT}
            if spans and len(spans) == before and all(span.parent_span_id.hex() in ids for _, span in spans):
                return spans
            before = len(spans)
            time.sleep(1.2)
        raise SystemExit(f'the trace {trace_id} does not get whole: {[span.name for _, span in spans]}')


def attribute(span, name):
    for found in span.attributes:
        if found.key == name:
            return getattr(found.value, found.value.WhichOneof('value'))
    return None


def ms(span):
    return (span.end_time_unix_nano - span.start_time_unix_nano) / 1e6


def nested(spans):
    by_id = {span.span_id: span for _, span in spans}
    pairs = [(span, by_id[span.parent_span_id]) for _, span in spans if span.parent_span_id in by_id]
    slack = 1_000_000
    return [(child.name, parent.name) for child, parent in pairs
            if child.start_time_unix_nano + slack < parent.start_time_unix_nano or child.end_time_unix_nano > parent.end_time_unix_nano + slack]


def named(spans, service_name, start):
    found = [span for name, span in spans if name == service_name and span.name.startswith(start)]
    return sorted(found, key=lambda span: span.start_time_unix_nano)


def google(stack, projects=3):
    port = free_port()
    process = stack.start('fake-google', ['--listen', f'127.0.0.1:{port}', '--projects', str(projects)])
    process.wait_for(str(port))
    base = f'http://127.0.0.1:{port}'
    entries = [{'project_id': f'fake-project-{n}', 'refresh_token': f'1//fake-refresh-token-{n}', 'access_token': None, 'expires_at': None} for n in range(1, projects + 1)]
    return base, stack.tokens_file(entries, f'{base}/token', client=('fake-client.apps.googleusercontent.com', 'fake-client-secret'))


def fault(base, action):
    control(base, 'faults', {'matcher': {}, 'times': 1, 'action': action})


def whole(protocol):
    collector = Collector()
    with Stack() as stack:
        base, file = google(stack)
        env = {**collector.env(protocol), 'ANTIGRAVITY_BASE_URLS': base}
        tokens = stack.token_service(TOKENS_FILE=file, **env)
        gateway = stack.gateway(tokens.address, **env)
        url = f'http://{gateway.address}/v1/chat/completions'
        number = iter(range(1, 100))

        def ask(body, *actions):
            trace = f'4bf92f3577b34da6a3ce929d0e0e47{next(number):02x}'
            for action in actions:
                fault(base, action)
            status, _, _ = post(url, body, headers={'traceparent': f'00-{trace}-{CLIENT}-01', 'tracestate': 'vendor=theirs'})
            spans = collector.trace(trace)
            check(not nested(spans), f'{protocol}: {len(spans)} spans lie within their parents {nested(spans)}')
            return status, spans, named(spans, 'antigravity-gateway', 'POST ')[0], named(spans, 'antigravity-gateway', 'chat ')

        status, spans, request, attempts = ask(BODY, {'kind': 'delay', 'before_headers_ms': 300})
        asked, answered = named(spans, 'antigravity-gateway', ACQUIRE), named(spans, 'antigravity-token-service', ACQUIRE)
        check(status == 200 and request.parent_span_id.hex() == CLIENT and request.trace_state == 'vendor=theirs', f'{protocol}: a request is in its client\'s trace')
        check(len(asked) == 1 and [span.parent_span_id for span in answered] == [asked[0].span_id], f'{protocol}: the trace goes on through gRPC')
        check(len(attempts) == 1 and 300 <= ms(attempts[0]) < 1500 and ms(request) >= ms(attempts[0]), f'{protocol}: an answer that took 300 ms is told as {ms(attempts[0]):.0f}')
        check(attribute(attempts[0], 'gen_ai.usage.input_tokens') and attribute(attempts[0], 'gen_ai.provider.name') == 'gcp.gen_ai', f'{protocol}: with GenAI attributes')

        status, spans, request, attempts = ask(BODY, {'kind': 'error', 'error': 'rate_limited'}, {'kind': 'delay', 'before_headers_ms': 100})
        check(status == 200 and [attribute(span, 'error.type') for span in attempts] == ['rate_limited', None], f'{protocol}: a retry is a span of its own')
        check([attribute(span, 'http.request.resend_count') for span in attempts] == [None, 1], f'{protocol}: with its number')

        status, spans, request, attempts = ask({**BODY, 'stream': True}, {'kind': 'delay', 'before_headers_ms': 100, 'between_events_ms': 100})
        first = attribute(attempts[0], 'gen_ai.response.time_to_first_chunk')
        check(0.1 <= first < 1 and ms(attempts[0]) > first * 1000 + 50, f'{protocol}: a stream took {ms(attempts[0]):.0f} ms, its first chunk {first * 1000:.0f}')

        status, spans, request, attempts = ask({'model': 'x'})
        check(status == 400 and not attempts and attribute(request, 'http.response.status_code') == 400 and request.status.code != 2, f'{protocol}: an error of the client\'s')

        trace = 'a' * 32
        fault(base, {'kind': 'stall', 'after_events': 1})
        connection = http.client.HTTPConnection(gateway.address, timeout=10)
        connection.request('POST', '/v1/chat/completions', json.dumps({**BODY, 'stream': True}), {'Authorization': f'Bearer {API_KEY}', 'traceparent': f'00-{trace}-{CLIENT}-01'})
        answer = connection.getresponse()
        answer.readline()
        time.sleep(0.3)
        answer.close()
        connection.close()
        spans = collector.trace(trace)
        check(not nested(spans) and attribute(named(spans, 'antigravity-gateway', 'POST ')[0], 'antigravity.cancelled'), f'{protocol}: a client that hung up')

        check(all(f'"trace_id":"{trace}"' in line for line in gateway.text().splitlines() if '"outcome":"cancelled"' in line), f'{protocol}: log lines name their traces')
        gateway.stop()
        tokens.stop()
        reports = [(name, span) for name, span in collector.spans if span.name.endswith('ReportOutcomes')]
        check({name for name, _ in reports} == {'antigravity-gateway', 'antigravity-token-service'}, f'{protocol}: what is left is sent at the end')
        check(collector.keys == {KEY}, f'{protocol}: the collector gets its key')
        text = repr(collector.spans).encode() + (gateway.text() + tokens.text()).encode()
        check(not any(secret in text for secret in (KEY.encode(), API_KEY.encode(), b'ya29.', b'1//')), f'{protocol}: {collector.bytes} bytes of spans hold no secret')


def hanging():
    """A collector that takes connections and says nothing."""
    with Stack() as stack, socket.socket() as silent:
        silent.bind(('127.0.0.1', 0))
        silent.listen(64)
        base, file = google(stack)
        env = {'OTEL_EXPORTER_OTLP_ENDPOINT': f'http://127.0.0.1:{silent.getsockname()[1]}', 'ANTIGRAVITY_BASE_URLS': base}
        tokens = stack.token_service(TOKENS_FILE=file, **env)
        gateway = stack.gateway(tokens.address, **env)
        url = f'http://{gateway.address}/v1/chat/completions'
        post(url, BODY)
        began = time.monotonic()
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            statuses = list(pool.map(lambda _: post(url, BODY)[0], range(2000)))
        took = time.monotonic() - began
        check(set(statuses) == {200}, f'the collector hangs: 2000 requests are served, in {took:.1f} s')
        time.sleep(1)
        began = time.monotonic()
        gateway.stop()
        took = time.monotonic() - began
        check(took < 4, f'the end waits {took:.1f} s for it')
        told = re.findall(r'"lost":(\d+)', gateway.text())
        lines = gateway.text().count('do not get to the collector')
        check(told and int(told[-1]) > 2000 and lines <= 2, f'what is lost is told: {told} in {lines} lines')


def full_disk():
    folder = '/tmp/agw-request-log-disk'
    os.makedirs(folder, exist_ok=True)
    subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', folder], check=True)
    try:
        with Stack() as stack:
            base, file = google(stack)
            tokens = stack.token_service(TOKENS_FILE=file, ANTIGRAVITY_BASE_URLS=base)
            gateway = stack.gateway(tokens.address, ANTIGRAVITY_BASE_URLS=base, REQUEST_LOG=f'{folder}/log')
            url = f'http://{gateway.address}/v1/chat/completions'
            post(url, BODY)
            filler = os.open(f'{folder}/filler', os.O_CREAT | os.O_WRONLY)
            try:
                while True:
                    os.write(filler, b'x' * 4096)
            except OSError:
                os.close(filler)
            statuses = {post(url, BODY)[0] for _ in range(40)}
            time.sleep(1.2)
            statuses |= {post(url, BODY)[0] for _ in range(40)}
            said = gateway.text().count('the request log cannot be written')
            check(statuses == {200} and said == 1, f'a full disk stops nobody ({statuses}) and is told {said} time(s)')
            os.remove(f'{folder}/filler')
            time.sleep(1.2)
            post(url, BODY)
            gateway.wait_for('the request log is written again', 10)
            gateway.stop()
            log = ''.join(open(os.path.join(folder, 'log', name), encoding='utf8').read() for name in sorted(os.listdir(f'{folder}/log')))
            lines = [json.loads(line) for line in log.splitlines()]
            check(log.endswith('\n') and 2 <= len(lines) < 82, f'and with room again it goes on: {len(lines)} lines, each whole')
    finally:
        subprocess.run(['umount', '-l', folder], check=False)


def main():
    for part in (lambda: whole('grpc'), lambda: whole('http/protobuf'), hanging, full_disk):
        part()
    sys.exit(bool(failed))


if __name__ == '__main__':
    main()
