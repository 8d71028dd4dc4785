import { createHash } from 'node:crypto'
import { lstat, mkdir, mkdtemp, readdir, readFile, readlink, realpath, rm, writeFile } from 'node:fs/promises'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { homedir, tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { AutoConfig } from './config.ts'
import { type DownloadProgress, hubCacheDir, resolveModelFolder } from './hub.ts'

const COMMIT = 'a'.repeat(40)
const SECRET = 'hf_secret'

interface Repo {
  files: Record<string, string>
  commit?: string
  /** Who may read: everyone, holders of the token, or nobody. */
  access?: 'open' | 'private' | 'gated'
}

const sha256 = (text: string) => createHash('sha256').update(text).digest('hex')
const gitHash = (text: string) =>
  createHash('sha1')
    .update(`blob ${Buffer.byteLength(text)}\0${text}`)
    .digest('hex')
const isLarge = (path: string) => /\.(safetensors|bin|model)$/.test(path)

/** A hub on the loopback interface: model info, paged tree listing, resolve with redirects for large files, ranges. */
class FakeHub {
  repos: Record<string, Repo> = {}
  requests: { path: string; range?: string; token?: string }[] = []
  /** How many transfers of large files break off halfway. */
  breaks = 0
  /** What is served in place of a large file's content. */
  corrupt: ((body: Buffer) => Buffer) | undefined
  url = ''
  /** The store of large files: another origin, as in reality. */
  storeUrl = ''
  readonly #servers: Server[] = [0, 1].map(() => createServer((request, response) => this.#serve(request, response)))

  async start(): Promise<void> {
    const urls = this.#servers.map(async server => {
      await new Promise<void>(done => server.listen(0, '127.0.0.1', done))
      return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
    })
    ;[this.url, this.storeUrl] = await Promise.all(urls)
  }

  async stop(): Promise<void> {
    for (const server of this.#servers) {
      server.closeAllConnections()
      await new Promise(done => server.close(done))
    }
  }

  #serve(request: IncomingMessage, response: ServerResponse): unknown {
    const url = new URL(request.url!, this.url)
    const path = decodeURIComponent(url.pathname)
    const token = request.headers.authorization?.replace('Bearer ', '')
    this.requests.push({ path, range: request.headers.range, token })
    const refuse = (status: number, code: string, error: string) => {
      response.writeHead(status, { 'Content-Type': 'application/json', 'X-Error-Code': code })
      response.end(JSON.stringify({ error }))
    }
    if (path.startsWith('/cdn/')) return this.#send(request, response, path.slice(5), true)
    const match =
      /^\/api\/models\/(.+?)\/(revision|tree)\/(.+)$/.exec(path) ?? /^\/(.+?)\/(resolve)\/([^/]+)\/.+$/.exec(path)
    const repo = match ? this.repos[match[1]] : undefined
    if (!match || !repo) {
      return token
        ? refuse(404, 'RepoNotFound', 'Repository not found')
        : refuse(401, '', 'Invalid username or password.')
    }
    const [, id, action, revision] = match
    const commit = repo.commit ?? COMMIT
    if (repo.access === 'private' && token !== SECRET) return refuse(401, '', 'Invalid username or password.')
    if (!['main', 'v1', 'refs/pr/1', commit].includes(revision)) {
      return refuse(404, 'RevisionNotFound', `Invalid rev id: ${revision}`)
    }
    if (action === 'revision')
      return json(response, { _id: '1', id, sha: commit, lastModified: new Date().toISOString() })
    if (action === 'tree') return this.#tree(url, response, repo)
    if (repo.access === 'gated' && token !== SECRET) {
      return refuse(403, 'GatedRepo', `Access to model ${id} is restricted.`)
    }
    const file = path.slice(`/${id}/resolve/${revision}/`.length)
    const content = repo.files[file]
    if (content === undefined) return refuse(404, 'EntryNotFound', 'Entry not found')
    response.setHeader('X-Repo-Commit', commit)
    if (!isLarge(file)) return this.#send(request, response, content, false)
    response.writeHead(302, {
      Location: `${this.storeUrl}/cdn/${encodeURIComponent(content)}`,
      'X-Linked-ETag': sha256(content),
    })
    response.end()
  }

  #tree(url: URL, response: ServerResponse, repo: Repo): void {
    const entries = Object.entries(repo.files).map(([path, content]) => {
      const size = Buffer.byteLength(content)
      const lfs = isLarge(path) ? { oid: sha256(content), size, pointerSize: 130 } : undefined
      return { type: 'file', path, size, oid: lfs ? gitHash('pointer') : gitHash(content), lfs }
    })
    const folders = new Set(entries.filter(e => e.path.includes('/')).map(e => e.path.split('/')[0]))
    const all = [...[...folders].map(path => ({ type: 'directory', path, size: 0, oid: 'b'.repeat(40) })), ...entries]
    const start = Number(url.searchParams.get('cursor') ?? 0)
    if (start + 3 < all.length) {
      url.searchParams.set('cursor', String(start + 3))
      response.setHeader('Link', `<${url.href}>; rel="next"`)
    }
    json(response, all.slice(start, start + 3))
  }

  #send(request: IncomingMessage, response: ServerResponse, content: string, large: boolean): void {
    let body: Buffer = Buffer.from(content)
    const etag = `"${large ? sha256(content) : gitHash(content)}"`
    if (large && this.corrupt) body = this.corrupt(body)
    const total = body.length
    const range = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '')
    const headers: Record<string, string> = { ETag: etag, 'Accept-Ranges': 'bytes' }
    if (range) {
      headers['Content-Range'] = `bytes ${range[1]}-${range[2]}/${total}`
      body = body.subarray(Number(range[1]), Number(range[2]) + 1)
    }
    response.writeHead(range ? 206 : 200, { ...headers, 'Content-Length': String(body.length) })
    if (large && body.length > 1 && this.breaks > 0) {
      this.breaks--
      response.write(body.subarray(0, body.length / 2))
      setTimeout(() => response.destroy(), 50)
    } else response.end(body)
  }
}

