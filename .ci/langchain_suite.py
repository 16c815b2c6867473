#!/usr/bin/env python3
"""LangChain's own suite for chat models, with ChatOpenAI against gateway and an offline Google.

Run as a program it starts the processes and has pytest collect this very file. Not named after the package, which
it would stand in front of.
"""
import argparse, base64, os, sys, types, zlib

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langchain_openai import ChatOpenAI
from langchain_tests.integration_tests import ChatModelIntegrationTests, chat_models

PDF = b'%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n2 0 obj<</Type/Pages/Kids[]/Count 0>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n'
WAV = b'RIFF' + (36 + 8).to_bytes(4, 'little') + b'WAVEfmt ' + bytes.fromhex('100000000100010040 1f0000803e0000 0200 1000'.replace(' ', '')) + b'data' + (8).to_bytes(4, 'little') + bytes(8)


def chunk(kind, data):
    return len(data).to_bytes(4, 'big') + kind + data + zlib.crc32(kind + data).to_bytes(4, 'big')


PNG = b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', bytes([0, 0, 0, 1, 0, 0, 0, 1, 8, 0, 0, 0, 0])) + chunk(b'IDAT', zlib.compress(b'\0\0')) + chunk(b'IEND', b'')


@pytest.fixture(autouse=True)
def media_without_a_network(monkeypatch):
    """The suite's pictures, papers and birds come from the internet; ours do not."""
    def get(url, **_):
        kinds = {'.png': PNG, '.pdf': PDF, '.wav': WAV}
        return types.SimpleNamespace(content=next(data for end, data in kinds.items() if url.endswith(end)))
    monkeypatch.setattr(chat_models, 'httpx', types.SimpleNamespace(get=get))


class Suite(ChatModelIntegrationTests):
    """Every capability but pictures by address, which the gateway fetches only from public addresses."""
    name, other, structured, extra = 'gemini-3.1-flash-lite', 'gemini-2.5-flash', 'json_schema', {'stream_usage': True}

    @property
    def chat_model_class(self):
        return ChatOpenAI

    @property
    def chat_model_params(self):
        return {'model': self.name, 'base_url': os.environ['GATEWAY_URL'], 'api_key': os.environ['GATEWAY_KEY'],
                'use_responses_api': False, 'max_retries': 0, **self.extra}

    @property
    def structured_output_kwargs(self):
        return {'method': self.structured}

    @property
    def model_override_value(self):
        return self.other

    has_tool_calling = has_tool_choice = has_structured_output = supports_json_mode = property(lambda self: True)
    supports_image_inputs = supports_image_tool_message = supports_anthropic_inputs = property(lambda self: True)
    supports_pdf_inputs = supports_pdf_tool_message = supports_audio_inputs = property(lambda self: True)
    supports_model_override = returns_usage_metadata = property(lambda self: True)


class TestGemini3(Suite):
    """On the model that demands its thought signatures; with all that usage can tell."""

    @property
    def supported_usage_metadata_details(self):
        return {'invoke': ['reasoning_output', 'cache_read_input', 'audio_output'], 'stream': ['reasoning_output', 'cache_read_input']}

    def ask(self, stream, **params):
        model = ChatOpenAI(**{**self.chat_model_params, **params})
        if not stream:
            return model.invoke([HumanMessage('Hello there')])
        pieces = iter(model.stream('Hello there', stream_usage=True))
        return sum(pieces, next(pieces))

    def invoke_with_reasoning_output(self, *, stream=False) -> AIMessage:
        answer = self.ask(stream, reasoning_effort='high')
        assert answer.usage_metadata['output_token_details']['reasoning'] > 0, answer
        return answer

    def invoke_with_cache_read_input(self, *, stream=False) -> AIMessage:
        answer = self.ask(stream, extra_body={'google': {'cached_content': 'cachedContents/one'}})
        assert answer.usage_metadata['input_token_details']['cache_read'] > 0, answer
        return answer

    def invoke_with_audio_output(self, *, stream=False) -> AIMessage:
        voice = {'modalities': ['text', 'audio'], 'audio': {'voice': 'Kore', 'format': 'wav'}}
        answer = self.ask(stream, model_kwargs=voice)
        assert base64.b64decode(answer.additional_kwargs['audio']['data']).startswith(b'RIFF'), answer
        return answer


class TestGemini25(Suite):
    """Structured output by function calls."""
    name, other, structured = 'gemini-2.5-flash', 'gemini-3.1-flash-lite', 'function_calling'


class TestClaude(Suite):
    """Another family, behind the same API; every call streams. Only one upstream has it."""
    name, other, extra = 'claude-sonnet-4-6', 'gemini-2.5-flash', {'streaming': True, 'stream_usage': True}


def main():
    from stack import API_KEY, Stack, free_port
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument('--upstream', choices=['antigravity', 'gemini', 'vertex'], default='antigravity')
    options, rest = options.parse_known_args()
    if options.upstream != 'antigravity':
        rest += ['-k', 'not TestClaude']
    with Stack() as stack:
        port = free_port()
        base = f'http://127.0.0.1:{port}'
        stack.start('fake-google', ['--listen', f'127.0.0.1:{port}', '--tokens-out', 'tokens.json']).wait_for(str(port))
        tokens = stack.token_service(TOKENS_FILE='tokens.json', DEFAULT_UPSTREAM=options.upstream)
        gateway = stack.gateway(tokens.address, ANTIGRAVITY_BASE_URLS=base, GEMINI_BASE_URL=base, VERTEX_BASE_URL=base)
        os.environ.update(GATEWAY_URL=f'http://{gateway.address}/v1', GATEWAY_KEY=API_KEY, LANGSMITH_TRACING='false')
        # One event loop: ChatOpenAI keeps its connections for the next test.
        sys.exit(pytest.main(['-q', '-p', 'no:cacheprovider', '--rootdir', stack.folder, '-W', 'ignore', '-rsxX', '--asyncio-mode=auto',
                              '-o', 'asyncio_default_test_loop_scope=session', *rest, __file__]))


if __name__ == '__main__':
    main()
