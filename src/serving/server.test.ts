/** @file The server on its port: requests that come in halves, clients that go away, many adapters at once, the end. */
import { connect } from 'node:net'
import { describe, expect, it, vi } from 'vitest'
import { serve } from './server.ts'
import { jsonOf, mixedChats, readEvents, textOf, tinyServer, writtenAlone } from './testing/tiny.ts'

const CHAT = '/v1/chat/completions'
const chat = { model: 'lora0', messages: [{ role: 'user', content: 'hello' }], temperature: 0 }

/** Sends bytes as they are; what came back until the server closed. */
function raw(port: number, text: string): Promise<string> {
  return new Promise((resolve, reject) => {
    let answer = ''
    const socket = connect(port, '127.0.0.1', () => socket.write(text))
    socket
      .on('data', data => (answer += data))
      .on('close', () => resolve(answer))
      .on('error', reject)
  })
}

const post = (length: number, body: string) =>
  `POST ${CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: ${length}\r\n\r\n${body}`

describe('a server', () => {
  it('computes many adapters in one batch, each answer as it is alone', async () => {
    await using tiny = await tinyServer({ loras: 2, maxBatch: 8, prefillChunk: 16 })
    let most = 0
    const timer = setInterval(() => (most = Math.max(most, tiny.backend.load.active)), 1)
    const asked = mixedChats(16, ['tiny', 'lora0', 'lora1'], 15)
    const texts = await Promise.all(asked.map(async body => textOf(await tiny.post(CHAT, { ...body, stream: true }))))
    clearInterval(timer)
    expect(most).toBe(8)
    for (const [i, chat] of asked.entries()) expect(texts[i]).toBe(await writtenAlone(tiny, chat))
  })

  it('answers while others send halves, garbage and too much, or go away', async () => {
    await using tiny = await tinyServer({ requestTimeout: 300, maxBodyBytes: 5000 })
    const whole = await jsonOf(await tiny.post(CHAT, { ...chat, max_tokens: 60 }))
    const streams = Array.from({ length: 4 }, async () =>
      textOf(await tiny.post(CHAT, { ...chat, max_tokens: 60, stream: true })),
    )
    const { port } = tiny.server
    const gone = new AbortController()
    const leaving = tiny.post(CHAT, { ...chat, stream: true }, { signal: gone.signal }).then(() => gone.abort())
    const [halfBody, halfHead, garbage, large] = await Promise.all([
      raw(port, post(100, '{"model":')),
      raw(port, `POST ${CHAT} HTTP/1.1\r\nHost: loc`),
      raw(port, 'What is the weather?\r\n\r\n'),
      raw(port, post(1e9, '{"model":')),
    ])
    expect(halfBody).toMatch(/^HTTP\/1.1 408/)
    expect(halfHead).toMatch(/^HTTP\/1.1 408/)
    expect(garbage).toMatch(/^HTTP\/1.1 400/)
    expect(large).toMatch(/^HTTP\/1.1 413/)
    await leaving
    for (const text of await Promise.all(streams)) expect(text).toBe(whole.choices[0].message.content)
    await vi.waitFor(async () =>
      expect(await jsonOf(await fetch(`${tiny.url}/health`))).toMatchObject({ active: 0, queued: 0 }),
    )
  })

  it('lets answers end when it closes, and no longer than it was told', async () => {
    const patient = await tinyServer()
    const answer = patient.post(CHAT, { ...chat, max_tokens: 30, stream: true })
    await answer
    await patient.server.close(10_000)
    expect((await readEvents(await answer)).at(-1)).toBe('[DONE]')
    await expect(fetch(`${patient.url}/health`)).rejects.toThrow()

    const hasty = await tinyServer()
    const cut = await hasty.post(CHAT, { ...chat, stream: true })
    await hasty.server.close()
    expect((await readEvents(cut)).at(-1)).toMatchObject({ error: { code: 'shutting_down' } })
  })

  it('does not listen for other machines without a token', async () => {
    await using tiny = await tinyServer()
    await expect(serve(tiny.backend, { host: '0.0.0.0', port: 0 })).rejects.toThrow('give it a token with apiKey')
    await expect(serve(tiny.backend, { port: tiny.server.port })).rejects.toThrow('EADDRINUSE')
    const open = await serve(
      { ...tiny.backend, load: tiny.backend.load, close: async () => {} },
      { host: '0.0.0.0', port: 0, apiKey: 'k' },
    )
    const models = (headers: Record<string, string>) => fetch(`http://127.0.0.1:${open.port}/v1/models`, { headers })
    expect((await models({})).status).toBe(401)
    expect((await models({ authorization: 'Bearer k' })).status).toBe(200)
    await open.close()
  })
})
