/** @file The output folder: one complete model or none, whatever happens while it is written, and checkpoints. Node only. */
import { randomBytes } from 'node:crypto'
import { constants, type Dirent } from 'node:fs'
import { access, mkdir, readdir, readFile, realpath, rename, rm, rmdir, stat, writeFile } from 'node:fs/promises'
import { dirname, extname, join, relative, resolve } from 'node:path'
import type { Module } from '../nn/index.ts'
import { makeFolder, syncFolder } from '../util/files.ts'
import { Checkpoints, syncTree } from './checkpoints.ts'
import { RunLock } from './run-lock.ts'

/** File name endings that a saved model or adapter may have. */
const MODEL_FILES = ['.json', '.safetensors', '.md', '.txt', '.jinja', '.model']

/** What trainings leave beside a model: what was recorded of them. */
const RECORDS = /^(checkpoint-\d+|runs|logs|.*\.jsonl|.*\.ya?ml|events\.out\.tfevents.*)$/

/** The record of a training that failed before it saved anything: the next one goes on writing it. */
const FAILED = /^(metrics\.jsonl|events\.out\.tfevents.*)$/

/** What this class itself makes and what a killed process may leave of it: no reason to call a folder taken. */
const OWN = /^\.(lock(\.takeover)?|model\.ready|.+\.[0-9a-f]{12}\.(tmp|old))$/

/** What a killed process was writing: folders of this class, and files of `writeFileAtomic`. */
const HALF_WRITTEN = /^\..+\.[0-9a-f]{12}\.tmp$/

/** A model that is complete and on its way to its place. */
const READY = '.model.ready'
/** Within it: the files of the model before that have no successor. */
const OUTDATED = '.outdated'

/** Options of {@link OutputFolder.claim}. */
export interface ClaimOptions {
  /** Whether a saved model that lies there may be replaced. */
  overwrite: boolean
  /** The model in training: its own files must not be replaced. */
  model: Module
  /**
   * The checkpoint that a training is to go on from; true for the last one there. If it lies there, the folder may hold
   * checkpoints and a model.
   */
  resume?: true | string
}

/**
 * A folder that will hold a saved model. It is written in a folder within and its files moved to their places when all of
 * them are on disk; a process that is killed in between leaves what the next one needs to finish the move.
 */
export class OutputFolder {
  /** The absolute path, links resolved. */
  readonly path: string
  readonly checkpoints: Checkpoints
  readonly #resumes: boolean

  private constructor(path: string, resumes: boolean) {
    this.path = path
    this.checkpoints = new Checkpoints(path)
    this.#resumes = resumes
  }

  /**
   * Checks, without writing, that a model can be saved to `folder`.
   *
   * @throws when it is a file, when it is not empty (unless a training there is resumed, or it may be overwritten and
   *   holds nothing but a saved model that is not the one in training), when its parent cannot be written, or when another
   *   training writes to it
   */
  static async claim(folder: string, { overwrite, model, resume: from }: ClaimOptions): Promise<OutputFolder> {
    const path = await realpath(folder).catch(() => resolve(folder))
    const resume = from === true || (from !== undefined && dirname(await realpath(from).catch(() => from)) === path)
    const found = await stat(path).catch(() => undefined)
    if (found && !found.isDirectory()) {
      throw new Error(`Cannot save to ${folder}: it is a file; name a folder that does not exist yet.`)
    }
    if (found) RunLock.refuseHeld(path)
    const entries = found ? (await readdir(path, { withFileTypes: true })).filter(({ name }) => !OWN.test(name)) : []
    const output = new OutputFolder(path, resume)
    if (entries.some(({ name }) => !FAILED.test(name))) {
      const steps = await output.checkpoints.steps()
      // A finished model without checkpoints has nothing to go on from, and starting anew would replace it.
      // A training that came to nothing has left its records, which the next one replaces.
      const isLeft = steps.length === 0 && entries.every(isRecord)
      if (!overwrite && !isLeft && !(resume && steps.length > 0)) throw taken(folder, steps, resume)
      if (!resume && !isLeft) refuseForeign(folder, entries)
      refuseOwnSource(folder, path, model)
    }
    await requireWritable(folder, found ? path : await existingParent(path))
    return output
  }

