/** @file The HTTP interface over a tiny model: what it answers, and what it refuses. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { IA3Config, type PeftModel, PromptTuningConfig } from '../peft/index.ts'
import { addDrawn } from '../peft/testing/life.ts'
import { createApp } from './app.ts'
import { jsonOf, mixedChats, readEvents, type TinyServer, textOf, tinyServer, writtenAlone } from './testing/tiny.ts'

const CHAT = '/v1/chat/completions'
const COMPLETIONS = '/v1/completions'
const messages = [{ role: 'user', content: 'hello' }]
const chat = { model: 'lora0', messages, max_tokens: 4, temperature: 0 }
const prompt = { model: 'tiny', prompt: 'hello', max_tokens: 4, temperature: 0 }

let tiny: TinyServer

beforeAll(async () => {
  tiny = await tinyServer({ maxBodyBytes: 20_000, maxBatch: 4, maxQueue: 4 })
})
afterAll(() => tiny[Symbol.asyncDispose]())

/** What `generate` writes with the adapter, alone. */
async function alone(adapter: string, ids: number[], options: object): Promise<string> {
  const { newTokens } = await tiny.peft.generate(ids, { adapterNames: [adapter], ...options })
  return tiny.tokenizer.decode(newTokens[0])
}

async function expectError(response: Response, status: number, error: object) {
  expect(response.status).toBe(status)
  expect(await jsonOf(response)).toEqual({
    error: { message: expect.any(String), type: expect.any(String), param: null, code: null, ...error },
  })
}

const has = (text: string) => expect.stringContaining(text)

describe('models', () => {
  it('are the base and its adapters', async () => {
    const response = await fetch(`${tiny.url}/v1/models`)
    expect(response.headers.get('x-request-id')).toMatch(/^req-/)
    const { object, data } = await jsonOf(response)
    expect(object).toBe('list')
    expect(data.map(({ id, object, parent }: Record<string, unknown>) => [id, object, parent])).toEqual([
      ['tiny', 'model', null],
      ['lora0', 'model', 'tiny'],
      ['lora1', 'model', 'tiny'],
    ])
    expect(await jsonOf(await fetch(`${tiny.url}/v1/models/lora1`))).toMatchObject({ id: 'lora1', root: 'tiny' })
  })

  it('that are unknown are told with the nearest', async () => {
    const error = { code: 'model_not_found', param: 'model', message: has('Did you mean "lora0"') }
    await expectError(await tiny.post(CHAT, { ...chat, model: 'lora' }), 404, error)
    await expectError(await fetch(`${tiny.url}/v1/models/lora`), 404, error)
  })
})