function json(response: ServerResponse, value: unknown): void {
  response.writeHead(200, { 'Content-Type': 'application/json' })
  response.end(JSON.stringify(value))
}

const weights = 'weights '.repeat(600)
const tiny: Repo = {
  files: {
    '.gitattributes': '*.safetensors filter=lfs',
    'README.md': '# tiny',
    'config.json': '{"model_type": "bert", "hidden_size": 32, "num_attention_heads": 4}',
    'tokenizer.json': '{"version": "1.0"}',
    'empty/added_tokens.json': '',
    'model.safetensors': weights,
    'model.fp16.safetensors': 'half',
    'pytorch_model.bin': 'pickle',
    'onnx/model.onnx': 'onnx',
    'onnx/model.safetensors': 'nested',
  },
}

let hub: FakeHub
let root: string
let cacheDir: string
let options: { hubUrl: string; cacheDir: string }

beforeEach(async () => {
  for (const name of Object.keys(process.env))
    if (/^(HF_|HUGGING|TRANSFORMERS_)/.test(name)) vi.stubEnv(name, undefined)
  hub = new FakeHub()
  await hub.start()
  root = await realpath(await mkdtemp(join(tmpdir(), 'hub-test-')))
  cacheDir = join(root, 'cache')
  options = { hubUrl: hub.url, cacheDir }
  hub.repos['org/tiny'] = tiny
})

afterEach(async () => {
  vi.unstubAllEnvs()
  await hub.stop()
  await rm(root, { recursive: true, force: true })
})

describe('a path', () => {
  it('is returned with its links resolved, without any request', async () => {
    const folder = join(root, 'model')
    await mkdir(folder)
    expect(await resolveModelFolder(join(root, '.', 'model'), options)).toBe(folder)
    expect(hub.requests).toEqual([])
  })

  it('that is mistyped is answered with the nearest name', async () => {
    await mkdir(join(root, 'my-model'))
    await expect(resolveModelFolder(join(root, 'my-modle'), options)).rejects.toThrow(
      /neither a folder nor a hub id.*holds no "my-modle"\. Did you mean "my-model"/,
    )
  })

  it('of a file is refused with the folder to give', async () => {
    const file = join(root, 'model.safetensors')
    await writeFile(file, '')
    await expect(resolveModelFolder(file, options)).rejects.toThrow(`is a file, expected the folder of a model`)
  })

  it.each(['../secret', '/etc/nothing-here', 'a/b/c', 'org/..', 'org/a--b', '.hidden', 'org/', '', 'org/a b', 'x.git'])(
    'such as %j that does not exist is no hub id either',
    async id => {
      await expect(resolveModelFolder(id, options)).rejects.toThrow('neither a folder nor a hub id')
      expect(hub.requests).toEqual([])
    },
  )
})

