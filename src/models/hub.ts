/** @file Finds a model's folder: a local one, or one fetched into the cache that Python's huggingface_hub shares. Node only. */
import { createHash, type Hash, randomBytes } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { copyFile, mkdir, open, readdir, readFile, realpath, rename, rm, stat, symlink } from 'node:fs/promises'
import { homedir, hostname } from 'node:os'
import { basename, dirname, join, relative, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { downloadFile, HUB_URL, HubApiError, type ListFileEntry, listFiles, modelInfo } from '@huggingface/hub'
import { writeFileAtomic } from '../util/files.ts'
import { didYouMean } from '../util/nearest.ts'

/** How far a download is; all sizes in bytes. */
export interface DownloadProgress {
  /** The file under way, as the repository names it. */
  readonly file: string
  readonly fileLoaded: number
  readonly fileTotal: number
  /** Over all files that are fetched. */
  readonly loaded: number
  readonly total: number
}

/** Where and how a model is looked for. */
export interface ResolveOptions {
  /** A branch, a tag or a commit. Default: "main". */
  revision?: string
  /** The cache. Default: `HF_HUB_CACHE`, else `HF_HOME`/hub, else ~/.cache/huggingface/hub, as in Python. */
  cacheDir?: string
  /** Never use the network. Default: whether `HF_HUB_OFFLINE` is set. */
  localFilesOnly?: boolean
  /** The access token, or `false` for none. Default: `HF_TOKEN`. */
  token?: string | false
  /** The address of the hub. Default: `HF_ENDPOINT`, else the public one. */
  hubUrl?: string
  /** Globs of the files to fetch; `*` stays within a folder. Default: {@link MODEL_FILES}. */
  allowPatterns?: readonly string[]
  /** Used in place of the built-in `fetch`. */
  fetch?: typeof fetch
  /** Called while files arrive. */
  onProgress?: (progress: DownloadProgress) => void
}

/** What a model needs to run or to be trained: configuration, weights as safetensors, tokenizer, preparation, adapter. */
export const MODEL_FILES: readonly string[] = [
  'config.json',
  'generation_config.json',
  'adapter_config.json',
  'head_config.json',
  '*.safetensors',
  '*.safetensors.index.json',
  'tokenizer.json',
  'tokenizer_config.json',
  'special_tokens_map.json',
  'added_tokens.json',
  'vocab.json',
  'vocab.txt',
  'merges.txt',
  'tokenizer.model',
  'spiece.model',
  'sentencepiece.bpe.model',
  'chat_template.jinja',
  'chat_template.json',
  'preprocessor_config.json',
  'processor_config.json',
  'additional_chat_templates/*.jinja',
  'preprocessor_config.json',
]

/** Weights in formats that run code when they are read. */
const PICKLED = /\.(bin|pt|pth|ckpt|pkl)$/
const ATTEMPTS = 4
const COMMIT = /^[0-9a-f]{40}$/
const TRUE = /^(1|on|yes|true)$/i

/** One resolution under way: the id, what was asked, and what the environment adds. */
interface Request {
  readonly id: string
  readonly revision: string
  readonly cacheDir: string
  /** The folder of this repository in the cache. */
  readonly storage: string
  readonly hubUrl: string
  readonly token: string | undefined
  readonly fetch: typeof fetch
  readonly patterns: readonly string[]
  readonly onProgress: ((progress: DownloadProgress) => void) | undefined
}

/** The network did not answer at all. */
class UnreachableError extends Error {}

/**
 * Gives the local folder of a model. A path that exists is returned with its links resolved. Anything else is a hub
 * id (`name` or `org/name`): the files that are needed and not yet cached are fetched, checked against their hashes
 * and put in Python's own cache layout; the snapshot's folder is returned. Without a network the cached snapshot is
 * used. A broken transfer is taken up again where it stopped, also by a later call, and never leaves a partial file
 * under its final name.
 *
 * @throws when there is neither such a folder nor such a model, when access is refused, when only pickled weights are
 *   there, or when offline and not cached; the message says where it looked and the way out.
 * @example
 * const folder = await resolveModelFolder('Qwen/Qwen2.5-3B-Instruct', { onProgress: p => console.log(p.loaded / p.total) })
 */
export async function resolveModelFolder(idOrPath: string, options: ResolveOptions = {}): Promise<string> {
  const local = await localFolder(idOrPath)
  if (local) return local
  await checkId(idOrPath)
  const request = makeRequest(idOrPath, options)
  if (options.localFilesOnly ?? isOffline()) {
    const why = options.localFilesOnly ? 'localFilesOnly is set' : 'HF_HUB_OFFLINE is set'
    return (await cachedSnapshot(request)) ?? notCached(request, why)
  }
  try {
    return await fetchSnapshot(request)
  } catch (cause) {
    if (!(cause instanceof UnreachableError)) throw cause
    const cached = await cachedSnapshot(request)
    if (!cached) return notCached(request, cause.message, cause)
    process.emitWarning(`${cause.message}; the cached snapshot of ${request.id} is used: ${cached}`, 'HubWarning')
    return cached
  }
}

/** The folder of the hub's cache, from the same environment variables as in Python. */
export function hubCacheDir(): string {
  const env = (name: string) => (process.env[name] ? expandHome(process.env[name]) : undefined)
  const home = env('HF_HOME') ?? join(env('XDG_CACHE_HOME') ?? join(homedir(), '.cache'), 'huggingface')
  return resolve(env('HF_HUB_CACHE') ?? env('HUGGINGFACE_HUB_CACHE') ?? join(home, 'hub'))
}

function isOffline(): boolean {
  return TRUE.test(process.env.HF_HUB_OFFLINE || process.env.TRANSFORMERS_OFFLINE || '')
}

function expandHome(path: string): string {
  return path === '~' || path.startsWith('~/') ? join(homedir(), path.slice(1)) : path
}

async function localFolder(path: string): Promise<string | undefined> {
  const full = expandHome(path)
  const found = path === '' ? undefined : await stat(full).catch(() => undefined)
  if (!found) return undefined
  if (found.isDirectory()) return realpath(full)
  throw new Error(
    `${path} is a file, expected the folder of a model. Give the folder that holds it: ${dirname(resolve(full))}`,
  )
}

/** Refuses what can be no hub id, above all a mistyped path. */
async function checkId(id: string): Promise<void> {
  const name = /^[A-Za-z0-9_]([\w.-]{0,94}[A-Za-z0-9_])?$/
  const parts = id.split('/')
  if (parts.length <= 2 && parts.every(part => name.test(part)) && !/--|\.\.|\.git$/.test(id)) return
  const path = resolve(expandHome(id))
  const siblings = await readdir(dirname(path)).catch(() => undefined)
  const where = siblings
    ? `${dirname(path)} holds no "${basename(path)}".${didYouMean(basename(path), siblings)}`
    : `${dirname(path)} does not exist either.`
  throw new Error(
    `"${id}" is neither a folder nor a hub id. As a path: ${where} ` +
      'As a hub id: expected "name" or "org/name", of letters, digits, "-", "_" and ".", without "--" or "..".',
  )
}

function makeRequest(id: string, options: ResolveOptions): Request {
  const revision = options.revision ?? 'main'
  if (!/^[\w.+@-]+(\/[\w.+@-]+)*$/.test(revision) || /(^|\/)\.|\.\./.test(revision)) {
    throw new Error(`"${revision}" is no revision: expected a branch, a tag or a commit, such as "main".`)
  }
  const token = options.token ?? (process.env.HF_TOKEN || process.env.HUGGING_FACE_HUB_TOKEN)
  const cacheDir = options.cacheDir ? resolve(expandHome(options.cacheDir)) : hubCacheDir()
  const trimmed = typeof token === 'string' ? token.trim() : ''
  if (trimmed && !trimmed.startsWith('hf_')) {
    const source = options.token ? 'The option "token"' : 'The environment variable HF_TOKEN'
    throw new Error(`${source} is no access token of the hub: expected one that begins with "hf_".`)
  }
  const base = options.fetch ?? fetch
  const hubUrl = (options.hubUrl ?? (process.env.HF_ENDPOINT || HUB_URL)).replace(/\/+$/, '')
  return {
    id,
    revision,
    cacheDir,
    storage: join(cacheDir, `models--${id.split('/').join('--')}`),
    hubUrl,
    token: trimmed || undefined,
    patterns: options.allowPatterns ?? MODEL_FILES,
    onProgress: options.onProgress,
    fetch: async (...args) => {
      try {
        return await base(...args)
      } catch (cause) {
        throw new UnreachableError(`The hub at ${hubUrl} could not be reached (${networkReason(cause)})`, { cause })
      }
    },
  }
}

function networkReason(cause: unknown): string {
  const error = cause as { message?: string; code?: string; cause?: { message?: string; code?: string } }
  return error?.cause?.code ?? error?.cause?.message ?? error?.code ?? error?.message ?? String(cause)
}

/** The snapshot that is cached for the revision, or nothing; a snapshot that lacks a shard of its weights is an error. */
async function cachedSnapshot(request: Request): Promise<string | undefined> {
  const { storage, revision, patterns } = request
  const commit = await readFile(join(storage, 'refs', revision), 'utf8').then(
    text => text.trim(),
    () => revision,
  )
  if (!COMMIT.test(commit)) return undefined
  const folder = await realpath(join(storage, 'snapshots', commit)).catch(() => undefined)
  if (!folder) return undefined
  const files = (await readdir(folder, { recursive: true })).map(file => file.replaceAll('\\', '/'))
  if (!files.some(file => isWanted(file, patterns))) return undefined
  for (const index of files.filter(file => file.endsWith('.safetensors.index.json') && isWanted(file, patterns))) {
    await checkShards(request, join(folder, index))
  }
  return folder
}

async function checkShards(request: Request, indexPath: string): Promise<void> {
  const map =
    (JSON.parse(await readFile(indexPath, 'utf8')) as { weight_map?: Record<string, string> }).weight_map ?? {}
  for (const shard of new Set(Object.values(map))) {
    if (!isWanted(shard, request.patterns) || (await exists(join(dirname(indexPath), shard)))) continue
    throw new Error(
      `The cached copy of ${request.id} is incomplete: ${join(dirname(indexPath), shard)} is missing. ` +
        'Resolve it once with the network to fetch the rest.',
    )
  }
}

async function notCached(request: Request, why: string, cause?: unknown): Promise<never> {
  const { id, revision, cacheDir, storage } = request
  const entries = await readdir(cacheDir).catch(() => [] as string[])
  const cached = entries.filter(name => name.startsWith('models--')).map(name => name.slice(8).split('--').join('/'))
  const revisions = await readdir(join(storage, 'refs')).catch(() => [] as string[])
  const hint = revisions.length ? ` Cached revisions of it: ${revisions.join(', ')}.` : didYouMean(id, cached)
  throw new Error(
    `${id} (revision "${revision}") is not in the cache, and it was not fetched: ${why}. Looked for the folder ` +
      `${resolve(id)} and for a snapshot in ${storage}.${hint} ` +
      'Resolve it once with the network, point cacheDir or HF_HUB_CACHE to where it is, or give a folder.',
    { cause },
  )
}

async function fetchSnapshot(request: Request): Promise<string> {
  const { id, hubUrl, storage, revision, token: accessToken, fetch } = request
  const about = { hubUrl, accessToken, fetch }
  const { commit, listed } = await explained(request, async () => {
    const { sha } = await modelInfo({ ...about, name: id, revision, additionalFields: ['sha'] })
    if (!COMMIT.test(sha)) throw new Error(`The hub answered with "${sha}" where a commit was expected.`)
    const entries: ListFileEntry[] = []
    for await (const entry of listFiles({ ...about, repo: id, recursive: true, revision: sha })) entries.push(entry)
    return { commit: sha, listed: entries.filter(entry => entry.type === 'file') }
  })
  const files = chooseFiles(request, listed)
  const snapshot = join(storage, 'snapshots', commit)
  const total = files.reduce((sum, file) => sum + file.size, 0)
  let done = 0
  for (const file of files) {
    const report = (fileLoaded: number) =>
      request.onProgress?.({ file: file.path, fileLoaded, fileTotal: file.size, loaded: done + fileLoaded, total })
    const blob = await explained(request, () => fetchBlob(request, commit, file, report), file.path)
    await link(blob, join(snapshot, file.path))
    report(file.size)
    done += file.size
  }
  // Last, so that a revision that can be found offline is one whose files have all arrived.
  if (revision !== commit) await writeFileAtomic(join(storage, 'refs', revision), commit)
  return realpath(snapshot)
}

/** The listed files that match the patterns, smallest first, so that a refusal comes before gigabytes do. */
function chooseFiles(request: Request, listed: readonly ListFileEntry[]): ListFileEntry[] {
  const { id, revision, patterns } = request
  const names = listed.map(file => file.path)
  let chosen = listed.filter(file => isWanted(file.path, patterns))
  if (patterns === MODEL_FILES && names.some(name => /^model(-\d+-of-\d+)?\.safetensors$/.test(name))) {
    // Some repositories hold the same weights again in another layout or precision.
    chosen = chosen.filter(file => !/^(consolidated|model\.(?!safetensors)).*\.safetensors/.test(file.path))
  }
  const pickled = names.filter(name => PICKLED.test(name))
  const wantsWeights = patterns.some(pattern => pattern.endsWith('.safetensors'))
  if (wantsWeights && pickled.length && !chosen.some(file => file.path.endsWith('.safetensors'))) {
    throw new Error(
      `${id} (revision "${revision}") has its weights only as ${pickled.slice(0, 3).join(', ')}: pickled files, which ` +
        'run code when they are read and are refused. Save it again from Python with ' +
        'model.save_pretrained(folder, safe_serialization=True), or give a revision that holds .safetensors.',
    )
  }
  if (!chosen.length) {
    throw new Error(
      `${id} (revision "${revision}") has no file that matches ${patterns.join(', ')}. It holds ` +
        `${names.length ? names.slice(0, 10).join(', ') : 'no files'}. Give other allowPatterns, or another id.`,
    )
  }
  for (const file of chosen) checkPath(file.path)
  return chosen.sort((a, b) => a.size - b.size)
}

/** `*` and `?` stay within a folder, `**` crosses folders. */
function globToRegExp(glob: string): RegExp {
  const body = glob.replace(/\*\*\/|\*\*|\*|\?|[.+^${}()|[\]\\]/g, token => {
    if (token === '**/') return '(?:.*/)?'
    if (token === '**') return '.*'
    if (token === '*') return '[^/]*'
    return token === '?' ? '[^/]' : `\\${token}`
  })
  return new RegExp(`^${body}$`)
}

function isWanted(path: string, patterns: readonly string[]): boolean {
  return !PICKLED.test(path) && patterns.some(pattern => globToRegExp(pattern).test(path))
}

/** A repository's file names come from strangers: none may lead out of the snapshot's folder. */
function checkPath(path: string): void {
  if (!path.split(/[\\/]/).some(part => part === '..' || part === '' || /^[A-Za-z]:/.test(part))) return
  throw new Error(`The repository names a file "${path}", which leads out of its folder. It is not fetched.`)
}

/** Fetches one file into `blobs/`, or finds it there, and gives its path. */
async function fetchBlob(
  request: Request,
  commit: string,
  file: ListFileEntry,
  report: (loaded: number) => void,
): Promise<string> {
  const name = file.lfs?.oid ?? file.xetHash ?? file.oid ?? ''
  if (!/^[0-9a-f]{40,128}$/.test(name)) throw new Error(`The hub gave no hash for ${file.path}.`)
  const folder = join(request.storage, 'blobs')
  const blob = join(folder, name)
  if ((await stat(blob).catch(() => undefined))?.size === file.size) return blob
  await mkdir(folder, { recursive: true })
  const partial = await claimPartial(folder, name)
  try {
    await downloadInto(partial, request, commit, file, report)
    await rename(partial, blob)
  } catch (cause) {
    await rename(partial, join(folder, partialName(name, 0))).catch(() => {})
    throw cause
  }
  return blob
}

function partialName(blob: string, pid: number): string {
  return `${blob}.${hostname().replace(/[^\w-]/g, '_')}-${pid}-${randomBytes(4).toString('hex')}.incomplete`
}

/**
 * Takes over what an earlier call left of this blob, or names a new file. The owner's process is part of the name and
 * the renaming is atomic, so two processes never write to one file.
 */
async function claimPartial(folder: string, blob: string): Promise<string> {
  const mine = join(folder, partialName(blob, process.pid))
  const prefix = partialName(blob, 0).split('-').slice(0, -2).join('-')
  for (const entry of await readdir(folder)) {
    const [owner] = entry.startsWith(`${prefix}-`) ? entry.slice(prefix.length + 1).split('-') : ['']
    if (!/^\d+$/.test(owner) || !entry.endsWith('.incomplete') || isAlive(Number(owner))) continue
    const taken = await rename(join(folder, entry), mine).then(
      () => true,
      () => false,
    )
    if (taken) break
  }
  return mine
}

function isAlive(pid: number): boolean {
  if (pid === 0) return false
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}

/** Brings `path` to the whole, verified content; a transfer that breaks off is continued, a few times. */
async function downloadInto(
  path: string,
  request: Request,
  commit: string,
  file: ListFileEntry,
  report: (loaded: number) => void,
): Promise<void> {
  const { id, hubUrl, token: accessToken, fetch } = request
  for (let attempt = 1; ; attempt++) {
    const { hash, expected } = startHash(file)
    const handle = await open(path, 'a')
    try {
      let loaded = (await handle.stat()).size
      if (loaded > file.size) await handle.truncate((loaded = 0))
      if (loaded) for await (const chunk of createReadStream(path)) hash.update(chunk)
      if (loaded < file.size) {
        const whole = await downloadFile({ repo: id, path: file.path, revision: commit, hubUrl, accessToken, fetch })
        if (!whole) throw new HubApiError(hubUrl, 404, undefined, `${file.path} is not there`)
        if (whole.size !== file.size) {
          throw new Error(`${file.path} has ${whole.size} bytes on the hub and ${file.size} in its listing.`)
        }
        const rest = loaded ? whole.slice(loaded, file.size) : whole
        for await (const chunk of rest.stream() as unknown as AsyncIterable<Uint8Array>) {
          await handle.appendFile(chunk)
          hash.update(chunk)
          report((loaded += chunk.byteLength))
        }
      }
      await handle.sync()
      if (loaded === file.size && (expected === undefined || hash.digest('hex') === expected)) return
      if (loaded >= file.size) await handle.truncate(0)
      throw new Error(loaded < file.size ? `it ended after ${loaded} bytes` : 'its content does not match its hash')
    } catch (cause) {
      if (cause instanceof HubApiError || isDiskError(cause)) throw cause
      if (attempt === ATTEMPTS) {
        const reason = cause instanceof Error ? cause.message : String(cause)
        throw new Error(
          `The transfer of ${file.path} (${file.size} bytes) of ${id} broke off ${ATTEMPTS} times: ${reason}. ` +
            'Nothing is left under its final name; call again to continue where it stopped.',
          { cause },
        )
      }
    } finally {
      await handle.close()
    }
    await sleep(100 * 2 ** attempt)
  }
}

/** The hub names large files by their SHA-256 and small ones as git does; both are checked. */
function startHash(file: ListFileEntry): { hash: Hash; expected: string | undefined } {
  if (file.lfs) return { hash: createHash('sha256'), expected: file.lfs.oid }
  const hash = createHash('sha1').update(`blob ${file.size}\0`)
  return { hash, expected: file.xetHash ? undefined : file.oid }
}

function isDiskError(cause: unknown): boolean {
  return ['ENOSPC', 'EACCES', 'EPERM', 'EROFS', 'EDQUOT', 'EIO'].includes((cause as NodeJS.ErrnoException)?.code ?? '')
}

/** Points `path` in the snapshot to the blob, relatively, so that the cache can be moved. */
async function link(blob: string, path: string): Promise<void> {
  if ((await realpath(path).catch(() => undefined)) === (await realpath(blob))) return
  await mkdir(dirname(path), { recursive: true })
  const temporary = join(dirname(path), `.${randomBytes(6).toString('hex')}.tmp`)
  try {
    // Where links are not allowed (Windows without developer mode) Python's cache holds copies too.
    await symlink(relative(dirname(path), blob), temporary).catch(() => copyFile(blob, temporary))
    await rename(temporary, path)
  } finally {
    await rm(temporary, { force: true })
  }
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  )
}

