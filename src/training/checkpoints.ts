/** @file Checkpoints on disk: folders that are complete where they exist, and are checked before they are used. Node only. */
import { createHash, randomBytes } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { mkdir, open, readdir, readFile, rename, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { z } from 'zod'
import { syncFolder, writeFileAtomic } from '../util/files.ts'
import { SafetensorsFile, saveFile, type TensorEntry } from '../weights/index.ts'
import { CheckpointError } from './errors.ts'
import { fromJson, toJson } from './exact-json.ts'

/** Lists the other files with their sizes and hashes. */
const MANIFEST = 'checkpoint.json'
/** What may differ between two runs that are the same: how long things took. */
const TIMING = 'timing.json'
const NAME = /^checkpoint-(\d+)$/
/** What an ended process may have left half-written or half-deleted. */
const REMAINS = /^\.checkpoint-\d+\.[0-9a-f]+\.(tmp|old)$/

/** Why a checkpoint was written: as the arguments say, because a callback asked for it, or to pause. */
export type CheckpointReason = 'schedule' | 'asked' | 'pause'

const manifestSchema = z.object({
  format: z.literal(1),
  step: z.number().int(),
  reason: z.enum(['schedule', 'asked', 'pause']),
  files: z.record(z.string(), z.object({ bytes: z.number().int(), sha256: z.string() })),
})

type Manifest = z.infer<typeof manifestSchema>

/** What a checkpoint is made of. */
export interface CheckpointContents {
  step: number
  reason: CheckpointReason
  /** Files of JSON by name. */
  json: Readonly<Record<string, unknown>>
  /** Safetensors files by name. */
  tensors: Readonly<Record<string, readonly TensorEntry[]>>
  timing: unknown
  /** Writes the model or adapter itself. */
  saveModel(folder: string): Promise<unknown>
}

/** Which older checkpoints go once a new one is complete. */
export interface Retention {
  /** How many stay; undefined for all. */
  limit: number | undefined
  /** The step of a checkpoint that stays in any case. */
  best: number | undefined
}

/** A complete checkpoint. */
export class Checkpoint {
  readonly folder: string
  readonly step: number
  readonly reason: CheckpointReason
  readonly #files: ReadonlySet<string>

  private constructor(folder: string, { step, reason, files }: Manifest) {
    this.folder = folder
    this.step = step
    this.reason = reason
    this.#files = new Set(Object.keys(files))
  }

  /** Opens a checkpoint after checking each of its files. Throws, saying what is damaged. */
  static async open(folder: string): Promise<Checkpoint> {
    const manifest = await readManifest(folder)
    for (const [name, { bytes, sha256 }] of Object.entries(manifest.files)) {
      const path = join(folder, name)
      const found = await stat(path).catch(() => undefined)
      if (!found) throw new Error(`${name} is missing`)
      if (found.size !== bytes) throw new Error(`${name} has ${found.size} bytes, expected ${bytes}`)
      if ((await hashOf(path)) !== sha256) throw new Error(`${name} is not what was written (its hash differs)`)
    }
    return new Checkpoint(folder, manifest)
  }

  /** The content of a JSON file. */
  async json(name: string): Promise<unknown> {
    return fromJson(await readFile(join(this.folder, name), 'utf8'))
  }

  /** The tensors of a safetensors file by name, as float32; undefined where the checkpoint has no such file. */
  async tensors(name: string): Promise<Map<string, Float32Array> | undefined> {
    if (!this.#files.has(name)) return undefined
    await using file = await SafetensorsFile.open(join(this.folder, name))
    const result = new Map<string, Float32Array>()
    for (const tensor of file.names) result.set(tensor, await file.readFloat32(tensor))
    return result
  }

  /** How long things took; undefined where that was lost, which harms nothing. */
  async timing(): Promise<unknown> {
    return this.json(TIMING).catch(() => undefined)
  }
}

/** The checkpoints in an output folder. */
export class Checkpoints {
  readonly folder: string

  constructor(folder: string) {
    this.folder = folder
  }

  /** The steps of the checkpoints that are there, the last first. */
  async steps(): Promise<number[]> {
    const entries = await readdir(this.folder, { withFileTypes: true }).catch(error => {
      if (error.code === 'ENOENT') return []
      throw error
    })
    return entries
      .filter(entry => entry.isDirectory())
      .flatMap(({ name }) => name.match(NAME)?.[1] ?? [])
      .map(Number)
      .sort((a, b) => b - a)
  }

  /** The folder of the checkpoint of a step. */
  path(step: number): string {
    return join(this.folder, `checkpoint-${step}`)
  }

  /**
   * The last checkpoint that is not damaged; undefined where there is none at all.
   *
   * @param onDamaged is told of each that is passed over
   * @throws {CheckpointError} when there are checkpoints and all are damaged
   */
  async newest(onDamaged: (message: string) => void): Promise<Checkpoint | undefined> {
    const steps = await this.steps()
    const damages: string[] = []
    for (const step of steps) {
      try {
        const checkpoint = await Checkpoint.open(this.path(step))
        for (const damage of damages) onDamaged(`${damage}; going on from ${checkpoint.folder}.`)
        return checkpoint
      } catch (error) {
        damages.push(`The checkpoint ${this.path(step)} is damaged: ${(error as Error).message}`)
      }
    }
    if (steps.length === 0) return undefined
    throw new CheckpointError(
      `Cannot resume from ${this.folder}, no checkpoint there can be used. ${damages.join('. ')}. Start anew with ` +
        'overwriteOutputDir: true.',
    )
  }

  /**
   * Writes a checkpoint. Its folder appears when everything in it is on disk; only then do older ones go. When anything
   * fails, nothing of it is left and the others are as they were.
   */
  async write(contents: CheckpointContents, retention: Retention): Promise<string> {
    const { step } = contents
    const path = this.path(step)
    const beside = join(this.folder, `.checkpoint-${step}.${randomBytes(6).toString('hex')}`)
    const [fresh, old] = [`${beside}.tmp`, `${beside}.old`]
    try {
      await mkdir(fresh, { recursive: true })
      await fill(fresh, contents)
      // One of an earlier attempt may be there: damaged, or made in a pause.
      const replaces = await rename(path, old).then(() => true, absent)
      await rename(fresh, path)
      await syncFolder(this.folder)
      if (replaces) await rm(old, { recursive: true, force: true })
    } catch (error) {
      await rm(fresh, { recursive: true, force: true })
      throw error
    }
    await this.prune(step, retention)
    return path
  }

  /**
   * Deletes the checkpoints before that of `step` that need not be kept: those above the limit, and those of pauses that
   * are over. Later ones are left by a training that goes on from an earlier one; it will come to write them anew.
   */
  async prune(step: number, { limit = Number.POSITIVE_INFINITY, best }: Retention): Promise<void> {
    let kept = 1
    for (const older of (await this.steps()).filter(other => other < step && other !== best)) {
      const manifest = await readManifest(this.path(older)).catch(() => undefined)
      if (manifest?.reason === 'pause' || kept >= limit) await this.#remove(older)
      else kept++
    }
  }

  /** Deletes the checkpoints that were made to pause. */
  async removePauses(): Promise<void> {
    for (const step of await this.steps()) {
      const manifest = await readManifest(this.path(step)).catch(() => undefined)
      if (manifest?.reason === 'pause') await this.#remove(step)
    }
  }

  /** Deletes all checkpoints. */
  async removeAll(): Promise<void> {
    for (const step of await this.steps()) await this.#remove(step)
  }

  /** Deletes what processes that were killed have left half-written. */
  async removeRemains(): Promise<void> {
    for (const name of await readdir(this.folder)) {
      if (REMAINS.test(name)) await rm(join(this.folder, name), { recursive: true, force: true })
    }
  }

  /** A folder under its own name is complete, so it loses that name before its files go. */
  async #remove(step: number): Promise<void> {
    const old = join(this.folder, `.checkpoint-${step}.${randomBytes(6).toString('hex')}.old`)
    await rename(this.path(step), old)
    await rm(old, { recursive: true, force: true })
  }
}

function absent(error: NodeJS.ErrnoException): false {
  if (error.code === 'ENOENT') return false
  throw error
}

async function fill(folder: string, contents: CheckpointContents): Promise<void> {
  const { step, reason, json, tensors, timing } = contents
  await contents.saveModel(folder)
  for (const [name, entries] of Object.entries(tensors)) await saveFile(join(folder, name), entries)
  for (const [name, value] of Object.entries(json)) await writeFileAtomic(join(folder, name), toJson(value))
  const files: Manifest['files'] = {}
  for (const name of await filesIn(folder)) {
    const path = join(folder, name)
    files[name] = { bytes: (await stat(path)).size, sha256: await hashOf(path) }
  }
  await writeFileAtomic(join(folder, TIMING), toJson(timing))
  await writeFileAtomic(join(folder, MANIFEST), toJson({ format: 1, step, reason, files }))
  await syncTree(folder)
}

/** The files of a folder and those below it, sorted. */
async function filesIn(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { withFileTypes: true })
  const nested = entries.map(async entry =>
    entry.isDirectory() ? (await filesIn(join(folder, entry.name))).map(name => `${entry.name}/${name}`) : [entry.name],
  )
  return (await Promise.all(nested)).flat().sort()
}

/** Flushes all files and folders of a tree to disk: whoever wrote them may not have. */
export async function syncTree(folder: string): Promise<void> {
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name)
    if (entry.isDirectory()) await syncTree(path)
    else {
      const handle = await open(path, 'r+')
      try {
        await handle.sync()
      } finally {
        await handle.close()
      }
    }
  }
  await syncFolder(folder)
}

async function hashOf(path: string): Promise<string> {
  const hash = createHash('sha256')
  await pipeline(createReadStream(path), hash)
  return hash.digest('hex')
}

async function readManifest(folder: string): Promise<Manifest> {
  const text = await readFile(join(folder, MANIFEST), 'utf8').catch(() => undefined)
  if (text === undefined) throw new Error(`${MANIFEST} cannot be read; was it written by this library?`)
  try {
    return manifestSchema.parse(JSON.parse(text))
  } catch {
    throw new Error(`${MANIFEST} cannot be read, or is of another version of this library`)
  }
}
