/** @file The formats of adapters on disk: which one a folder holds, and how each is read and written. */
import type { PeftConfig } from './config.ts'
import type { TargetOptions } from './method.ts'
import type { LoadAdapterOptions, PeftModel } from './model.ts'

/** The file that a folder with an adapter has, in every format. */
export const ADAPTER_CONFIG = 'adapter_config.json'

/** A folder that may hold an adapter. */
export interface AdapterFolder {
  path: string
  /** The names of what lies in it. */
  files: readonly string[]
  /** What its `adapter_config.json` says; undefined where it has none. */
  config: unknown
}

/** How a kind of adapter files is read and written. */
export interface AdapterFormat {
  /** Its name, by which a method chooses it: `peft`. */
  readonly name: string
  /** Whether a folder holds an adapter in this format. */
  recognizes(folder: AdapterFolder): boolean
  /** The configuration of the adapter. */
  readConfig(folder: AdapterFolder): Promise<PeftConfig & TargetOptions>
  /** Adds the adapter to a model. When this fails, the adapter is not added. */
  load(model: PeftModel, folder: AdapterFolder, adapterName: string, options: LoadAdapterOptions): Promise<void>
  /** Writes an adapter into a folder, the configuration last: a folder that has one is complete. */
  save(model: PeftModel, adapterName: string, folder: string): Promise<void>
}

const formats = new Map<string, AdapterFormat>()

/** Makes a format known. Throws when its name is taken. */
export function registerAdapterFormat(format: AdapterFormat): void {
  if (formats.has(format.name)) throw new Error(`The adapter format "${format.name}" is already registered`)
  formats.set(format.name, format)
}

/** The format called `name`. Throws for an unknown one. */
export function getAdapterFormat(name: string): AdapterFormat {
  const format = formats.get(name)
  if (!format) throw new Error(`The adapter format "${name}" is not known. Known: ${[...formats.keys()].join(', ')}.`)
  return format
}

/** The format of the adapter in a folder; undefined when no format knows it. */
export function recognizeFormat(folder: AdapterFolder): AdapterFormat | undefined {
  return [...formats.values()].find(format => format.recognizes(folder))
}
