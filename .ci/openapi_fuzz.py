#!/usr/bin/env python3
"""Schemathesis on the chat endpoint, with OpenAI's published schema: no 5xx, no hang, every refusal in OpenAI's words,
every answer of OpenAI's shape.

    openapi_fuzz.py SCHEMA [--count N] [--seconds S] [--upstream U]

SCHEMA is OpenAI's published OpenAPI document, or the part of it that has components.schemas. `st` is looked for beside
the Python that runs this. Not named after the package, which it would stand in front of.
"""
import argparse, json, os, subprocess, sys, urllib.request

from stack import API_KEY, Stack, clean_env, free_port, post

# Where requests are as likely to be answered as refused.
MODELS = ['gemini-3.1-flash-lite', 'gemini-2.5-flash', 'gemini-2.5-pro', 'gemini-3.1-flash-image', 'claude-sonnet-4-6', 'gpt-oss-120b-medium']
ERROR = {
    'type': 'object', 'required': ['error'], 'additionalProperties': False,
    'properties': {'error': {
        'type': 'object', 'required': ['message', 'type', 'param', 'code'],
        'properties': {'message': {'type': 'string', 'minLength': 1}, 'type': {'type': 'string', 'minLength': 1},
                       'param': {'type': ['string', 'null']}, 'code': {'type': ['string', 'null']}},
    }},
}

# An event as Schemathesis reads it.
EVENT = {'type': 'object', 'required': ['data'], 'properties': {'data': {'type': 'string', 'pattern': r'^(\{.*\}|\[DONE\])$'}}}


def needed(schemas, name, found):
    """The schemas that one refers to, itself included."""
    if name in found:
        return found
    found[name] = schemas[name]
    text = json.dumps(schemas[name])
    for part in text.split('"#/components/schemas/')[1:]:
        needed(schemas, part.split('"')[0], found)
    return found


def document(published):
    """The chat endpoint alone."""
    schemas = published['components']['schemas']
    found = needed(schemas, 'CreateChatCompletionRequest', needed(schemas, 'CreateChatCompletionResponse', {}))
    reference = lambda name: {'$ref': f'#/components/schemas/{name}'}
    request = {'allOf': [reference('CreateChatCompletionRequest'), {'type': 'object', 'properties': {'model': {'enum': MODELS}}}]}
    answers = {'application/json': {'schema': reference('CreateChatCompletionResponse')}, 'text/event-stream': {'schema': EVENT}}
    error = {'description': 'Refused', 'content': {'application/json': {'schema': ERROR}}}
    operation = {
        'operationId': 'chat',
        'requestBody': {'required': True, 'content': {'application/json': {'schema': request}}},
        'responses': {'200': {'description': 'Answered', 'content': answers}, '4XX': error},
    }
    return {'openapi': '3.1.0', 'info': {'title': 'chat', 'version': '1'}, 'paths': {'/chat/completions': {'post': operation}}, 'components': {'schemas': found}}


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument('schema')
    options.add_argument('--count', type=int, default=200, help='examples of the fuzzing phase')
    options.add_argument('--seconds', type=int, default=60, help='when to stop in any case')
    options.add_argument('--seed', type=int, default=4)
    options.add_argument('--upstream', choices=['antigravity', 'gemini', 'vertex'], default='antigravity')
    options = options.parse_args()
    with open(options.schema, encoding='utf8') as file:
        made = document(json.load(file))
    with Stack() as stack:
        port = free_port()
        stack.start('fake-google', ['--listen', f'127.0.0.1:{port}', '--tokens-out', 'tokens.json']).wait_for(str(port))
        tokens = stack.token_service(TOKENS_FILE='tokens.json', DEFAULT_UPSTREAM=options.upstream)
        base = f'http://127.0.0.1:{port}'
        gateway = stack.gateway(tokens.address, ANTIGRAVITY_BASE_URLS=base, GEMINI_BASE_URL=base, VERTEX_BASE_URL=base)
        path = os.path.join(stack.folder, 'openapi.json')
        with open(path, 'w', encoding='utf8') as file:
            json.dump(made, file)
        checks = 'not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance'
        ran = subprocess.run([
            os.path.join(os.path.dirname(sys.executable), 'st'), 'run', path, '--url', f'http://{gateway.address}/v1',
            '--header', f'Authorization: Bearer {API_KEY}', '--checks', checks, '--phases', 'coverage,fuzzing', '--mode', 'all',
            '--max-examples', str(options.count), '--max-time', str(options.seconds), '--seed', str(options.seed),
            '--request-timeout', '20', '--continue-on-failure', '--suppress-health-check', 'all', '--generation-database', 'none', '--no-color',
        ], cwd=stack.folder, env=clean_env(), timeout=options.seconds * 3 + 120)
        assert 'panicked' not in gateway.text(), gateway.text()[-3000:]
        status, _, body = post(f'http://{gateway.address}/v1/chat/completions', {'model': MODELS[0], 'messages': [{'role': 'user', 'content': 'Still there?'}]})
        assert status == 200, body
        with urllib.request.urlopen(f'{base}/__fake/counters', timeout=30) as answer:
            statuses = json.load(answer)['statuses']
        print('what Google answered, by status:', statuses)
        assert statuses['200'] > 50, 'next to nothing came as far as Google'
        sys.exit(ran.returncode)


if __name__ == '__main__':
    main()
