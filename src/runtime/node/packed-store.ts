/**
 * @file Models in the engine's own form, kept on disk: constant matrices are repacked once, and later starts map the
 * result. Such a start takes a part of the time, and packed weights are pages of a file and not memory of the process.
 */
import { createHash } from 'node:crypto'
import { mkdir, readdir, readFile, rename, rm, stat, statfs, utimes, writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { arch, cpus, homedir, platform } from 'node:os'
import { join } from 'node:path'
import type { OnnxTensor } from '../../onnx/index.ts'

const MODEL = 'model.onnx'
const WEIGHTS = 'model.bin'
/** Written last: the sizes of the other files. A folder without it is not complete. */
const SEAL = 'sizes.json'
/** Below this size packing takes less time than reading would. */
const LEAST_BYTES = 64e6
/** How much the store may hold; those used longest ago leave first. */
const LIMIT_BYTES = 20e9

/** Where packed models are kept: `PEFT_TS_CACHE`, else the user's cache folder. */
export function packedFolder(env: NodeJS.ProcessEnv = process.env): string {
  return join(env.PEFT_TS_CACHE ?? join(env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'peft-ts'), 'packed')
}

/** Writes a model in the engine's own form: `WEIGHTS` beside the model at `path`. */
type Pack = (path: string, weights: string) => Promise<void>

/** Packed models, by what they were made of. */
export class PackedStore {
  readonly #folder: string
  readonly #limit: number

  constructor(folder = packedFolder(), limit = LIMIT_BYTES) {
    this.#folder = folder
    this.#limit = limit
  }

  /**
   * The path of the packed form of a model, which `pack` makes where it is not there yet; undefined where keeping it does
   * not pay or cannot be done: for small models, and on a disk without room. The reason goes to `onProblem`.
   *
   * @param bytes the model as it would be given to the engine, with references into files for the weights there
   */
  async path(
    bytes: Uint8Array,
    initializers: readonly OnnxTensor[],
    { folder, pack, onProblem }: { folder: string; pack: Pack; onProblem?: (problem: string) => void },
  ): Promise<string | undefined> {
    const external = initializers.flatMap(({ external: place }) => (place ? [place] : []))
    const size = external.reduce((sum, { length }) => sum + length, 0)
    if (size < LEAST_BYTES) return undefined
    try {
      const files = new Set(external.map(({ location }) => join(folder, location)))
      const target = join(this.#folder, await keyOf(bytes, files))
      if (await isComplete(target)) {
        await utimes(join(target, SEAL), new Date(), new Date())
        return join(target, MODEL)
      }
      await mkdir(this.#folder, { recursive: true })
      // A training step has each weight as it is, and packed for the forward and for the backward direction.
      await this.#makeRoom(3 * size)
      const temporary = `${target}.${process.pid}.tmp`
      try {
        await mkdir(temporary)
        await pack(join(temporary, MODEL), WEIGHTS)
        const sizes: Record<string, number> = {}
        for (const name of [MODEL, WEIGHTS]) sizes[name] = (await stat(join(temporary, name))).size
        await writeFile(join(temporary, SEAL), JSON.stringify(sizes))
        // One that was not whole would stand in the way.
        await rm(target, { recursive: true, force: true })
        await rename(temporary, target)
      } finally {
        await rm(temporary, { recursive: true, force: true })
      }
      return join(target, MODEL)
    } catch (error) {
      onProblem?.(`Packed weights are not kept in ${this.#folder}: ${(error as Error).message}`)
      return undefined
    }
  }

  /** Takes a packed model away, which turned out to be no use. */
  async remove(path: string): Promise<void> {
    await rm(join(path, '..'), { recursive: true, force: true })
  }

  async #makeRoom(bytes: number): Promise<void> {
    const entries = []
    for (const name of await readdir(this.#folder)) {
      const path = join(this.#folder, name)
      const sizes = await Promise.all(
        [MODEL, WEIGHTS].map(file =>
          stat(join(path, file)).then(
            ({ size }) => size,
            () => 0,
          ),
        ),
      )
      const used = await stat(join(path, SEAL)).then(
        ({ mtimeMs }) => mtimeMs,
        () => undefined,
      )
      if (used !== undefined) entries.push({ path, used, size: sizes[0] + sizes[1] })
    }
    entries.sort((a, b) => a.used - b.used)
    let total = entries.reduce((sum, { size }) => sum + size, 0)
    for (const { path, size } of entries) {
      if (total + bytes <= this.#limit) break
      await rm(path, { recursive: true, force: true })
      total -= size
    }
    const { bavail, bsize } = await statfs(this.#folder)
    if (bavail * bsize < 2 * bytes) {
      throw new Error(
        `${((bavail * bsize) / 1e9).toFixed(1)} GB are free, ${((2 * bytes) / 1e9).toFixed(1)} GB are wanted`,
      )
    }
  }
}

/** The form depends on the model, on its weights, on the engine, and on the processor that it was packed for. */
async function keyOf(bytes: Uint8Array, files: Iterable<string>): Promise<string> {
  const { version } = createRequire(import.meta.url)('onnxruntime-node/package.json') as { version: string }
  const hash = createHash('sha256').update(bytes)
  hash.update(JSON.stringify([version, platform(), arch(), cpus()[0]?.model]))
  for (const file of [...files].sort()) {
    const { size, mtimeMs, ino } = await stat(file)
    hash.update(JSON.stringify([file, size, mtimeMs, ino]))
  }
  return hash.digest('hex').slice(0, 40)
}

async function isComplete(folder: string): Promise<boolean> {
  try {
    const sizes = JSON.parse(await readFile(join(folder, SEAL), 'utf8')) as Record<string, number>
    for (const name of [MODEL, WEIGHTS]) if ((await stat(join(folder, name))).size !== sizes[name]) return false
    return true
  } catch {
    return false
  }
}
