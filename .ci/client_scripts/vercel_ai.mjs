// Vercel's AI SDK, through its two ways to a server like OpenAI's: a tool loop whole and streamed, and objects.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createOpenAI } from '@ai-sdk/openai';
import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { generateText, Output, stepCountIs, streamText, tool } from 'ai';
import { z } from 'zod';

const baseURL = process.env.GATEWAY_URL;
const apiKey = process.env.GATEWAY_KEY;
// The first drops fields that it does not know; the second keeps Google's when the provider has its name.
const models = [
    ...process.env.EXTRA_CONTENT ? [] : [createOpenAI({ baseURL, apiKey }).chat(process.env.MODEL)],
    createOpenAICompatible({ name: 'google', baseURL, apiKey, includeUsage: true, supportsStructuredOutputs: true })(process.env.MODEL),
];
const results = { get_weather: 'sunny', get_time: 'Noon. Now call look_up.', look_up: 'nothing else' };
const questions = ['Call get_weather and get_time for "Berlin".', 'Again, call get_weather for "Paris".'];
const Recipe = z.object({ name: z.string(), minutes: z.number() });

for (const model of models) {
    for (const ask of [generateText, streamText]) {
        const steps = [];
        const tools = Object.fromEntries(Object.entries(results).map(([name, result]) => [name, tool({
            inputSchema: z.object({ city: z.string() }),
            execute: ({ city }) => { assert(city); steps.push(name); return result; },
        })]));
        const messages = [];
        for (const content of questions) {
            messages.push({ role: 'user', content });
            const answer = ask({ model, tools, messages, stopWhen: stepCountIs(9), maxRetries: 0, onError: ({ error }) => { throw error; } });
            const done = ask === generateText ? await answer : answer;
            if (ask === streamText) await done.consumeStream();
            assert.match(await done.text, /found/);
            assert((await done.totalUsage).totalTokens > 0);
            messages.push(...(await done.response).messages);
        }
        assert.deepEqual(steps, ['get_weather', 'get_time', 'look_up', 'get_weather']);
    }
    const made = await generateText({ model, output: Output.object({ schema: Recipe }), prompt: '"Soup" in 20 minutes', maxRetries: 0 });
    assert.deepEqual(made.output, { name: 'Soup', minutes: 20 });
    const image = new Uint8Array([137, 80, 78, 71, 13, 10, 26, 10]);
    const look = await generateText({ model, messages: [{ role: 'user', content: [{ type: 'text', text: 'What is this?' }, { type: 'image', image }] }], maxRetries: 0 });
    assert.match(look.text, /sent 1 file/);
}
console.log('ai', JSON.parse(readFileSync(new URL('node_modules/ai/package.json', import.meta.url))).version);
