/** @file Keeps what frozen layers compute of each example, so that every further pass over the data need not. */
import { floats, type TensorData } from '../../runtime/index.ts'
import type { ActivationReport } from '../callbacks.ts'
import type { Batch } from '../collate.ts'
import type { StepFunction } from '../value-and-grad.ts'
import { type BatchOptions, ExampleBatches } from './batches.ts'
import { type Decision, type DecisionOptions, decide } from './decide.ts'
import { type Place, put, take } from './places.ts'
import { lengthsOf, type StepOptions } from './prefix.ts'
import { type ActivationStore, MemoryStore } from './store.ts'

/** What is needed to decide whether activations are kept, and to keep them. */
export interface KeepOptions<E> extends DecisionOptions, Omit<BatchOptions<E>, 'size'> {
  how: StepOptions
  signal: AbortSignal
}

/** A training step that reads what was kept. */
export interface KeptActivations {
  step: StepFunction
  /** The batch of some examples, with what was kept of them. */
  batch(examples: readonly number[]): Batch
  report: ActivationReport
  /** Frees what was kept, and the step. */
  dispose(): Promise<void>
}

/** How far what is kept may be from what is computed in a batch, as a share of its norm: the order of sums differs. */
const ROUNDING = 1e-4
const LOSS_ROUNDING = 1e-5
const GRADIENT_ROUNDING = 1e-3

const NOT_APART =
  'what is computed of an example depends on the others of its batch, or on how it is filled up, beyond rounding ' +
  '(normalisation over batches, layers that read padding, products in 8-bit arithmetic)'

/**
 * Computes the frozen part of each example once, and compiles the step on top of it, where that is exact and pays, or was
 * asked for. What was asked for and is not done is said.
 *
 * @throws what `signal` is aborted with
 */
export async function keepActivations<E>(options: KeepOptions<E>): Promise<KeptActivations | undefined> {
  const { args, onWarning } = options
  const wanted = args.cacheActivations
  if (wanted === false) return undefined
  const batches = new ExampleBatches({ ...options, size: args.perDeviceTrainBatchSize })
  const decision = await decide(options, batches)
  const done = typeof decision === 'string' ? decision : await keep(options, batches, decision)
  if (typeof done !== 'string') return done
  if (wanted !== 'auto') onWarning(`Activations are not kept, though cacheActivations is '${wanted}': ${done}.`)
  return undefined
}

/** Keeps everything, and makes sure of it; a text says why not. */
async function keep<E>(
  options: KeepOptions<E>,
  batches: ExampleBatches<E>,
  decision: Decision,
): Promise<KeptActivations | string> {
  const started = performance.now()
  const { prefix, bytes, where, saved } = decision
  const store = await open(where, options.folder)
  if (typeof store === 'string') return store
  let step: StepFunction | undefined
  const dispose = async () => {
    await store.dispose()
    await step?.dispose()
  }
  const specs = options.model.inputSpecs()
  const withKept = (inputs: Batch, examples: readonly number[]): Batch => {
    const lengths = lengthsOf(specs, inputs)
    const places = batches.places(inputs, examples)
    const feeds = prefix.kept.map(({ shape }) =>
      zeros(shape.map(dim => (typeof dim === 'number' ? dim : lengths[dim]))),
    )
    for (const [i, example] of examples.entries()) {
      for (const [k, own] of store.read(example).entries()) {
        put(own, floats(feeds[k]), feeds[k].dims, prefix.kept[k].shape, places[i])
      }
    }
    return { ...inputs, ...Object.fromEntries(feeds.map((feed, k) => [prefix.kept[k].name, feed])) }
  }
  try {
    const odd = batches.odd()
    const inputs = batches.inputs(odd)
    const computed = await fill(options, batches, decision, store)
    if (computed) {
      options.signal.throwIfAborted()
      step = await prefix.compileStep(options.how)
    }
    if (!step || !(await agree(step, { ...inputs, ...computed }, withKept(inputs, odd)))) {
      await dispose()
      return NOT_APART
    }
  } catch (error) {
    await dispose()
    if (where === 'memory' || !isOfDisk(error)) throw error
    return notWritten(error)
  }
  const seconds = (performance.now() - started) / 1000
  return {
    step,
    batch: examples => withKept(batches.inputs(examples), examples),
    report: { where, bytes, examples: batches.count, saved, seconds },
    dispose,
  }
}

async function open(where: Decision['where'], folder: string | undefined): Promise<ActivationStore | string> {
  if (where === 'memory') return new MemoryStore()
  const { FileStore } = await import('./file-store.ts')
  return FileStore.create(folder).catch(error => {
    if (isOfDisk(error)) return notWritten(error)
    throw error
  })
}

const isOfDisk = (error: unknown): error is Error =>
  error instanceof Error && (error as NodeJS.ErrnoException).syscall !== undefined
const notWritten = (error: Error) => `they could not be written to disk (${error.message})`

/**
 * Keeps what is computed of all examples.
 *
 * @returns what is computed of a batch of examples of very different lengths; undefined where that is not what is computed
 *   of each of them alone, and nothing was kept
 */
async function fill<E>(
  { how, signal }: KeepOptions<E>,
  batches: ExampleBatches<E>,
  { prefix }: Decision,
  store: ActivationStore,
): Promise<Record<string, TensorData> | undefined> {
  await using compiled = prefix.compile(how)
  const valuesAt = (outputs: Record<string, TensorData>, place: Place) =>
    prefix.kept.map(({ name, shape }) => take(floats(outputs[name]), outputs[name].dims, shape, place))
  const compute = async (examples: readonly number[]) => {
    const inputs = batches.inputs(examples)
    const outputs = await compiled.run(inputs, { signal })
    return { outputs, values: batches.places(inputs, examples).map(place => valuesAt(outputs, place)) }
  }
  const odd = batches.odd()
  const together = await compute(odd)
  for (const [i, example] of odd.entries()) {
    const [alone] = (await compute([example])).values
    if (!alone.every((values, k) => isNear(values, together.values[i][k], ROUNDING))) return undefined
  }
  for (const examples of batches.all()) {
    const { values } = await compute(examples)
    for (const [i, example] of examples.entries()) await store.write(example, values[i])
  }
  return together.outputs
}

/** Whether a step gives the same of what was computed together, padding and all, and of what was kept. */
async function agree(step: StepFunction, computed: Batch, kept: Batch): Promise<boolean> {
  const [a, b] = [await step(computed), await step(kept)]
  // Values that are not finite are the training's to deal with.
  if (!Number.isFinite(a.value)) return !Number.isFinite(b.value)
  const isSame = Math.abs(a.value - b.value) <= LOSS_ROUNDING * Math.abs(a.value) + 1e-9
  return isSame && isNear(b.grads.data, a.grads.data, GRADIENT_ROUNDING)
}

/** Whether two vectors differ by no more than a share of their length. */
function isNear(a: Float32Array, b: Float32Array, tolerance: number): boolean {
  let [difference, square] = [0, 0]
  for (let i = 0; i < b.length; i++) {
    difference += (a[i] - b[i]) ** 2
    square += b[i] ** 2
  }
  return Number.isNaN(difference) || Math.sqrt(difference) <= tolerance * Math.sqrt(square) + 1e-12
}

function zeros(dims: readonly number[]): TensorData {
  return { dtype: 'float32', dims, data: new Float32Array(dims.reduce((a, b) => a * b, 1)) }
}
