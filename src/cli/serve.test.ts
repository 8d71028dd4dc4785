/** @file `peft serve` as it is called: what it finds, what it refuses, and how it ends. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { AutoModelForCausalLM } from '../models/index.ts'
import { getPeftModel, LoraConfig } from '../peft/index.ts'
import { peft, saveTinyLlama } from './testing/peft.ts'

let folder: string
let model: string

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'peft-serve-'))
  model = await saveTinyLlama(folder)
  const base = await AutoModelForCausalLM.fromPretrained(model)
  for (const name of ['legal', 'tickets.v2']) {
    const adapted = getPeftModel(base, new LoraConfig({ r: 2, targetModules: ['q_proj'] }))
    await adapted.savePretrained(join(folder, 'adapters', name))
  }
})
afterAll(() => rm(folder, { recursive: true, force: true }))

/** Calls `peft serve`, and `use` once it listens; then it is told to stop. */
async function serving(argv: readonly string[], use: (url: string) => Promise<void>) {
  const stop = new AbortController()
  let used: Promise<void> | undefined
  const result = await peft(['serve', '--model', model, '--port', '0', '--json', ...argv], {
    signal: stop.signal,
    onStdout: text => {
      const event = JSON.parse(text)
      if (event.event === 'listening') used = use(event.url).finally(() => stop.abort(new Error('Ended by SIGTERM')))
    },
  })
  await used
  return result
}

describe('peft serve', () => {
  it('serves a model with the adapters of a folder, until it is told to stop', async () => {
    const { code, events } = await serving(['--adapters', join(folder, 'adapters'), '--api-key', 'k'], async url => {
      const headers = { authorization: 'Bearer k', 'content-type': 'application/json' }
      const models = (await (await fetch(`${url}/v1/models`, { headers })).json()) as { data: { id: string }[] }
      expect(models.data.map(({ id }) => id)).toEqual(['tiny-llama', 'legal', 'tickets.v2'])
      const body = JSON.stringify({ model: 'tickets.v2', prompt: 'hello', max_tokens: 3 })
      const response = await fetch(`${url}/v1/completions`, { method: 'POST', headers, body })
      expect(await response.json()).toMatchObject({ usage: { completion_tokens: 3 } })
      expect((await fetch(`${url}/v1/models`)).status).toBe(401)
    })
    expect(code).toBe(0)
    expect(events().map(({ event }) => event)).toEqual(['listening', 'stopping'])
  })

  it('takes names for the base and its adapters', async () => {
    const adapters = [`law=${join(folder, 'adapters', 'legal')}`, join(folder, 'adapters', 'legal')]
    const { events } = await serving(['--name', 'base', '--adapters', ...adapters], async () => {})
    expect(events()[0].models).toEqual(['base', 'law', 'legal'])
  })

  it('quantises the base when it is told to', async () => {
    const open = vi.spyOn(AutoModelForCausalLM, 'fromPretrained')
    const { code } = await serving(['--quantize', 'int8'], async () => {})
    expect(open).toHaveBeenCalledWith(model, expect.objectContaining({ quantize: 'int8' }))
    expect(code).toBe(0)
    open.mockRestore()
  })

  it.each([
    ['a host that others can reach', ['--host', '0.0.0.0'], 2, '--api-key'],
    ['a folder without adapters', ['--adapters', 'PARENT'], 1, 'There is no adapter in'],
    ['one name for two folders of adapters', ['--adapters', 'FOLDER', 'FOLDER'], 1, 'Two adapters are called "legal"'],
    ['one name for several adapters', ['--adapters', 'all=FOLDER'], 1, 'holds 2 adapters (legal, tickets.v2)'],
    ['a mistyped option', ['--max-bach', '3'], 2, 'Did you mean "--max-batch"'],
    [
      'an adapter called as the base',
      ['--name', 'legal', '--adapters', 'FOLDER'],
      1,
      'cannot both be served as "legal"',
    ],
  ])('refuses %s', async (_what, words, code, message) => {
    const argv = words.map(word => word.replace('FOLDER', join(folder, 'adapters')).replace('PARENT', folder))
    const result = await peft(['serve', '--model', model, '--port', '0', ...argv])
    expect(result.stderr).toContain(message)
    expect(result.code).toBe(code)
  })
})
