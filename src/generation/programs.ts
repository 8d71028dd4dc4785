/** @file Compiled generations, kept with the model that they were made of. */
import { pushSlices } from '../graph/index.ts'
import {
  type CompileOptions,
  defaultEngine,
  type Engine,
  type Executable,
  type Feed,
  type RunOptions,
  type TensorData,
} from '../runtime/index.ts'
import type { TracedProgram } from './trace.ts'

/** How many compiled generations a model keeps: each holds the weights in the engine's own form. */
const KEPT = 4

/** A compiled generation. Disposing of it only says that it is not used any more. */
export interface Program extends Disposable {
  /** What runs it. */
  readonly engine: Engine
  run(feeds: Readonly<Record<string, Feed>>, options?: Pick<RunOptions, 'store'>): Promise<Record<string, TensorData>>
}

/** What compiles, and how. */
export interface ProgramOptions extends Omit<CompileOptions, 'profile'> {
  engine?: Engine
}

/** A compiled generation among those kept. */
interface Entry {
  executable: Promise<Executable>
  /** How many generations run on it now. */
  users: number
}

/** The compiled generations of one model, those used last at the end. */
type Shelf = Map<string, Entry>

const shelves = new WeakMap<object, Shelf>()
const collected = new FinalizationRegistry<Shelf>(shelf => void clear(shelf).catch(() => undefined))

const engineIds = new WeakMap<Engine, number>()
let nextEngineId = 0

/**
 * The compiled form of `trace`, which is compiled unless one of the same signature is at hand: switching between
 * adapters of one shape compiles nothing.
 *
 * @param base the model without adapters; what is compiled lives as long as it does, or until it is released
 */
export async function acquireProgram(base: object, trace: TracedProgram, options: ProgramOptions): Promise<Program> {
  const { mode, threads, keepPacked, dequantize, quantizedProducts } = options
  const compile = { mode, threads, keepPacked, dequantize, quantizedProducts }
  const engine = options.engine ?? (await defaultEngine())
  let shelf = shelves.get(base)
  if (!shelf) {
    shelf = new Map()
    shelves.set(base, shelf)
    collected.register(base, shelf)
  }
  let engineId = engineIds.get(engine)
  if (engineId === undefined) engineIds.set(engine, (engineId = nextEngineId++))
  const key = [engineId, mode, threads, keepPacked, dequantize, quantizedProducts, trace.signature].join()
  const entry: Entry = shelf.get(key) ?? { executable: compileTrace(trace, engine, compile), users: 0 }
  shelf.delete(key)
  shelf.set(key, entry)
  entry.users++
  try {
    const executable = await entry.executable
    await dropUnused(shelf)
    return {
      engine,
      run: (feeds, options) => executable.run(feeds, options),
      [Symbol.dispose]() {
        entry.users--
      },
    }
  } catch (error) {
    if (shelf.get(key) === entry) shelf.delete(key)
    throw error
  }
}

async function compileTrace({ outputs }: TracedProgram, engine: Engine, options: CompileOptions): Promise<Executable> {
  // Of the last layer only the last position is read, which matters for long prompts.
  const optimized = pushSlices(Object.values(outputs))
  const names = Object.keys(outputs)
  return engine.compile(Object.fromEntries(names.map((name, i) => [name, optimized.outputs[i]])), options)
}

async function dropUnused(shelf: Shelf): Promise<void> {
  for (const [key, { executable, users }] of [...shelf]) {
    if (shelf.size <= KEPT) return
    if (users > 0) continue
    shelf.delete(key)
    await (await executable).dispose()
  }
}

async function clear(shelf: Shelf): Promise<void> {
  const entries = [...shelf.values()]
  shelf.clear()
  for (const { executable } of entries) await (await executable).dispose()
}

/**
 * Frees what generations with this model have compiled: the engine's copies of its weights. The next one compiles
 * again. Without it they are freed some time after the model itself is. Those that are under way end with an error.
 *
 * @param model the model, or one with adapters on it
 */
export async function releaseGeneration(model: { getBaseModel?(): object }): Promise<void> {
  const shelf = shelves.get(model.getBaseModel?.() ?? model)
  if (shelf) await clear(shelf)
}
