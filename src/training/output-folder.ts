/** @file The output folder: one complete model or none, whatever happens while it is written. Node only. */
import { randomBytes } from 'node:crypto'
import { constants } from 'node:fs'
import { access, mkdir, readdir, realpath, rename, rm, stat } from 'node:fs/promises'
import { basename, dirname, extname, join, relative, resolve } from 'node:path'
import type { Module } from '../nn/index.ts'

/** File name endings that a saved model or adapter may have. */
const MODEL_FILES = ['.json', '.safetensors', '.md', '.txt', '.jinja', '.model']

/** Options of {@link OutputFolder.claim}. */
export interface ClaimOptions {
  /** Whether a saved model that lies there may be replaced. */
  overwrite: boolean
  /** The model in training: its own files must not be replaced. */
  model: Module
}

/** A folder that will hold a saved model. It is written beside its place and moved there when it is whole. */
export class OutputFolder {
  /** The absolute path, links resolved. */
  readonly path: string

  private constructor(path: string) {
    this.path = path
  }

  /**
   * Checks, without writing, that a model can be saved to `folder`.
   *
   * @throws when it is a file, when it is not empty (unless it may be overwritten and holds nothing but a saved model
   *   that is not the one in training), or when its parent cannot be written
   */
  static async claim(folder: string, { overwrite, model }: ClaimOptions): Promise<OutputFolder> {
    const path = await realpath(folder).catch(() => resolve(folder))
    const found = await stat(path).catch(() => undefined)
    if (found && !found.isDirectory()) {
      throw new Error(`Cannot save to ${folder}: it is a file; name a folder that does not exist yet.`)
    }
    const entries = found ? await readdir(path) : []
    if (entries.length > 0) {
      if (!overwrite) {
        throw new Error(
          `Cannot save to ${folder}: it is not empty. Name another outputDir, or replace what is there with ` +
            'overwriteOutputDir: true.',
        )
      }
      await refuseForeign(folder, path)
      refuseOwnSource(folder, path, model)
    }
    await requireWritable(folder, found ? dirname(path) : await existingParent(path))
    return new OutputFolder(path)
  }

  /** Saves a model: `save` writes to a new folder, which then takes the place of what is there. */
  async write(save: (folder: string) => Promise<unknown>): Promise<void> {
    const parent = dirname(this.path)
    const unique = randomBytes(6).toString('hex')
    const fresh = join(parent, `.${basename(this.path)}.${unique}.tmp`)
    const old = join(parent, `.${basename(this.path)}.${unique}.old`)
    let replaces = false
    try {
      await mkdir(fresh, { recursive: true })
      await save(fresh)
      replaces = await rename(this.path, old).then(() => true, absent)
      try {
        await rename(fresh, this.path)
      } catch (error) {
        if (replaces) await rename(old, this.path)
        throw error
      }
    } catch (cause) {
      await rm(fresh, { recursive: true, force: true })
      const reason = cause instanceof Error ? cause.message : String(cause)
      throw new Error(`Could not save to ${this.path}: ${reason} What was there before is unchanged.`, { cause })
    }
    if (replaces) await rm(old, { recursive: true, force: true })
  }
}

/** False where a file is not there; every other error is thrown on. */
function absent(error: NodeJS.ErrnoException): false {
  if (error.code === 'ENOENT') return false
  throw error
}

/** Refuses a folder that holds anything but one saved model, since replacing it would delete that. */
async function refuseForeign(folder: string, path: string): Promise<void> {
  const entries = await readdir(path, { withFileTypes: true })
  const names = entries.map(({ name }) => name)
  const isModel =
    names.includes('adapter_config.json') ||
    (names.includes('config.json') && names.some(name => extname(name) === '.safetensors'))
  const foreign = entries.find(entry => !entry.isFile() || !MODEL_FILES.includes(extname(entry.name)))
  const problem = !isModel ? 'it holds no saved model' : foreign && `it also holds "${foreign.name}"`
  if (!problem) return
  throw new Error(
    `Cannot overwrite ${folder}: ${problem}, and replacing the folder would delete what is there. Name another outputDir.`,
  )
}

function refuseOwnSource(folder: string, path: string, model: Module): void {
  for (const parameter of model.parameters()) {
    if (!parameter.hasValue || parameter.isLoaded) continue
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