/** Runs `work` and says in words what a refusal of the hub means. */
async function explained<T>(request: Request, work: () => Promise<T>, file?: string): Promise<T> {
  try {
    return await work()
  } catch (cause) {
    if (!(cause instanceof HubApiError)) throw cause
    throw new Error(await explainStatus(request, cause, file), { cause })
  }
}

async function explainStatus(request: Request, error: HubApiError, file?: string): Promise<string> {
  const { id, revision, hubUrl, token } = request
  const what = `${file ? `${file} of ` : ''}${id} (revision "${revision}")`
  const said = String(error.data?.error ?? error.data?.message ?? '').slice(0, 200)
  const answer = `the hub at ${hubUrl} answered ${error.statusCode}${said ? ` ("${said}")` : ''}`
  const page = `${hubUrl}/${id}`
  switch (error.statusCode) {
    case 401:
      return (
        `${what} was refused: ${answer}. It does not exist, is private or is gated. Check the spelling` +
        (token
          ? `, and that the access token given is valid and may read it (${page}).`
          : `; if it is gated, accept its terms at ${page}, then set HF_TOKEN or the option "token".`) +
        ` If a folder was meant: ${resolve(id)} does not exist.`
      )
    case 403:
      return (
        `${what} was refused: ${answer}. It is gated or this access token may not read it. Accept its terms at ${page} ` +
        `${token ? 'with the account of the token' : 'and set HF_TOKEN or the option "token"'}.`
      )
    case 404:
      return /\brev(ision)?\b/i.test(said)
        ? `${what} was not found: ${answer}. The model exists and has no such revision: give a branch, a tag or a commit.`
        : `${what} was not found: ${answer}. Check the spelling. If a folder was meant: ${resolve(id)} does not exist.` +
            didYouMean(basename(id), await readdir(dirname(resolve(id))).catch(() => []))
    case 429:
      return `${what} was not fetched: ${answer}. Too many requests: wait a few minutes${token ? '' : ', or set HF_TOKEN'}.`
    default:
      return `${what} was not fetched: ${answer}. Try again later; what is cached is used with localFilesOnly.`
  }
}