describe('chat', () => {
  it('is what generate writes', async () => {
    const response = await tiny.post(CHAT, { ...chat, user: 'someone', logit_bias: null })
    const ids = tiny.tokenizer.applyChatTemplate(messages, { addGenerationPrompt: true })
    const content = await alone('lora0', ids, { maxNewTokens: 4 })
    expect(await jsonOf(response)).toEqual({
      ...{ id: expect.stringMatching(/^chatcmpl-/), object: 'chat.completion', created: expect.any(Number) },
      model: 'lora0',
      choices: [
        { index: 0, message: { role: 'assistant', content, refusal: null }, logprobs: null, finish_reason: 'length' },
      ],
      usage: { prompt_tokens: ids.length, completion_tokens: 4, total_tokens: ids.length + 4 },
    })
  })

  it('draws by seed, and each of several answers its own', async () => {
    const body = { ...chat, temperature: 1.2, seed: 5, n: 2 }
    const texts = async () => {
      const { choices } = await jsonOf(await tiny.post(CHAT, body))
      return choices.map((choice: { message: { content: string } }) => choice.message.content)
    }
    const first = await texts()
    expect(first[0]).not.toBe(first[1])
    expect(await texts()).toEqual(first)
  })

  it('comes in chunks as OpenAI sends them', async () => {
    const whole = await jsonOf(await tiny.post(CHAT, chat))
    const response = await tiny.post(CHAT, { ...chat, stream: true, stream_options: { include_usage: true } })
    expect(response.headers.get('content-type')).toBe('text/event-stream; charset=utf-8')
    const events = await readEvents(response)
    const chunks = events.slice(0, -1) as { id: string; object: string; choices: never[]; usage: unknown }[]
    expect(events.at(-1)).toBe('[DONE]')
    expect(new Set(chunks.map(chunk => `${chunk.id} ${chunk.object}`))).toHaveProperty('size', 1)
    const choices = chunks.flatMap(chunk => chunk.choices) as { delta: { content?: string } }[]
    expect(choices[0]).toEqual({
      ...{ index: 0, delta: { role: 'assistant', content: '', refusal: null }, logprobs: null, finish_reason: null },
    })
    expect(choices.at(-1)).toEqual({ index: 0, delta: {}, logprobs: null, finish_reason: 'length' })
    expect(choices.map(({ delta }) => delta.content ?? '').join('')).toBe(whole.choices[0].message.content)
    expect(chunks.at(-1)).toMatchObject({ choices: [], usage: whole.usage })
    expect(chunks.slice(0, -1).every(chunk => chunk.usage === null)).toBe(true)
  })

  it('tells log-probabilities', async () => {
    const { choices } = await jsonOf(await tiny.post(CHAT, { ...chat, logprobs: true, top_logprobs: 2 }))
    const { content } = choices[0].logprobs
    expect(content).toHaveLength(4)
    for (const { token, logprob, top_logprobs } of content) {
      expect(top_logprobs).toHaveLength(2)
      // The most likely token was taken.
      expect(top_logprobs[0]).toMatchObject({ token, logprob })
      expect(logprob).toBeLessThan(0)
    }
  })

  it('takes what earlier turns and tools hold', async () => {
    const tools = [{ type: 'function', function: { name: 'weather', parameters: { type: 'object' } } }]
    const call = { id: 'call_1', type: 'function', function: { name: 'weather', arguments: '{"city":"Linz"}' } }
    const turns = [
      { role: 'developer', content: 'Be kind.' },
      { role: 'user', content: [{ type: 'text', text: 'The weather?' }] },
      { role: 'assistant', content: null, refusal: null, tool_calls: [call] },
      { role: 'tool', tool_call_id: 'call_1', content: 'sunny' },
    ]
    const response = await tiny.post(CHAT, { ...chat, messages: turns, tools, tool_choice: 'auto' })
    const template = tiny.tokenizer.applyChatTemplate(
      [
        { role: 'system', content: 'Be kind.' },
        { role: 'user', content: 'The weather?' },
        {
          role: 'assistant',
          content: '',
          tool_calls: [{ ...call, function: { name: 'weather', arguments: { city: 'Linz' } } }],
        },
        { role: 'tool', content: 'sunny', tool_call_id: 'call_1' },
      ],
      { tools, addGenerationPrompt: true },
    )
    expect((await jsonOf(response)).usage.prompt_tokens).toBe(template.length)
  })

  it.each([
    ['what objects have', { constructor: 1 }, { code: 'unknown_parameter', param: 'constructor' }],
    [
      'a mistyped field',
      { temprature: 1 },
      { code: 'unknown_parameter', param: 'temprature', message: has('"temperature"') },
    ],
    ['a field that is not offered', { audio: {} }, { code: 'unsupported_parameter', param: 'audio' }],
    [
      'a format',
      { response_format: { type: 'json_object' } },
      { param: 'response_format.type', message: has('"text"') },
    ],
    ['a forced tool', { tool_choice: 'required' }, { param: 'tool_choice', message: has('cannot be forced') }],
    ['a wrong type', { temperature: 'hot' }, { param: 'temperature', message: has('from 0 to 2, got "hot"') }],
    ['a value out of bounds', { top_p: 1.5 }, { param: 'top_p', message: has('from 0 to 1, got 1.5') }],
    ['a fraction of an answer', { n: 1.5 }, { param: 'n', message: has('whole number') }],
    ['no room', { max_completion_tokens: 0 }, { param: 'max_completion_tokens' }],
    ['too many stop strings', { stop: ['a', 'b', 'c', 'd', 'e'] }, { param: 'stop', message: has('at most 4') }],
    ['an unknown token', { logit_bias: { 99999: 1 } }, { param: 'logit_bias', message: has('no token') }],
    ['alternatives alone', { top_logprobs: 2 }, { param: 'top_logprobs' }],
    ['options of a stream alone', { stream_options: {} }, { param: 'stream_options' }],
    ['no messages', { messages: [] }, { param: 'messages', message: has('at least one') }],
    ['a message that is none', { messages: ['hello'] }, { param: 'messages[0]', message: has('a string') }],
    [
      'an unknown role',
      { messages: [{ role: 'robot', content: 'x' }] },
      { param: 'messages[0].role', message: has('user') },
    ],
    ['an empty message', { messages: [{ role: 'user' }] }, { param: 'messages[0].content' }],
    [
      'a picture',
      { messages: [{ role: 'user', content: [{ type: 'image_url', image_url: { url: 'x' } }] }] },
      { param: 'messages[0].content[0].type', message: has('reads only text') },
    ],
    [
      'arguments that are not JSON',
      {
        messages: [{ role: 'assistant', tool_calls: [{ type: 'function', function: { name: 'f', arguments: '{' } }] }],
      },
      { param: 'messages[0].tool_calls[0].function.arguments', message: has('expected JSON') },
    ],
    [
      'more than the context',
      { messages: [{ role: 'user', content: 'hello '.repeat(400) }] },
      { code: 'context_length_exceeded', message: has('256 tokens') },
    ],
    ['more answers than places', { n: 9 }, { param: 'n', message: has('8 places') }],
  ])('refuses %s', async (_what, fields, error) => {
    await expectError(await tiny.post(CHAT, { ...chat, ...fields }), 400, {
      type: 'invalid_request_error',
      ...('code' in error ? {} : { code: expect.toSatisfy(() => true) }),
      ...error,
    })
  })
})