describe('fetching', () => {
  it("writes Python's cache layout and only the files that are needed", async () => {
    const folder = await resolveModelFolder('org/tiny', options)
    const storage = join(cacheDir, 'models--org--tiny')
    expect(folder).toBe(join(storage, 'snapshots', COMMIT))
    expect(await readFile(join(storage, 'refs', 'main'), 'utf8')).toBe(COMMIT)
    expect((await readdir(folder)).sort()).toEqual(['config.json', 'model.safetensors', 'tokenizer.json'])
    expect(await readlink(join(folder, 'model.safetensors'))).toBe(join('..', '..', 'blobs', sha256(weights)))
    expect(await readlink(join(folder, 'config.json'))).toBe(
      join('..', '..', 'blobs', gitHash(tiny.files['config.json'])),
    )
    expect(await readFile(join(folder, 'model.safetensors'), 'utf8')).toBe(weights)
    expect((await readdir(join(storage, 'blobs'))).length).toBe(3)
  })

  it('reports bytes up to the total', async () => {
    const events: DownloadProgress[] = []
    await resolveModelFolder('org/tiny', { ...options, onProgress: event => events.push(event) })
    const last = events.at(-1)!
    expect(last).toMatchObject({ file: 'model.safetensors', fileLoaded: weights.length, fileTotal: weights.length })
    expect(last.loaded).toBe(last.total)
    expect(events.every((event, i) => i === 0 || event.loaded >= events[i - 1].loaded)).toBe(true)
  })

  it('fetches no content a second time, and a new commit shares unchanged blobs', async () => {
    await resolveModelFolder('org/tiny', options)
    hub.requests = []
    await resolveModelFolder('org/tiny', options)
    expect(hub.requests.filter(r => r.path.includes('/resolve/'))).toEqual([])

    const commit = 'c'.repeat(40)
    hub.repos['org/tiny'] = { commit, files: { ...tiny.files, 'config.json': '{"model_type": "bert"}' } }
    const folder = await resolveModelFolder('org/tiny', options)
    expect(folder.endsWith(commit)).toBe(true)
    expect(hub.requests.filter(r => r.path.includes('/resolve/')).every(r => r.path.endsWith('config.json'))).toBe(true)
    expect((await lstat(join(folder, 'model.safetensors'))).isSymbolicLink()).toBe(true)
  })

  it('takes nested files and empty files where patterns ask for them', async () => {
    const folder = await resolveModelFolder('org/tiny', { ...options, allowPatterns: ['**/*.safetensors', 'empty/*'] })
    expect(await readFile(join(folder, 'onnx', 'model.safetensors'), 'utf8')).toBe('nested')
    expect(await readFile(join(folder, 'empty', 'added_tokens.json'), 'utf8')).toBe('')
    expect(await readlink(join(folder, 'onnx', 'model.safetensors'))).toContain(join('..', '..', '..', 'blobs'))
  })

  it('keeps a revision with slashes as Python does', async () => {
    await resolveModelFolder('org/tiny', { ...options, revision: 'refs/pr/1' })
    expect(await readFile(join(cacheDir, 'models--org--tiny', 'refs', 'refs', 'pr', '1'), 'utf8')).toBe(COMMIT)
  })

  it('never fetches pickled weights and says so when there are no others', async () => {
    const { 'model.safetensors': _, 'model.fp16.safetensors': __, ...files } = tiny.files
    hub.repos['org/old'] = { files }
    await expect(resolveModelFolder('org/old', options)).rejects.toThrow(
      /only as pytorch_model\.bin.*safe_serialization/,
    )
    expect(await readdir(root)).toEqual([])
  })

  it('says what a repository holds when nothing matches', async () => {
    await expect(resolveModelFolder('org/tiny', { ...options, allowPatterns: ['*.gguf'] })).rejects.toThrow(
      /no file that matches \*\.gguf\. It holds .*README\.md/,
    )
  })

  it('refuses file names that lead out of the snapshot', async () => {
    hub.repos['org/evil'] = { files: { '../../../evil.json': '{}' } }
    await expect(resolveModelFolder('org/evil', { ...options, allowPatterns: ['**'] })).rejects.toThrow(/leads out/)
    expect(await readdir(root)).toEqual([])
  })

  it('twice at the same time gives one whole copy', async () => {
    const folders = await Promise.all([
      resolveModelFolder('org/tiny', options),
      resolveModelFolder('org/tiny', options),
    ])
    expect(folders[0]).toBe(folders[1])
    expect(await readFile(join(folders[0], 'model.safetensors'), 'utf8')).toBe(weights)
    expect((await readdir(join(cacheDir, 'models--org--tiny', 'blobs'))).sort()).toEqual(
      ['model.safetensors', 'config.json', 'tokenizer.json']
        .map(name => (isLarge(name) ? sha256 : gitHash)(tiny.files[name]))
        .sort(),
    )
    expect((await readdir(folders[0])).length).toBe(3)
  })

  it('goes through a fetch of one’s own', async () => {
    const own = vi.fn<typeof fetch>((...args) => fetch(...args))
    await resolveModelFolder('org/tiny', { ...options, fetch: own })
    expect(own.mock.calls.length).toBe(hub.requests.length - 2) // the two redirects to the store of large files
  })

  it('reads a configuration from the hub by fetching only that file', async () => {
    const config = await AutoConfig.fromPretrained('org/tiny', options)
    expect(config.model_type).toBe('bert')
    expect(await readdir(join(cacheDir, 'models--org--tiny', 'blobs'))).toHaveLength(1)
  })
})

