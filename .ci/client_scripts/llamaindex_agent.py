"""LlamaIndex: an agent with tools, whole and streamed, and structured output."""
import asyncio, importlib.metadata, os

from llama_index.core.agent.workflow import AgentStream, FunctionAgent
from llama_index.core.workflow import Context
from llama_index.llms.openai_like import OpenAILike
from pydantic import BaseModel

steps = []


def get_weather(city: str) -> str:
    """The weather."""
    steps.append('get_weather')
    return 'sunny'


def get_time(city: str) -> str:
    """The time."""
    steps.append('get_time')
    return 'Noon. Now call look_up.'


def look_up(city: str) -> str:
    """More."""
    steps.append('look_up')
    return 'nothing else'


class Recipe(BaseModel):
    """A recipe."""
    name: str
    minutes: int


async def main():
    llm = OpenAILike(model=os.environ['MODEL'], api_base=os.environ['GATEWAY_URL'], api_key=os.environ['GATEWAY_KEY'],
                     is_chat_model=True, is_function_calling_model=True, should_use_structured_outputs=True, max_retries=0)
    for streaming in (False, True):
        agent = FunctionAgent(tools=[get_weather, get_time, look_up], llm=llm, streaming=streaming)
        # One context is one conversation.
        context, pieces = Context(agent), []
        for question in ('Call get_weather and get_time for "Berlin".', 'Again, call get_weather for "Paris".'):
            running = agent.run(question, ctx=context)
            async for event in running.stream_events():
                if isinstance(event, AgentStream):
                    pieces.append(event.delta)
            answer = await running
            assert 'found' in str(answer), answer
        assert not streaming or len(pieces) > 4, pieces
    assert len(steps) == 8 and steps.count('look_up') == 2, steps
    made = llm.as_structured_llm(Recipe).complete('"Soup" in 20 minutes').raw
    assert made == Recipe(name='Soup', minutes=20), made
    text = ''.join([piece.delta async for piece in await llm.astream_complete('Hello there')])
    assert 'Hello there' in text, text


asyncio.run(main())
print('LlamaIndex', importlib.metadata.version('llama-index-core'))
