"""LiteLLM as a client: a tool loop, whole and streamed, that sends back the messages as LiteLLM keeps them."""
import importlib.metadata, json, os

import litellm

TO = {'model': f"openai/{os.environ['MODEL']}", 'api_base': os.environ['GATEWAY_URL'], 'api_key': os.environ['GATEWAY_KEY'], 'num_retries': 0}
RESULTS = {'get_weather': 'sunny', 'get_time': 'Noon. Now call look_up.', 'look_up': 'nothing else'}
TOOLS = [{'type': 'function', 'function': {'name': name, 'parameters': {'type': 'object', 'properties': {'city': {'type': 'string'}}, 'required': ['city']}}} for name in RESULTS]


def whole(messages):
    return litellm.completion(**TO, messages=messages, tools=TOOLS).choices[0].message


def streamed(messages):
    pieces = list(litellm.completion(**TO, messages=messages, tools=TOOLS, stream=True))
    return litellm.stream_chunk_builder(pieces, messages=messages).choices[0].message


for ask in (whole, streamed):
    messages, steps = [], []
    for question in ('Call get_weather and get_time for "Berlin".', 'Again, call get_weather for "Paris".'):
        messages.append({'role': 'user', 'content': question})
        while (message := ask(messages)).tool_calls:
            steps.append([call.function.name for call in message.tool_calls])
            assert all(json.loads(call.function.arguments)['city'] for call in message.tool_calls), message
            messages.append(message.model_dump())
            messages += [{'role': 'tool', 'tool_call_id': call.id, 'content': RESULTS[call.function.name]} for call in message.tool_calls]
        assert 'found' in message.content, message
        messages.append(message.model_dump())
    assert steps == [['get_weather', 'get_time'], ['look_up'], ['get_weather']], steps
print('LiteLLM', importlib.metadata.version('litellm'))
