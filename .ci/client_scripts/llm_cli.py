"""The llm command line: a chain of tools, a stream, a schema, and a conversation that goes on."""
import importlib.metadata, json, os, pathlib, subprocess, sys

home = pathlib.Path(os.environ['HOME']) / 'llm'
home.mkdir(exist_ok=True)
# JSON is YAML.
(home / 'extra-openai-models.yaml').write_text(json.dumps([{
    'model_id': 'ours', 'model_name': os.environ['MODEL'], 'api_base': os.environ['GATEWAY_URL'], 'api_key_name': 'ours',
    'supports_tools': True, 'supports_schema': True, 'vision': True,
}]))
TOOLS = '''
def get_weather(city: str) -> str:
    "The weather."
    return "sunny"

def get_time(city: str) -> str:
    "The time."
    return "Noon. Now call look_up."

def look_up(city: str) -> str:
    "More."
    return "nothing else"
'''


def llm(*args):
    ran = subprocess.run([os.path.join(os.path.dirname(sys.executable), 'llm'), *args], text=True, capture_output=True,
                         env={**os.environ, 'LLM_USER_PATH': str(home)}, stdin=subprocess.DEVNULL)
    if ran.returncode:
        raise SystemExit(f'llm {args}: {ran.stdout}{ran.stderr}')
    return ran.stdout


llm('keys', 'set', 'ours', '--value', os.environ['GATEWAY_KEY'])
for options in ([], ['--no-stream']):
    said = llm('-m', 'ours', '--functions', TOOLS, *options, 'Call get_weather and get_time for "Berlin".')
    assert 'found' in said and 'nothing else' in said, said
    said = llm('-c', '--functions', TOOLS, *options, 'Again, call get_weather for "Paris".')
    assert 'found' in said, said
    made = json.loads(llm('-m', 'ours', *options, '--schema', 'name, minutes int', '"Soup" in 20 minutes'))
    assert made == {'name': 'Soup', 'minutes': 20}, made
print('llm', importlib.metadata.version('llm'))
