#!/usr/bin/env python3
"""The official OpenAI SDK against the real processes and an offline Google: whole answers, streams, a tool loop
on a model that demands its signatures, models, and errors as the SDK types them.
"""
import openai
from stack import API_KEY, Stack, free_port


def main():
    with Stack() as stack:
        port = free_port()
        google = stack.start('fake-google', ['--listen', f'127.0.0.1:{port}', '--projects', '3', '--tokens-out', 'tokens.json'])
        google.wait_for(str(port))
        base = f'http://127.0.0.1:{port}'
        tokens = stack.token_service(TOKENS_FILE='tokens.json')
        gateways = [stack.gateway(tokens.address, ANTIGRAVITY_BASE_URLS=base) for _ in range(2)]
        clients = [openai.OpenAI(base_url=f'http://{gateway.address}/v1', api_key=API_KEY, max_retries=0) for gateway in gateways]
        one, other = clients
        ask = {'model': 'gemini-3-flash', 'messages': [{'role': 'user', 'content': 'Hello there'}]}
        whole = one.chat.completions.create(**ask)
        assert 'Hello there' in whole.choices[0].message.content and whole.usage.total_tokens > 0, whole
        chunks = list(one.chat.completions.create(**ask, stream=True, stream_options={'include_usage': True}))
        text = ''.join(chunk.choices[0].delta.content or '' for chunk in chunks if chunk.choices)
        assert 'Hello there' in text and chunks[-1].usage.total_tokens > 0, text
        assert any(model.id == 'gemini-3-flash' for model in one.models.list()), 'models'

        tools = [{'type': 'function', 'function': {'name': 'get_weather', 'parameters': {'type': 'object', 'properties': {'city': {'type': 'string'}}, 'required': ['city']}}}]
        messages = [{'role': 'user', 'content': 'Call get_weather for Berlin'}]
        for turn in range(4):
            client = clients[turn % 2]
            answer = client.chat.completions.create(model='gemini-3-flash', messages=messages, tools=tools).choices[0]
            if turn < 3 and turn % 2 == 0:
                assert answer.finish_reason == 'tool_calls', answer
                # What an SDK keeps that drops fields it does not know.
                calls = [{'id': call.id, 'type': 'function', 'function': {'name': call.function.name, 'arguments': call.function.arguments}} for call in answer.message.tool_calls]
                messages.append({'role': 'assistant', 'tool_calls': calls})
                messages += [{'role': 'tool', 'tool_call_id': call['id'], 'content': 'sunny'} for call in calls]
            else:
                assert answer.finish_reason == 'stop', answer
                messages += [{'role': 'assistant', 'content': answer.message.content}, {'role': 'user', 'content': 'Again: call get_weather'}]

        for wrong, kind in (({'api_key': 'sk-wrong'}, openai.AuthenticationError), ({}, openai.NotFoundError)):
            client = one.with_options(**wrong) if wrong else one
            try:
                client.chat.completions.create(model='gemini-nope', messages=ask['messages'])
                raise SystemExit(f'no {kind.__name__}')
            except kind as error:
                assert error.code in ('invalid_api_key', 'model_not_found'), error
        try:
            one.chat.completions.create(model='gemini-3-flash', messages=[])
            raise SystemExit('an empty conversation was answered')
        except openai.BadRequestError as error:
            assert error.param == 'messages', error
        print('openai SDK', openai.__version__, 'is content')


if __name__ == '__main__':
    main()
