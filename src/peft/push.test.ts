/** @file Uploading adapters to a hub that speaks the protocol of the real one. */

import { mkdir, writeFile } from 'node:fs/promises'
import { createServer, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { temporaryFolder } from '../../test/temporary.ts'
import { getPeftModel, PeftModel } from './index.ts'
import { addDrawn, expectClose, logitsOf, lora, perturb, tinyBert } from './testing/life.ts'

const TOKEN = 'hf_secret'

/** A hub on the loopback interface that takes new repositories, large files and commits. */
class FakeHub {
  url = ''
  repos = new Map<string, { private: boolean; files: Map<string, Buffer>; commits: string[] }>()
  readonly #large = new Map<string, Buffer>()
  readonly #server = createServer(async (request, response) => {
    const body = await bodyOf(request)
    const { status = 200, json } = this.#answer(request, body)
    response.writeHead(status, { 'Content-Type': 'application/json' })
    response.end(JSON.stringify(json ?? {}))
  })

  async start(): Promise<void> {
    await new Promise<void>(done => this.#server.listen(0, '127.0.0.1', done))
    this.url = `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections()
    await new Promise(done => this.#server.close(done))
  }

  #answer({ url = '', headers, method }: IncomingMessage, body: Buffer): { status?: number; json?: unknown } {
    if (method === 'PUT') {
      this.#large.set(url.slice('/store/'.length), body)
      return {}
    }
    if (headers.authorization !== `Bearer ${TOKEN}`) return { status: 401, json: { error: 'Invalid token' } }
    if (url === '/api/repos/create') {
      const { name, organization, private: isPrivate, visibility } = JSON.parse(`${body}`)
      const id = `${organization}/${name}`
      if (this.repos.has(id)) return { status: 409, json: { error: 'You already created this model repo' } }
      this.repos.set(id, { private: isPrivate ?? visibility === 'private', files: new Map(), commits: [] })
      return { json: { url: `${this.url}/${id}`, id } }
    }
    const preupload = /^\/api\/models\/(.+)\/preupload\/main$/.exec(url)
    if (preupload) {
      const files = (JSON.parse(`${body}`).files as { path: string }[]).map(({ path }) => {
        return { path, uploadMode: path.endsWith('.safetensors') ? 'lfs' : 'regular', shouldIgnore: false }
      })
      return { json: { files } }
    }
    if (url.endsWith('.git/info/lfs/objects/batch')) {
      const objects = (JSON.parse(`${body}`).objects as { oid: string; size: number }[]).map(({ oid, size }) => {
        return { oid, size, actions: { upload: { href: `${this.url}/store/${oid}` } } }
      })
      return { json: { transfer: 'basic', objects } }
    }
    const commit = /^\/api\/models\/([^?]+)\/commit\/main/.exec(url)
    const repo = commit && this.repos.get(commit[1])
    if (!repo) return { status: 404, json: { error: 'Repository not found' } }
    for (const line of `${body}`.split('\n').filter(Boolean)) {
      const { key, value } = JSON.parse(line)
      if (key === 'header') repo.commits.push(value.summary)
      if (key === 'file') repo.files.set(value.path, Buffer.from(value.content, value.encoding))
      if (key === 'lfsFile') repo.files.set(value.path, this.#large.get(value.oid)!)
    }
    return {
      json: {
        success: true,
        commitOid: 'c'.repeat(40),
        commitUrl: `${this.url}/${commit[1]}/commit/c`,
        hookOutput: '',
      },
    }
  }
}

async function bodyOf(request: IncomingMessage): Promise<Buffer> {
  const parts: Buffer[] = []
  for await (const part of request) parts.push(part)
  return Buffer.concat(parts)
}

describe('pushToHub', () => {
  let hub: FakeHub
  beforeEach(async () => {
    hub = new FakeHub()
    await hub.start()
  })
  afterEach(() => hub.stop())

  it('uploads what savePretrained writes, in one commit, into a repository that may be there already', async () => {
    const peft = getPeftModel(tinyBert(), lora())
    perturb(peft, 'default', 1)
    addDrawn(peft, 'other', lora(), 2)
    const options = { token: TOKEN, hubUrl: hub.url }
    const pushed = await peft.pushToHub('someone/reviews', { ...options, private: true, commitMessage: 'First' })
    expect(pushed).toMatchObject({
      url: `${hub.url}/someone/reviews`,
      commitUrl: `${hub.url}/someone/reviews/commit/c`,
    })
    await peft.pushToHub('someone/reviews', { ...options, selectedAdapters: ['default'] })
    const repo = hub.repos.get('someone/reviews')!
    expect(repo).toMatchObject({ private: true, commits: ['First', 'Upload adapter'] })
    const names = ['README.md', 'adapter_config.json', 'adapter_model.safetensors']
    expect([...repo.files.keys()].sort()).toEqual([...names, ...names.map(name => `other/${name}`)].sort())

    const folder = await temporaryFolder()
    for (const [path, content] of repo.files) {
      await mkdir(join(folder, path, '..'), { recursive: true })
      await writeFile(join(folder, path), content)
    }
    const again = await PeftModel.fromPretrained(tinyBert(), folder)
    expectClose(await logitsOf(again), await logitsOf(peft))
  })

  it('says what is wrong: no token, one that is not accepted, a name that is none', async () => {
    const peft = getPeftModel(tinyBert(), lora())
    await expect(peft.pushToHub('someone/x', { token: '', hubUrl: hub.url })).rejects.toThrow(/needs an access token/)
    await expect(peft.pushToHub('someone/x', { token: 'hf_other', hubUrl: hub.url })).rejects.toThrow(
      /refused "someone\/x" \(401.*may write there/,
    )
    await expect(peft.pushToHub('reviews', { token: TOKEN, hubUrl: hub.url })).rejects.toThrow(/expected user\/name/)
  })
})