  /**
   * Takes the folder's lock, and puts in order what a killed process left. Checkpoints of an earlier training go, unless
   * they are resumed from.
   *
   * @throws {OutputFolderInUseError} when another training holds it
   */
  async begin(): Promise<RunLock> {
    const lock = await RunLock.acquire(this.path)
    try {
      await this.#install()
      await this.checkpoints.removeRemains()
      for (const name of await readdir(this.path)) {
        if (HALF_WRITTEN.test(name)) await rm(join(this.path, name), { recursive: true, force: true })
      }
      if (!this.#resumes) await this.checkpoints.removeAll()
      return lock
    } catch (error) {
      await lock.release()
      throw error
    }
  }

  /** Saves a model: `save` writes to a new folder, whose files then take the place of those of the model before. */
  async write(save: (folder: string) => Promise<unknown>): Promise<void> {
    const fresh = join(this.path, `.model.${randomBytes(6).toString('hex')}.tmp`)
    let made = false
    try {
      made = await makeFolder(this.path)
      await this.#install()
      await mkdir(fresh)
      await save(fresh)
      const written = await readdir(fresh)
      const before = (await readdir(this.path, { withFileTypes: true })).filter(isModelFile).map(({ name }) => name)
      await writeFile(join(fresh, OUTDATED), JSON.stringify(before.filter(name => !written.includes(name))))
      await syncTree(fresh)
      // From here on the new model is the one that counts.
      await rename(fresh, join(this.path, READY))
    } catch (cause) {
      await rm(fresh, { recursive: true, force: true })
      if (made) await rmdir(this.path).catch(() => undefined)
      const reason = cause instanceof Error ? cause.message : String(cause)
      throw new Error(`Could not save to ${this.path}: ${reason} What was there before is unchanged.`, { cause })
    }
    await this.#install()
  }

  /** Moves the files of a model that is complete to their places; a model of a killed process too. */
  async #install(): Promise<void> {
    const ready = join(this.path, READY)
    const outdated = await readFile(join(ready, OUTDATED), 'utf8').catch(() => undefined)
    if (outdated === undefined) return
    await moveInto(ready, this.path)
    for (const name of JSON.parse(outdated) as string[]) await rm(join(this.path, name), { force: true })
    await syncFolder(this.path)
    await rm(ready, { recursive: true, force: true })
  }
}

/** Moves the files of one folder into another, weights last: without them nobody takes the rest for a model. */
async function moveInto(from: string, to: string): Promise<void> {
  const entries = await readdir(from, { withFileTypes: true })
  const weight = ({ name }: Dirent) => (name.endsWith('.index.json') ? 2 : name.endsWith('.safetensors') ? 1 : 0)
  for (const entry of entries.sort((a, b) => weight(a) - weight(b))) {
    const [source, target] = [join(from, entry.name), join(to, entry.name)]
    if (entry.name === OUTDATED) continue
    if (!entry.isDirectory()) await rename(source, target)
    else {
      await mkdir(target, { recursive: true })
      await moveInto(source, target)
      await syncFolder(target)
    }
  }
}

const isModelFile = (entry: Dirent) => entry.isFile() && MODEL_FILES.includes(extname(entry.name))
const isRecord = ({ name }: Dirent) => RECORDS.test(name)

function taken(folder: string, steps: readonly number[], resume: boolean): Error {
  if (resume) {
    return new Error(
      `Cannot resume in ${folder}: it holds no checkpoint, and it is not empty, so starting anew could delete what is ` +
        'there. Name another outputDir, or replace what is there with overwriteOutputDir: true.',
    )
  }
  const goOn = steps.length
    ? ` It holds checkpoints of a training, the last of step ${steps[0]}: go on from there with resumeFromCheckpoint: true.`
    : ''
  return new Error(
    `Cannot save to ${folder}: it is not empty.${goOn} Name another outputDir, or replace what is there with ` +
      'overwriteOutputDir: true.',
  )
}

/** Refuses a folder that holds anything but one saved model and what a training left, since replacing it would delete that. */
function refuseForeign(folder: string, entries: readonly Dirent[]): void {
  const names = entries.map(({ name }) => name)
  const isModel =
    names.includes('adapter_config.json') ||
    (names.includes('config.json') && names.some(name => extname(name) === '.safetensors')) ||
    names.some(name => /^checkpoint-\d+$/.test(name))
  const foreign = entries.find(entry => !isModelFile(entry) && !isRecord(entry))
  const problem = !isModel ? 'it holds no saved model' : foreign && `it also holds "${foreign.name}"`
  if (!problem) return
  throw new Error(
    `Cannot overwrite ${folder}: ${problem}, and replacing the folder would delete what is there. Name another outputDir.`,
  )
}

function refuseOwnSource(folder: string, path: string, model: Module): void {
  for (const parameter of model.parameters()) {
    if (!parameter.hasValue || parameter.isLoaded || parameter.isPending || parameter.quantized) continue
    const { source } = parameter
    if (source.kind !== 'file' || relative(path, source.path).startsWith('..')) continue
    throw new Error(
      `Cannot overwrite ${folder}: the model in training was loaded from it and still reads it. Name another outputDir.`,
    )
  }
}

async function existingParent(path: string): Promise<string> {
  const parent = dirname(path)
  const found = await stat(parent).catch(() => undefined)
  if (found || parent === path) return parent
  return existingParent(parent)
}

async function requireWritable(folder: string, parent: string): Promise<void> {
  try {
    await access(parent, constants.W_OK | constants.X_OK)
  } catch (cause) {
    throw new Error(`Cannot save to ${folder}: ${parent} cannot be written. Name another outputDir, or allow it.`, {
      cause,
    })
  }
}