describe('completions', () => {
  it('continue a text', async () => {
    const { before } = tiny.tokenizer.surroundingTokens()
    const ids = [...before, ...tiny.tokenizer.encode('hello', { addSpecialTokens: false }).inputIds]
    const text = await alone('__base__', ids, { maxNewTokens: 4 })
    const answer = await jsonOf(await tiny.post(COMPLETIONS, prompt))
    expect(answer).toMatchObject({
      ...{ object: 'text_completion', model: 'tiny', usage: { prompt_tokens: ids.length, completion_tokens: 4 } },
      choices: [{ text, index: 0, logprobs: null, finish_reason: 'length' }],
    })
    const tokens = await jsonOf(await tiny.post(COMPLETIONS, { ...prompt, prompt: ids, echo: true }))
    expect(tokens.choices[0].text).toBe(tiny.tokenizer.decode(ids) + text)
  })

  it('continue several prompts, each several times', async () => {
    const body = { ...prompt, prompt: ['hello', 'you', 'the'], n: 2, logprobs: 1, stream: true }
    const events = await readEvents(await tiny.post(COMPLETIONS, body))
    const chunks = events.slice(0, -1) as {
      choices: { text: string; index: number; logprobs: { tokens: string[] } }[]
    }[]
    const texts = Array<string>(6).fill('')
    const tokens = Array<number>(6).fill(0)
    for (const { choices } of chunks) {
      texts[choices[0].index] += choices[0].text
      tokens[choices[0].index] += choices[0].logprobs.tokens.length
    }
    expect(tokens).toEqual(Array(6).fill(4))
    const alone = await jsonOf(await tiny.post(COMPLETIONS, { ...prompt, prompt: 'you' }))
    expect(texts[2]).toBe(alone.choices[0].text)
    expect(texts[3]).toBe(texts[2])
  })

  it('have sixteen tokens where nothing is said', async () => {
    const answer = await jsonOf(await tiny.post(COMPLETIONS, { ...prompt, max_tokens: undefined }))
    expect(answer.usage.completion_tokens).toBe(16)
  })

  it('end at a stop string, which is left out', async () => {
    const { choices } = await jsonOf(await tiny.post(COMPLETIONS, { ...prompt, max_tokens: 12 }))
    const { text } = choices[0]
    const stop = text.slice(5, 7)
    const ended = await jsonOf(await tiny.post(COMPLETIONS, { ...prompt, max_tokens: 12, stop }))
    expect(ended.choices[0]).toMatchObject({ text: text.slice(0, text.indexOf(stop)), finish_reason: 'stop' })
  })

  it('end where the context ends', async () => {
    const long = tiny.tokenizer.encode('hello '.repeat(245), { addSpecialTokens: false }).inputIds.slice(0, 250)
    const answer = await jsonOf(await tiny.post(COMPLETIONS, { ...prompt, prompt: long, max_tokens: 100 }))
    expect(answer).toMatchObject({ choices: [{ finish_reason: 'length' }], usage: { completion_tokens: 7 } })
  })

  it.each([
    ['a suffix', { suffix: 'end' }, { param: 'suffix', code: 'unsupported_parameter' }],
    ['no prompts', { prompt: [] }, { param: 'prompt' }],
    ['unknown tokens', { prompt: [1, 99999] }, { param: 'prompt', message: has('99999') }],
    ['rated prompts', { echo: true, logprobs: 1 }, { param: 'echo' }],
  ])('refuse %s', async (_what, fields, error) => {
    const code = { code: expect.toSatisfy(() => true) }
    await expectError(await tiny.post(COMPLETIONS, { ...prompt, ...fields }), 400, { ...code, ...error })
  })
})

