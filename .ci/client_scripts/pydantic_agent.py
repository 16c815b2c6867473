"""pydantic-ai: an agent with tools, whole and streamed, and structured output by schema and by tool."""
import asyncio, os

import pydantic_ai
from pydantic import BaseModel
from pydantic_ai import Agent, NativeOutput, ToolOutput
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

model = OpenAIChatModel(os.environ['MODEL'], provider=OpenAIProvider(base_url=os.environ['GATEWAY_URL'], api_key=os.environ['GATEWAY_KEY']))
steps = []
agent = Agent(model, instructions='Be brief.')


@agent.tool_plain
def get_weather(city: str) -> str:
    """The weather."""
    steps.append('get_weather')
    return 'sunny'


@agent.tool_plain
def get_time(city: str) -> str:
    """The time."""
    steps.append('get_time')
    return 'Noon. Now call look_up.'


@agent.tool_plain
def look_up(city: str) -> str:
    """More."""
    steps.append('look_up')
    return 'nothing else'


class Recipe(BaseModel):
    setup: str
    minutes: int


async def main():
    first = await agent.run('Call get_weather and get_time for "Berlin".')
    assert 'found' in first.output, first
    second = await agent.run('Again, call get_weather for "Paris".', message_history=first.all_messages())
    assert 'found' in second.output, second
    async with agent.run_stream('Call get_weather and get_time for "Berlin".') as stream:
        text = [piece async for piece in stream.stream_text(delta=True, debounce_by=None)]
        history = stream.all_messages()
    assert 'found' in ''.join(text) and len(text) > 1, text
    async with agent.run_stream('Again, call get_weather for "Paris".', message_history=history) as stream:
        assert 'found' in await stream.get_output()
    # Tools of one step run side by side.
    assert sorted(steps[:2]) == ['get_time', 'get_weather'] and steps[2:4] == ['look_up', 'get_weather'] and len(steps) == 8, steps
    made = (await Agent(model, output_type=NativeOutput(Recipe)).run('"Soup" in 20 minutes')).output
    assert made == Recipe(setup='Soup', minutes=20), made
    # The tool of an output is a call whose answer is the end; the agent goes on from there.
    made = await Agent(model, output_type=ToolOutput(Recipe)).run('"Soup" in 20 minutes')
    assert made.output == Recipe(setup='Soup', minutes=20), made
    assert 'Thanks' in (await agent.run('Thanks', message_history=made.all_messages())).output


asyncio.run(main())
print('pydantic-ai', pydantic_ai.__version__)
