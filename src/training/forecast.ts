/** @file Foretells the memory of a training step: its graph is built and its run simulated; nothing is computed. */
import {
  BYTES_PER_ELEMENT,
  type DType,
  dimNames,
  evaluateDim,
  Graph,
  type LoweredModel,
  lowerToOnnx,
  mean,
  planMemory,
} from '../graph/index.ts'
import type { ModelInputs, ModelOutput } from '../models/index.ts'
import { type Module, ParameterVector } from '../nn/index.ts'
import { stepLowering, stepOutputs, trainableEntries, type ValueAndGradOptions } from './value-and-grad.ts'

/** What a step is foretold for. */
export interface ForecastOptions extends Pick<ValueAndGradOptions, 'mode' | 'gradientCheckpointing'> {
  batchSize: number
  /** Tokens of a sequence. */
  sequence: number
}

/** The bytes that a step takes at its peak, by what they are for. */
export interface MemoryForecast {
  /** Node, the engine, and the graph itself. */
  process: number
  /** Frozen values, mapped from their file or in memory, as far as the step reads them; what is mapped twice counts twice. */
  weights: number
  /** Copies of matrices in the order that products want (mode `fast`). */
  packed: number
  /** What the step computes on its way, with what the engine's arena keeps beside it. */
  activations: number
  /** Dropout masks. */
  masks: number
  /** Trained values, gradient, the two moments of AdamW, and the engine's copies. */
  training_state: number
  total: number
}

/** A model that can be traced on its inputs. */
export interface ForecastModel extends Module {
  inputSpecs(): Record<string, { dtype: 'int64' | 'float32'; shape: readonly (number | string)[]; optional?: boolean }>
  forward(inputs: ModelInputs): ModelOutput
}

/** Node 20 with ONNX Runtime 1.30 and this library, measured: half of it is their code, mapped from files. */
const PROCESS = 133e6
/** What the engine and the garbage collector hold for each node of a graph. */
const NODE = 16e3
/** What kernels need beside their results. */
const SCRATCH = 16e6
/** The arena takes more than the simulation says: values of unknown size, the graph's constants, remainders. */
const ARENA_SHARE = 1.06
/** What the system maps around a row that is looked up. */
const FAULT = 65536
/** Operators that read some rows of a matrix. */
const LOOK_UPS = new Set(['Gather', 'GatherBlockQuantized'])
/** Operators that the engine packs constant matrices for. */
const PACKING = new Set(['Gemm', 'MatMul', 'FusedMatMul'])
/** Inputs that a step has though it need not. */
const GIVEN = ['attention_mask', 'labels', 'start_positions', 'end_positions']

/** Foretells the peak of resident memory of a training step with AdamW, weights mapped from their file. */
export function forecastStep(model: ForecastModel, options: ForecastOptions): MemoryForecast {
  const { batchSize, sequence, mode = 'fast' } = options
  const entries = trainableEntries(model)
  const vector = new ParameterVector(entries)
  const lowered = lowerStep(model, vector, options)
  const lengths: Record<string, number> = {}
  for (const { shape } of lowered.inputs) {
    for (const dim of shape) for (const name of dimNames(dim)) lengths[name] = name === 'batch' ? batchSize : sequence
  }
  const plan = planMemory(lowered, lengths)
  const masks = lowered.random.reduce((sum, { shape }) => sum + 4 * elements(shape, lengths), 0)
  const parts = {
    process: PROCESS + NODE * plan.order.length,
    ...readsOf(lowered, batchSize * sequence, mode),
    activations: SCRATCH + ARENA_SHARE * plan.arena,
    masks,
    training_state: 24 * vector.size,
  }
  return { ...parts, total: Object.values(parts).reduce((a, b) => a + b, 0) }
}

function lowerStep(model: ForecastModel, vector: ParameterVector, options: ForecastOptions): LoweredModel {
  const graph = new Graph()
  const inputs: Record<string, unknown> = {}
  for (const [name, { dtype, shape, optional }] of Object.entries(model.inputSpecs())) {
    if (!optional || GIVEN.includes(name)) inputs[name] = graph.input(name, dtype, shape)
  }
  vector.bind(graph, graph.input('parameters', 'float32', [vector.size]))
  return graph.trace(() => {
    graph.training = true
    const output = model.forward(inputs as unknown as ModelInputs)
    // A model without a head has no loss; what it costs is the way to its last states.
    const loss = output.loss ?? mean(output.last_hidden_state!)
    return lowerToOnnx(stepOutputs(graph, vector, loss, {}, options), stepLowering(options))
  })
}

const elements = (shape: readonly (number | string)[], lengths: Readonly<Record<string, number>>) =>
  shape.reduce<number>((size, dim) => size * evaluateDim(dim, lengths), 1)

/** What is read of the weights, by rows of at most so many look-ups or whole, and packed copies, which make them superfluous. */
function readsOf(lowered: LoweredModel, tokens: number, mode: 'fast' | 'small') {
  const readers = new Map<string, Set<string>>()
  for (const { op, inputs } of lowered.model.graph.nodes) {
    for (const input of inputs) readers.set(input, (readers.get(input) ?? new Set()).add(op))
  }
  let [weights, packed] = [0, 0]
  for (const { name, weight, view } of lowered.weights) {
    const { dtype, dims } = view ?? { dtype: weight.dtype, dims: weight.shape }
    const bytes = elements(dims, {}) * (dtype === 'uint4' ? 0.5 : BYTES_PER_ELEMENT[dtype as DType])
    const ops = [...(readers.get(name) ?? [])]
    const products = mode === 'fast' && dims.length === 2 ? ops.filter(op => PACKING.has(op)).length : 0
    if (dtype === 'float32') packed += products * bytes
    if (ops.every(op => LOOK_UPS.has(op))) weights += Math.min(bytes, tokens * FAULT)
    else if (products < ops.length) weights += bytes
  }
  return { weights, packed }
}