describe('requests that are none', () => {
  const headers = { 'content-type': 'text/plain' }
  it.each([
    ['broken JSON', () => tiny.post(CHAT, '{"model": '), 400, { code: 'invalid_json' }],
    ['a list', () => tiny.post(CHAT, []), 400, { code: null, message: has('a list') }],
    ['another content type', () => tiny.post(CHAT, chat, { headers }), 415, { code: 'unsupported_media_type' }],
    ['too much', () => tiny.post(CHAT, { ...chat, user: 'x'.repeat(30_000) }), 413, { code: 'request_too_large' }],
    [
      'another path',
      () => tiny.post('/v1/chat/completion', chat),
      404,
      { message: has('Did you mean "/v1/chat/completions"') },
    ],
    ['another method', () => fetch(tiny.url + CHAT), 405, { code: 'method_not_allowed' }],
    ['deleting a model', () => fetch(`${tiny.url}/v1/models/lora0`, { method: 'DELETE' }), 405, {}],
  ])('are refused: %s', async (_what, send, status, error) => {
    await expectError(await send(), status, { code: expect.toSatisfy(() => true), ...error })
  })

  it('of unknown length are cut where they are too long', async () => {
    const body = new ReadableStream({
      pull(controller) {
        controller.enqueue(new Uint8Array(8000))
      },
    })
    const app = createApp(tiny.backend, { maxBodyBytes: 20_000 })
    const init = { method: 'POST', body, duplex: 'half', headers: { 'content-type': 'application/json' } }
    await expectError(await app.request(CHAT, init as RequestInit), 413, { code: 'request_too_large' })
  })
})

describe('who may ask', () => {
  const models = '/v1/models'

  it('is whoever brings the key', async () => {
    const app = createApp(tiny.backend, { apiKey: 'secret' })
    const ask = (authorization?: string) => app.request(models, { headers: authorization ? { authorization } : {} })
    await expectError(await ask(), 401, { code: 'invalid_api_key', message: has("didn't provide") })
    await expectError(await ask('Bearer wrong'), 401, { code: 'invalid_api_key', message: has('Incorrect') })
    expect((await ask('Bearer secret')).status).toBe(200)
    expect((await app.request('/health')).status).toBe(200)
  })

  it('is this machine alone, by its own names', async () => {
    const app = createApp(tiny.backend, { loopbackOnly: true })
    const ask = (host: string) => app.request(models, { headers: { host } })
    for (const host of ['localhost:8000', '127.0.0.1', '[::1]:80']) expect((await ask(host)).status).toBe(200)
    for (const host of ['evil.example', '127.0.0.1.evil.example', 'localhost.evil:80', '']) {
      await expectError(await ask(host), 403, { code: 'forbidden_host' })
    }
  })

  it('is a web page only where it was allowed', async () => {
    const headers = { origin: 'http://page.example', 'access-control-request-method': 'POST' }
    const preflight = (origins: string[]) =>
      createApp(tiny.backend, { cors: origins, apiKey: 'secret' }).request(CHAT, { method: 'OPTIONS', headers })
    const allowed = await preflight(['http://page.example'])
    expect(allowed.status).toBe(204)
    expect(allowed.headers.get('access-control-allow-origin')).toBe('http://page.example')
    expect((await preflight(['http://other.example'])).headers.get('access-control-allow-origin')).toBe(null)
    expect((await preflight([])).headers.get('access-control-allow-origin')).toBe(null)
  })
})

it('serves adapters of several methods, those that rows cannot share in batches of their own', async () => {
  await using mixed = await tinyServer({
    loras: 1,
    prepare: peft => {
      peft.addAdapter('soft', new PromptTuningConfig({ numVirtualTokens: 3, taskType: 'CAUSAL_LM' }))
      addDrawn(peft as unknown as PeftModel, 'scaled', new IA3Config(), 5)
    },
  })
  expect(mixed.backend.exclusive).toEqual(['soft'])
  expect(mixed.backend.models.map(model => model.contextLength)).toEqual([256, 256, 253, 256])
  const asked = mixedChats(8, ['soft', 'lora0', 'tiny', 'scaled'], 6)
  const texts = await Promise.all(asked.map(async body => textOf(await mixed.post(CHAT, { ...body, stream: true }))))
  for (const [i, one] of asked.entries()) expect(texts[i]).toBe(await writtenAlone(mixed, one))
})
