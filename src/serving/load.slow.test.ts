/** @file Load: many streams over many adapters at once, each answer as it is alone, while others misbehave. */
import { connect } from 'node:net'
import { expect, it, vi } from 'vitest'
import { jsonOf, mixedChats, type TinyServer, textOf, tinyServer, writtenAlone } from './testing/tiny.ts'

const CHAT = '/v1/chat/completions'
const STREAMS = 64
const ADAPTERS = 16

/** What autocannon tells that matters here; it has no types. */
interface Shot {
  errors: number
  non2xx: number
  requests: { total: number; average: number }
  latency: { p99: number }
}

async function shoot(options: object): Promise<Shot> {
  const name: string = 'autocannon'
  const { default: autocannon } = await import(name)
  return autocannon(options)
}

const requests = (most: number) =>
  mixedChats(
    STREAMS,
    Array.from({ length: ADAPTERS }, (_, i) => `lora${i}`),
    most,
  )

/** Sends bytes as they are; the status that came back, if one did. */
function raw(port: number, text: string, { leavesAfter }: { leavesAfter?: number } = {}): Promise<string | undefined> {
  return new Promise(resolve => {
    let answer = ''
    const socket = connect(port, '127.0.0.1', () => socket.write(text))
    if (leavesAfter !== undefined) setTimeout(() => socket.destroy(), leavesAfter)
    socket.on('data', data => (answer += data)).on('error', () => {})
    socket.on('close', () => resolve(/^HTTP\/1.1 (\d+)/.exec(answer)?.[1]))
  })
}

function request(body: string, length = body.length): string {
  return `POST ${CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: ${length}\r\n\r\n${body}`
}

const idle = async (tiny: TinyServer) =>
  vi.waitFor(
    async () => expect(await jsonOf(await fetch(`${tiny.url}/health`))).toMatchObject({ active: 0, queued: 0 }),
    {
      timeout: 10_000,
    },
  )

it('64 streams over 16 adapters are what each is alone, while others misbehave', async () => {
  await using tiny = await tinyServer({ loras: ADAPTERS, maxBatch: 32, requestTimeout: 3000, maxBodyBytes: 10_000 })
  const asked = requests(50)
  const started = performance.now()
  let done = false
  const { port } = tiny.server
  const misbehave = async (kind: number) => {
    const statuses = new Set<string | undefined>()
    const long = JSON.stringify({ model: 'lora1', messages: [{ role: 'user', content: 'x' }], stream: true })
    while (!done) {
      if (kind === 0) statuses.add(String((await tiny.post(CHAT, '{"model": ')).status))
      if (kind === 1) statuses.add(await raw(port, request('{"model": ', 500)))
      if (kind === 2) statuses.add(await raw(port, request('{"model": ', 1e9)))
      if (kind === 3) await raw(port, request(long), { leavesAfter: 100 })
      if (kind === 4) statuses.add(await raw(port, '\x16\x03\x01 no HTTP\r\n\r\n'))
    }
    return [...statuses].sort()
  }
  const others = Promise.all([0, 1, 2, 3, 4].map(misbehave))
  const texts = await Promise.all(asked.map(async body => textOf(await tiny.post(CHAT, { ...body, stream: true }))))
  const seconds = (performance.now() - started) / 1000
  done = true
  expect(await others).toEqual([['400'], ['408'], ['413'], [], ['400']])
  await idle(tiny)
  const expected: string[] = []
  for (const one of asked) expected.push(await writtenAlone(tiny, one))
  expect(texts).toEqual(expected)
  const tokens = asked.reduce((sum, { max_tokens }) => sum + max_tokens, 0)
  console.log(`${STREAMS} streams over ${ADAPTERS} adapters: ${seconds.toFixed(1)} s, at most ${tokens} tokens`)
})

it('takes what autocannon sends', async () => {
  await using tiny = await tinyServer({ loras: ADAPTERS, maxBatch: 32, maxQueue: 64 })
  const bodies = requests(8).map(body => JSON.stringify(body))
  const headers = { 'content-type': 'application/json' }
  const post = { url: tiny.url + CHAT, method: 'POST', headers, connections: STREAMS, timeout: 60 }
  const right = await shoot({ ...post, duration: 10, requests: bodies.map(body => ({ body })) })
  expect(right).toMatchObject({ errors: 0, non2xx: 0 })
  const wrong = await shoot({ ...post, duration: 3, body: '{"model": ' })
  expect(wrong).toMatchObject({ errors: 0, non2xx: wrong.requests.total })
  await idle(tiny)
  console.log(`${right.requests.average} chats a second, the slowest hundredth ${right.latency.p99} ms`)
})
