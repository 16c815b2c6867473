"""OpenAI's SDK for Python: a tool loop by hand and by stream, parse, vision, and hanging up."""
import asyncio, json, os

import openai
from pydantic import BaseModel

MODEL = os.environ['MODEL']
client = openai.OpenAI(base_url=os.environ['GATEWAY_URL'], api_key=os.environ['GATEWAY_KEY'], max_retries=0)
RESULTS = {'get_weather': 'sunny', 'get_time': 'Noon. Now call look_up.', 'look_up': 'nothing else'}
TOOLS = [{'type': 'function', 'function': {'name': name, 'parameters': {'type': 'object', 'properties': {'city': {'type': 'string'}}, 'required': ['city']}}} for name in RESULTS]
PIXEL = 'data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=='


def loop(ask):
    """Two questions with three steps and two; `ask` returns a message."""
    messages, steps = [], []
    for question in ('Call get_weather and get_time for "Berlin".', 'Again, call get_weather for "Paris".'):
        messages.append({'role': 'user', 'content': question})
        while (message := ask(messages)).tool_calls:
            # All that came, or as an SDK would keep it that drops what it does not know.
            calls = [call.to_dict() for call in message.tool_calls] if os.environ.get('EXTRA_CONTENT') else [{'id': call.id, 'type': 'function', 'function': {'name': call.function.name, 'arguments': call.function.arguments}} for call in message.tool_calls]
            steps.append([call['function']['name'] for call in calls])
            assert all(json.loads(call['function']['arguments'])['city'] for call in calls), calls
            messages.append({'role': 'assistant', 'content': message.content, 'tool_calls': calls})
            messages += [{'role': 'tool', 'tool_call_id': call['id'], 'content': RESULTS[call['function']['name']]} for call in calls]
        assert 'found' in message.content, message
        messages.append({'role': 'assistant', 'content': message.content})
    assert steps == [['get_weather', 'get_time'], ['look_up'], ['get_weather']], steps


def whole(messages):
    return client.chat.completions.create(model=MODEL, messages=messages, tools=TOOLS).choices[0].message


def streamed(messages):
    with client.chat.completions.stream(model=MODEL, messages=messages, tools=TOOLS, stream_options={'include_usage': True}) as stream:
        for _ in stream:
            pass
        answer = stream.get_final_completion()
    assert answer.usage.total_tokens > 0, answer
    return answer.choices[0].message


class Recipe(BaseModel):
    name: str
    minutes: int
    steps: list[str]


async def hang_up():
    async with openai.AsyncOpenAI(base_url=os.environ['GATEWAY_URL'], api_key=os.environ['GATEWAY_KEY'], max_retries=0) as many:
        stream = await many.chat.completions.create(model=MODEL, messages=[{'role': 'user', 'content': 'one two three ' * 50}], stream=True)
        async for _ in stream:
            break
        await stream.close()
        answer = await many.chat.completions.create(model=MODEL, messages=[{'role': 'user', 'content': 'Still there?'}])
        assert 'Still there?' in answer.choices[0].message.content


loop(whole)
loop(streamed)
recipe = client.chat.completions.parse(model=MODEL, messages=[{'role': 'user', 'content': 'Soup in 20 minutes'}], response_format=Recipe).choices[0].message.parsed
assert recipe.minutes == 20 and recipe.steps, recipe
look = [{'type': 'text', 'text': 'What is this?'}, {'type': 'image_url', 'image_url': {'url': PIXEL}}]
seen = client.chat.completions.create(model=MODEL, messages=[{'role': 'user', 'content': look}]).choices[0].message.content
assert 'sent 1 file' in seen, seen
strict = openai.pydantic_function_tool(Recipe, name='keep_recipe')
called = client.chat.completions.parse(model=MODEL, messages=[{'role': 'user', 'content': 'Use keep_recipe for "Soup", 30 minutes'}], tools=[strict], tool_choice='required')
kept = called.choices[0].message.tool_calls[0]
assert kept.function.parsed_arguments == Recipe(name='Soup', minutes=30, steps=['Soup']), kept
back = [{'role': 'user', 'content': 'Use keep_recipe'}, called.choices[0].message, {'role': 'tool', 'tool_call_id': kept.id, 'content': 'kept'}]
assert 'kept' in client.chat.completions.create(model=MODEL, messages=back, tools=[strict]).choices[0].message.content
asyncio.run(hang_up())
print('openai for Python', openai.__version__)
