// OpenAI's SDK for Node: the tool runner whole and streamed, zod, vision, and hanging up.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import OpenAI from 'openai';
import { zodFunction, zodResponseFormat } from 'openai/helpers/zod';
import { z } from 'zod';

const model = process.env.MODEL;
const client = new OpenAI({ baseURL: process.env.GATEWAY_URL, apiKey: process.env.GATEWAY_KEY, maxRetries: 0 });
const PIXEL = 'data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg==';
const results = { get_weather: 'sunny', get_time: 'Noon. Now call look_up.', look_up: 'nothing else' };

for (const stream of [false, true]) {
    const steps = [];
    const tools = Object.entries(results).map(([name, result]) => zodFunction({
        name,
        parameters: z.object({ city: z.string(), unit: z.enum(['c', 'f']).nullable() }),
        function: ({ city }) => { assert(city); steps.push(name); return result; },
    }));
    let messages = [];
    for (const content of ['Call get_weather and get_time for "Berlin".', 'Again, call get_weather for "Paris".']) {
        const runner = client.chat.completions.runTools({ model, stream, tools, messages: [...messages, { role: 'user', content }] });
        assert.match(await runner.finalContent(), /found/);
        messages = runner.messages;
    }
    assert.deepEqual(steps, ['get_weather', 'get_time', 'look_up', 'get_weather']);
}

const streamed = client.chat.completions.stream({ model, messages: [{ role: 'user', content: 'Hello there' }], stream_options: { include_usage: true } });
let text = '';
streamed.on('content', (delta) => { text += delta; });
assert((await streamed.totalUsage()).total_tokens > 0);
assert.match(text, /Hello there/);

const Step = z.object({ text: z.string(), substeps: z.array(z.lazy(() => Step)).nullable() });
const Recipe = z.object({ name: z.string(), minutes: z.number().int().min(1).max(25), kind: z.discriminatedUnion('type', [z.object({ type: z.literal('hot') }), z.object({ type: z.literal('cold'), ice: z.boolean() })]), steps: z.array(Step) });
const parsed = await client.chat.completions.parse({ model, messages: [{ role: 'user', content: '"Soup" in 20 minutes' }], response_format: zodResponseFormat(Recipe, 'recipe') });
assert.equal(parsed.choices[0].message.parsed.minutes, 20);
assert.equal(parsed.choices[0].message.parsed.name, 'Soup');

const look = await client.chat.completions.create({ model, messages: [{ role: 'user', content: [{ type: 'text', text: 'What is this?' }, { type: 'image_url', image_url: { url: PIXEL } }] }] });
assert.match(look.choices[0].message.content, /sent 1 file/);

const hangUp = await client.chat.completions.create({ model, messages: [{ role: 'user', content: 'one two three '.repeat(50) }], stream: true });
for await (const _ of hangUp) break;
assert(hangUp.controller.signal.aborted);
const late = new AbortController();
late.abort();
await assert.rejects(client.chat.completions.create({ model, messages: [{ role: 'user', content: 'Hello' }] }, { signal: late.signal }), OpenAI.APIUserAbortError);
const still = await client.chat.completions.create({ model, messages: [{ role: 'user', content: 'Still there?' }] });
assert.match(still.choices[0].message.content, /Still there/);
await assert.rejects(client.chat.completions.create({ model, messages: [] }), (error) => error instanceof OpenAI.BadRequestError && error.param === 'messages');
console.log('openai for Node', JSON.parse(readFileSync(new URL('node_modules/openai/package.json', import.meta.url))).version);