describe('a transfer that breaks off', () => {
  const storage = () => join(cacheDir, 'models--org--tiny')

  it('is continued from where it stopped', async () => {
    hub.breaks = 1
    const folder = await resolveModelFolder('org/tiny', options)
    expect(await readFile(join(folder, 'model.safetensors'), 'utf8')).toBe(weights)
    expect(hub.requests.some(r => r.path.startsWith('/cdn/') && /^bytes=[1-9]/.test(r.range ?? ''))).toBe(true)
  })

  it('again and again leaves nothing under a final name, and the next call continues', async () => {
    hub.breaks = 100
    await expect(resolveModelFolder('org/tiny', options)).rejects.toThrow(
      /transfer of model\.safetensors \(4800 bytes\) of org\/tiny broke off 4 times/,
    )
    expect(await readdir(join(storage(), 'blobs'))).not.toContain(sha256(weights))
    expect(await readdir(join(storage(), 'snapshots', COMMIT))).not.toContain('model.safetensors')
    await expect(readdir(join(storage(), 'refs'))).rejects.toThrow('ENOENT')
    await expect(resolveModelFolder('org/tiny', { ...options, localFilesOnly: true })).rejects.toThrow(
      'not in the cache',
    )

    hub.breaks = 0
    hub.requests = []
    const folder = await resolveModelFolder('org/tiny', options)
    expect(await readFile(join(folder, 'model.safetensors'), 'utf8')).toBe(weights)
    expect(hub.requests.some(r => r.path.startsWith('/cdn/') && /^bytes=[1-9]/.test(r.range ?? ''))).toBe(true)
    expect((await readdir(join(storage(), 'blobs'))).filter(name => name.endsWith('.incomplete'))).toEqual([])
  })

  it('or whose content is not what the hub announced is refused', async () => {
    hub.corrupt = body => Buffer.from(body.toString().replace('weights', 'WEIGHTS'))
    await expect(resolveModelFolder('org/tiny', options)).rejects.toThrow('does not match its hash')
    expect(await readdir(join(storage(), 'blobs'))).not.toContain(sha256(weights))
  })
})

describe('refusals of the hub', () => {
  it('an unknown id without a token names the id, the spelling and the path that was tried', async () => {
    await expect(resolveModelFolder('org/tinny', options)).rejects.toThrow(
      new RegExp(`org/tinny .*answered 401.*Check the spelling.*HF_TOKEN.*${resolve('org/tinny')}`),
    )
  })

  it('an unknown id with a token is not found', async () => {
    await expect(resolveModelFolder('org/tinny', { ...options, token: SECRET })).rejects.toThrow(
      /org\/tinny .*not found.*404.*If a folder was meant/,
    )
  })

  it('an unknown revision is told apart from an unknown model', async () => {
    await expect(resolveModelFolder('org/tiny', { ...options, revision: 'v9' })).rejects.toThrow(
      /revision "v9".*has no such revision/,
    )
  })

  it('a gated model tells to accept its terms', async () => {
    hub.repos['org/gated'] = { ...tiny, access: 'gated' }
    await expect(resolveModelFolder('org/gated', options)).rejects.toThrow(
      /403.*restricted.*Accept its terms at .*HF_TOKEN/,
    )
  })

  it('a private model opens with the token, which is not sent to the store of large files', async () => {
    hub.repos['org/private'] = { ...tiny, access: 'private' }
    vi.stubEnv('HF_TOKEN', `${SECRET}\n`)
    await resolveModelFolder('org/private', options)
    expect(hub.requests.filter(r => r.path.startsWith('/api')).every(r => r.token === SECRET)).toBe(true)
    const store = hub.requests.filter(r => r.path.startsWith('/cdn/'))
    expect(store.length).toBeGreaterThan(0)
    expect(store.every(r => r.token === undefined)).toBe(true)
    await expect(resolveModelFolder('org/private', { ...options, token: false })).rejects.toThrow('401')
  })

  it('something that is no token is refused without showing it', async () => {
    const error: Error = await resolveModelFolder('org/tiny', { ...options, token: 'password1' }).catch(e => e)
    expect(error.message).toMatch(/"token" is no access token.*hf_/)
    expect(error.message).not.toContain('password1')
  })

  it.each(['../main', '/etc', 'a..b', '', 'a/.b'])('the revision %j is refused before any request', async revision => {
    await expect(resolveModelFolder('org/tiny', { ...options, revision })).rejects.toThrow('is no revision')
    expect(hub.requests).toEqual([])
  })
})

