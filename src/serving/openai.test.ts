/** @file OpenAI's own JavaScript client against the server, unchanged. */
import OpenAI from 'openai'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import type { Tokenizer } from '../data/index.ts'
import { characters } from '../generation/testing/tiny.ts'
import type { RowEvent, RowRequest } from './backend.ts'
import { type RunningServer, serve } from './server.ts'
import { type TinyServer, tinyServer } from './testing/tiny.ts'

let tiny: TinyServer
let openai: OpenAI

beforeAll(async () => {
  tiny = await tinyServer({ apiKey: 'secret', maxBatch: 2, maxQueue: 0 })
  openai = new OpenAI({ baseURL: `${tiny.url}/v1`, apiKey: 'secret', maxRetries: 0 })
})
afterAll(() => tiny[Symbol.asyncDispose]())

const messages = [{ role: 'user' as const, content: 'hello' }]
const chat = { model: 'lora0', messages, max_tokens: 6, temperature: 0 }
const idle = () => vi.waitFor(() => expect(tiny.backend.load).toMatchObject({ active: 0, queued: 0 }))

describe('the official client', () => {
  it('lists models', async () => {
    const ids: string[] = []
    for await (const { id } of openai.models.list()) ids.push(id)
    expect(ids).toEqual(['tiny', 'lora0', 'lora1'])
    expect(await openai.models.retrieve('lora0')).toMatchObject({ id: 'lora0', object: 'model' })
  })

  it('chats, whole and streamed', async () => {
    const { data: whole, request_id } = await openai.chat.completions.create(chat).withResponse()
    expect(request_id).toMatch(/^req-/)
    const { content } = whole.choices[0].message
    expect(content).toBeTruthy()
    const chunks: string[] = []
    for await (const { choices } of await openai.chat.completions.create({ ...chat, stream: true })) {
      chunks.push(choices[0].delta.content ?? '')
    }
    expect(chunks.join('')).toBe(content)
    const runner = openai.chat.completions.stream({ ...chat, stream_options: { include_usage: true } })
    expect(await runner.finalContent()).toBe(content)
    expect(await runner.totalUsage()).toEqual(whole.usage)
  })

  it('tells log-probabilities', async () => {
    const stream = openai.chat.completions.stream({ ...chat, logprobs: true, top_logprobs: 3 })
    const { choices } = await stream.finalChatCompletion()
    expect(choices[0].logprobs?.content).toHaveLength(6)
    expect(choices[0].logprobs?.content?.[0].top_logprobs).toHaveLength(3)
  })

  it('completes texts, whole and streamed', async () => {
    const body = { model: 'tiny', prompt: ['hello', 'you'], max_tokens: 5, temperature: 0 }
    const whole = await openai.completions.create(body)
    const texts = ['', '']
    for await (const { choices } of await openai.completions.create({ ...body, stream: true })) {
      texts[choices[0].index] += choices[0].text
    }
    expect(whole.choices.map(choice => choice.text)).toEqual(texts)
  })

  it('aborts a stream, which frees its place', async () => {
    const stream = await openai.chat.completions.create({ ...chat, max_tokens: undefined, n: 2, stream: true })
    for await (const { choices } of stream) if (choices[0].delta.content) break
    await idle()
  })

  it('aborts a request that waits for its answer, which frees its place', async () => {
    const gone = new AbortController()
    const request = openai.chat.completions.create({ ...chat, max_tokens: undefined, n: 2 }, { signal: gone.signal })
    await vi.waitFor(() => expect(tiny.backend.load.active).toBe(2), { interval: 1 })
    gone.abort()
    await expect(request).rejects.toThrow(OpenAI.APIUserAbortError)
    await idle()
  })

  it('knows the errors by their classes', async () => {
    const create = (fields: object, client = openai) =>
      client.chat.completions.create({ ...chat, ...fields } as typeof chat)
    await expect(create({ model: 'lora9' })).rejects.toThrow(OpenAI.NotFoundError)
    await expect(create({ temperature: 9 })).rejects.toThrow(OpenAI.BadRequestError)
    await expect(create({ temperature: 9 })).rejects.toMatchObject({ param: 'temperature', code: 'invalid_value' })
    const stranger = new OpenAI({ baseURL: `${tiny.url}/v1`, apiKey: 'wrong', maxRetries: 0 })
    await expect(create({}, stranger)).rejects.toThrow(OpenAI.AuthenticationError)
  })

  it('is told when the server is busy, and comes again', async () => {
    const long = await openai.chat.completions.create({ ...chat, max_tokens: undefined, n: 2, stream: true })
    await expect(openai.chat.completions.create(chat)).rejects.toThrow(OpenAI.RateLimitError)
    const patient = new OpenAI({ baseURL: `${tiny.url}/v1`, apiKey: 'secret', maxRetries: 5 })
    const answer = patient.chat.completions.create(chat)
    long.controller.abort()
    expect((await answer).choices).toHaveLength(1)
  })
})

/** A server whose model writes a text that is known. */
async function saying(text: string): Promise<RunningServer> {
  const tokens = [...text].map(character => character.charCodeAt(0) - 48)
  const tokenizer = {
    ...characters,
    ...{
      vocabSize: 256,
      applyChatTemplate: () => 'x',
      encode: () => ({ inputIds: [1] }),
      templateSource: () => '<tool_call></tool_call>',
    },
  }
  async function* submit(_rows: readonly RowRequest[]): AsyncGenerator<RowEvent, undefined> {
    for (const [i, token] of tokens.entries()) {
      if (text[i] === '!') throw new Error('out of memory')
      yield { row: 0, token }
    }
    yield { row: 0, token: 0, finished: 'eos' }
  }
  const backend = {
    ...tiny.backend,
    load: tiny.backend.load,
    tokenizer: tokenizer as unknown as Tokenizer,
    submit,
    close: async () => {},
  }
  return serve(backend, { port: 0 })
}

describe('what a model writes', () => {
  const tools = [{ type: 'function' as const, function: { name: 'weather', parameters: {} } }]
  const call = '<tool_call>\n{"name": "weather", "arguments": {"city": "Linz"}}\n</tool_call>'

  it('becomes calls of tools', async () => {
    const server = await saying(`I look.\n${call}\n${call}`)
    const client = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: 'none', maxRetries: 0 })
    const expected = { type: 'function', function: { name: 'weather', arguments: '{"city":"Linz"}' } }
    const whole = await client.chat.completions.create({ ...chat, tools })
    const streamed = await client.chat.completions.stream({ ...chat, tools }).finalChatCompletion()
    for (const { choices } of [whole, streamed]) {
      expect(choices[0]).toMatchObject({ finish_reason: 'tool_calls', message: { content: 'I look.' } })
      expect(choices[0].message.tool_calls).toEqual([
        expect.objectContaining(expected),
        expect.objectContaining(expected),
      ])
    }
    const { choices } = await client.chat.completions.create(chat)
    expect(choices[0]).toMatchObject({ finish_reason: 'stop', message: { content: `I look.\n${call}\n${call}` } })
    await server.close()
  })

  it('ends with an error where the model fails on the way', async () => {
    const server = await saying('some!')
    const client = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: 'none', maxRetries: 0 })
    let text = ''
    const read = async () => {
      const stream = await client.chat.completions.create({ ...chat, stream: true })
      for await (const { choices } of stream) text += choices[0].delta.content ?? ''
    }
    await expect(read()).rejects.toThrow('out of memory')
    expect(text).toBe('some')
    await expect(client.chat.completions.create(chat)).rejects.toThrow(OpenAI.InternalServerError)
    await server.close()
  })
})
