/** @file What was measured about kernels, kept for each machine and version of the engine. Node only. */
import { readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { arch, availableParallelism, cpus, platform } from 'node:os'
import { join } from 'node:path'
import { writeFileAtomic } from '../../util/files.ts'
import { didYouMean } from '../../util/nearest.ts'
import { defaultCacheDir } from '../../weights/index.ts'
import { chooseProducts, type KernelTimes } from '../kernels.ts'

/** Changed when what was measured before does not count any more. */
const VERSION = 2

/** The value of the environment variable `PEFT_TS_KERNELS`, which decides in place of measuring. */
const FORCED = ['exact', 'int8'] as const

/** The choice for one machine. */
export interface KernelChoice {
  products: (typeof FORCED)[number]
  /** What it was made of; empty where `PEFT_TS_KERNELS` made it. */
  times: readonly KernelTimes[]
}

/** How a {@link KernelStore} is made. */
export interface KernelStoreOptions {
  /** The folder of the cache; by default `PEFT_TS_CACHE`, else `~/.cache/peft-ts`. */
  folder?: string
  /** What measurements belong to; by default the processor, the versions of system and engine. */
  machine?: string
  env?: NodeJS.ProcessEnv
  onProblem?: (problem: string) => void
}

/** Choices by machine and number of threads, in one file of the cache: the same machine chooses the same each time. */
export class KernelStore {
  readonly #path: string
  readonly #machine: string
  readonly #env: NodeJS.ProcessEnv
  readonly #onProblem: (problem: string) => void
  readonly #choices = new Map<number, Promise<KernelChoice>>()

  constructor({
    folder = defaultCacheDir(),
    machine = thisMachine(),
    env = process.env,
    onProblem,
  }: KernelStoreOptions = {}) {
    this.#path = join(folder, 'kernels.json')
    this.#machine = machine
    this.#env = env
    this.#onProblem = onProblem ?? (problem => process.emitWarning(problem))
  }

  /**
   * The choice for so many threads: that of `PEFT_TS_KERNELS`, else the one that was made before, else what `measure`
   * says, which is then kept.
   *
   * @throws where `PEFT_TS_KERNELS` is neither `exact` nor `int8`
   */
  choice(
    measure: () => Promise<readonly KernelTimes[]>,
    threads: number = availableParallelism(),
  ): Promise<KernelChoice> {
    const known = this.#choices.get(threads)
    if (known) return known
    const made = this.#make(measure, threads)
    this.#choices.set(threads, made)
    // What failed may succeed the next time.
    made.catch(() => this.#choices.delete(threads))
    return made
  }

  async #make(measure: () => Promise<readonly KernelTimes[]>, threads: number): Promise<KernelChoice> {
    const forced = this.#env.PEFT_TS_KERNELS
    if (forced) {
      const products = FORCED.find(name => name === forced)
      if (products) return { products, times: [] }
      throw new Error(
        `The environment variable PEFT_TS_KERNELS is "${forced}", expected ${FORCED.join(' or ')}.${didYouMean(forced, FORCED)}`,
      )
    }
    const key = `${this.#machine}, ${threads} threads`
    const before = (await this.#read())[key]
    if (before) return before
    const times = await measure()
    // Another process may have been first: all go by one choice.
    const entries = await this.#read()
    if (entries[key]) return entries[key]
    const choice = { products: chooseProducts(times), times }
    try {
      const text = JSON.stringify({ version: VERSION, machines: { ...entries, [key]: choice } }, undefined, 2)
      await writeFileAtomic(this.#path, `${text}\n`)
    } catch (error) {
      this.#onProblem(
        `What was measured about kernels cannot be kept, and is measured again at the next start, which may choose otherwise: ${(error as Error).message}`,
      )
    }
    return choice
  }

  async #read(): Promise<Record<string, KernelChoice>> {
    try {
      const { version, machines } = JSON.parse(await readFile(this.#path, 'utf8'))
      const isSound = ({ products }: KernelChoice) => FORCED.includes(products)
      return version === VERSION && Object.values<KernelChoice>(machines).every(isSound) ? machines : {}
    } catch {
      // There is none yet, or it is damaged: it is made again.
      return {}
    }
  }
}

function thisMachine(): string {
  const { version } = createRequire(import.meta.url)('onnxruntime-node/package.json') as { version: string }
  return [platform(), arch(), cpus()[0]?.model.trim(), `ONNX Runtime ${version}`].join(', ')
}