describe('without a network', () => {
  it.each([
    ['localFilesOnly', { localFilesOnly: true }, {}],
    ['HF_HUB_OFFLINE', {}, { HF_HUB_OFFLINE: '1' }],
  ])('the cached snapshot is used with %s', async (_, extra, env) => {
    const folder = await resolveModelFolder('org/tiny', options)
    hub.requests = []
    for (const [name, value] of Object.entries(env)) vi.stubEnv(name, value)
    expect(await resolveModelFolder('org/tiny', { ...options, ...extra })).toBe(folder)
    expect(await resolveModelFolder('org/tiny', { ...options, ...extra, revision: COMMIT })).toBe(folder)
    expect(hub.requests).toEqual([])
  })

  it('a model that is not cached names the id, the places, the reason and the nearest cached one', async () => {
    await resolveModelFolder('org/tiny', options)
    const offline = resolveModelFolder('org/tinny', { ...options, localFilesOnly: true })
    await expect(offline).rejects.toThrow(
      /org\/tinny.*localFilesOnly is set.*models--org--tinny.*Did you mean "org\/tiny"/,
    )
    await expect(resolveModelFolder('org/tiny', { ...options, localFilesOnly: true, revision: 'v1' })).rejects.toThrow(
      'Cached revisions of it: main',
    )
  })

  it('an unreachable hub falls back to the cache with a warning, and else says that it could not be reached', async () => {
    const folder = await resolveModelFolder('org/tiny', options)
    const warn = vi.spyOn(process, 'emitWarning').mockImplementation(() => {})
    const url = 'http://127.0.0.1:9'
    const refused: typeof fetch = () =>
      Promise.reject(Object.assign(new TypeError('fetch failed'), { cause: { code: 'ECONNREFUSED' } }))
    expect(await resolveModelFolder('org/tiny', { ...options, hubUrl: url, fetch: refused })).toBe(folder)
    expect(warn.mock.calls[0][0]).toMatch(/could not be reached \(ECONNREFUSED\).*cached snapshot/)
    await expect(resolveModelFolder('org/other', { ...options, hubUrl: url, fetch: refused })).rejects.toThrow(
      /org\/other.*not in the cache.*could not be reached \(ECONNREFUSED\)/,
    )
    warn.mockRestore()
  })

  it('a cached model that lacks a shard is told as incomplete', async () => {
    const index = JSON.stringify({ weight_map: { a: 'model-1-of-2.safetensors', b: 'model-2-of-2.safetensors' } })
    hub.repos['org/shards'] = {
      files: { 'config.json': '{}', 'model.safetensors.index.json': index, 'model-1-of-2.safetensors': 'one' },
    }
    await resolveModelFolder('org/shards', options)
    await expect(resolveModelFolder('org/shards', { ...options, localFilesOnly: true })).rejects.toThrow(
      /incomplete: .*model-2-of-2\.safetensors is missing/,
    )
  })
})

describe('the environment', () => {
  it('gives the cache folder in the order of Python', () => {
    vi.stubEnv('XDG_CACHE_HOME', undefined)
    expect(hubCacheDir()).toBe(join(homedir(), '.cache', 'huggingface', 'hub'))
    vi.stubEnv('XDG_CACHE_HOME', '/xdg')
    expect(hubCacheDir()).toBe(resolve('/xdg/huggingface/hub'))
    vi.stubEnv('HF_HOME', '~/hf')
    expect(hubCacheDir()).toBe(join(homedir(), 'hf', 'hub'))
    vi.stubEnv('HUGGINGFACE_HUB_CACHE', '/old')
    expect(hubCacheDir()).toBe(resolve('/old'))
    vi.stubEnv('HF_HUB_CACHE', '/new')
    expect(hubCacheDir()).toBe(resolve('/new'))
  })

  it('gives the endpoint and the cache when options leave them out', async () => {
    vi.stubEnv('HF_ENDPOINT', `${hub.url}/`)
    vi.stubEnv('HF_HUB_CACHE', join(root, 'elsewhere'))
    const folder = await resolveModelFolder('org/tiny')
    expect(folder.startsWith(join(root, 'elsewhere', 'models--org--tiny'))).toBe(true)
  })
})
