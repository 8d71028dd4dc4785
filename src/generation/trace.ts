/** @file Tracing the step of a generation: tokens and the cache in, logits and the cache's new rows out. */
import { Graph, type Shape, type Tensor } from '../graph/index.ts'
import { FedParameters } from '../models/fed-parameters.ts'
import type { GenerativeModel } from '../models/generator.ts'
import type { ModelInputs } from '../models/index.ts'
import { signatureOf } from '../models/signature.ts'
import { KeyValueCache, type KeyValues, type Module, type Parameter } from '../nn/index.ts'
import type { StoredTensor } from './key-value-store.ts'

/** The name of the input that carries the parameters. */
export const VECTOR = 'parameters'
/** The name of the input that says which adapter computes each row. */
export const ADAPTER_INDICES = 'adapter_indices'

/** A part of a generation, traced. */
export interface TracedProgram {
  outputs: Record<string, Tensor>
  /** The parameters that vary and are read, in their order in the input {@link VECTOR}. */
  parameters: readonly Parameter[]
  /** Equal for two traces exactly when one can run in the place of the other. */
  signature: string
}

/** The names of a step's inputs that every architecture has. */
export interface StepInputs {
  tokens: string
  /** Which positions of the cache and of the tokens count. */
  mask: string
  positions: string
}

/**
 * The step of a generation, traced. Its outputs are `logits` `[batch, 1, vocabulary]` of the last position, and
 * `new.<name>` for each tensor of the cache.
 */
export interface GenerationTrace extends TracedProgram {
  inputs: StepInputs
  /** The tensors of the cache: inputs `[batch, heads, past, width]`. */
  cache: readonly StoredTensor[]
  /**
   * Of a model with an encoder: from `input_ids` and `attention_mask` `[batch, source]` the keys and values of the
   * prompts, which are inputs of every step, as is the mask.
   */
  encoder?: TracedProgram
  /** Where adapters put something in front of every text: its keys and values, which fill the cache at first. */
  prelude?: PreludeTrace
}

/** A traced prelude. Its outputs are those of the cache's tensors, `[1, heads, length, width]`, by their names. */
export interface PreludeTrace extends TracedProgram {
  /** How many positions it takes. */
  length: number
}

const DECODER: StepInputs = { tokens: 'input_ids', mask: 'attention_mask', positions: 'position_ids' }
const DECODER_OF_ENCODER: StepInputs = {
  tokens: 'decoder_input_ids',
  mask: 'decoder_attention_mask',
  positions: 'decoder_position_ids',
}

/**
 * Traces `model` as it is now. Inputs: tokens and positions `[batch, sequence]`, their mask `[batch, past + sequence]`,
 * the cache, and the values of the parameters that vary: an adapter's, or those that train. All others are constants.
 *
 * @param rowAdapters the adapters that rows can have; then {@link ADAPTER_INDICES} is an input too
 */
export function traceGeneration(model: GenerativeModel, rowAdapters?: readonly string[]): GenerationTrace {
  const prelude = tracePrelude(model)
  if (model.task !== 'SEQ_2_SEQ_LM') return { ...traceStep(model, DECODER, {}, rowAdapters), prelude }
  const { cross, ...encoder } = traceEncoder(model, rowAdapters)
  return { ...traceStep(model, DECODER_OF_ENCODER, cross, rowAdapters), encoder, prelude }
}

/** The inputs of a batch whose rows have adapters of their own: which of `names` computes each row. */
function rowInputs(graph: Graph, names: readonly string[] | undefined): ModelInputs {
  if (!names) return {}
  return { adapter_indices: graph.input(ADAPTER_INDICES, 'int64', ['batch']), adapter_names: names }
}

/** Traces what stands before every text; undefined where there is nothing. */
function tracePrelude(model: GenerativeModel): PreludeTrace | undefined {
  if (!model.prelude) return undefined
  const graph = new Graph()
  const { parameters } = new FedParameters(graph, VECTOR, ({ varies }) => varies)
  const entries = graph.trace(() => model.prelude!())
  if (entries.length === 0) return undefined
  const outputs = Object.fromEntries(
    entries.flatMap(({ key, value }, layer) => [
      [`key.${layer}`, key],
      [`value.${layer}`, value],
    ]),
  )
  return { outputs, parameters, signature: signatureOf(outputs), length: entries[0].key.shape[2] as number }
}

/** Traces a step; `cross` are the shapes of the encoder's keys and values, by name. */
function traceStep(
  model: GenerativeModel,
  names: StepInputs,
  cross: Record<string, Shape>,
  rowAdapters: readonly string[] | undefined,
): GenerationTrace {
  const cache = cacheOf(model)
  const graph = new Graph()
  const { parameters } = new FedParameters(graph, VECTOR, ({ varies }) => varies)
  const inputs = {
    [names.tokens]: graph.input(names.tokens, 'int64', ['batch', 'sequence']),
    [names.mask]: graph.input(names.mask, 'int64', ['batch', 'past+sequence']),
    [names.positions]: graph.input(names.positions, 'int64', ['batch', 'sequence']),
  }
  const encoded = Object.entries(cross).map(([name, shape]) => graph.input(name, 'float32', shape))
  if (encoded.length) inputs.attention_mask = graph.input('attention_mask', 'int64', ['batch', 'source'])
  const past = cache.map(({ name, heads, width }) => graph.input(name, 'float32', ['batch', heads, 'past', width]))
  const store = new KeyValueCache(inPairs(past), inPairs(encoded))
  const rows = rowInputs(graph, rowAdapters)
  const { logits } = graph.trace(() => model.forward({ ...inputs, ...rows, cache: store, num_logits_to_keep: 1 }))
  const outputs = {
    logits: logits!,
    ...Object.fromEntries(flat(store.present).map((tensor, i) => [`new.${cache[i].name}`, tensor])),
  }
  return { inputs: names, outputs, cache, parameters, signature: signatureOf(outputs) }
}

/** Traces the encoder of a model, up to the keys and values that its decoder reads. */
function traceEncoder(
  model: GenerativeModel,
  rowAdapters: readonly string[] | undefined,
): TracedProgram & { cross: Record<string, Shape> } {
  const graph = new Graph()
  const { parameters } = new FedParameters(graph, VECTOR, ({ varies }) => varies)
  const store = new KeyValueCache([])
  const inputs = {
    input_ids: graph.input('input_ids', 'int64', ['batch', 'source']),
    attention_mask: graph.input('attention_mask', 'int64', ['batch', 'source']),
    decoder_input_ids: graph.input('decoder_input_ids', 'int64', ['batch', 'sequence']),
  }
  const rows = rowInputs(graph, rowAdapters)
  graph.trace(() => model.forward({ ...inputs, ...rows, cache: store }))
  const outputs = Object.fromEntries(
    store.presentCross.flatMap(({ key, value }, layer) => [
      [`cross.key.${layer}`, key],
      [`cross.value.${layer}`, value],
    ]),
  )
  const cross = Object.fromEntries(Object.entries(outputs).map(([name, { shape }]) => [name, shape]))
  return { outputs, cross, parameters, signature: signatureOf(outputs) }
}

const inPairs = (tensors: readonly Tensor[]): KeyValues[] =>
  Array.from({ length: tensors.length / 2 }, (_, i) => ({ key: tensors[2 * i], value: tensors[2 * i + 1] }))

const flat = (entries: readonly KeyValues[]): Tensor[] => entries.flatMap(({ key, value }) => [key, value])

const caches = new WeakMap<object, readonly StoredTensor[]>()

/** What the model's layers leave in a cache; found by tracing it once. */
function cacheOf(model: GenerativeModel): readonly StoredTensor[] {
  const base = model.getBaseModel?.() ?? model
  const known = caches.get(base)
  if (known) return known
  const graph = new Graph()
  // The rows of the tokens are wanted here, without those of what stands before them.
  const cache = new KeyValueCache([], [], true)
  const tokens = graph.input('tokens', 'int64', ['batch', 'sequence'])
  const source = () => ({ input_ids: graph.input('source', 'int64', ['batch', 'source']), decoder_input_ids: tokens })
  const inputs = model.task === 'SEQ_2_SEQ_LM' ? source() : { input_ids: tokens }
  graph.trace(() => model.forward({ ...inputs, cache }))
  const found = cache.present.flatMap(({ key, value }, layer) => [
    storedTensor(`key.${layer}`, key),
    storedTensor(`value.${layer}`, value),
  ])
  if (found.length === 0) {
    throw new Error(
      `generate: ${(base as Module).constructor.name} leaves no keys and values in the cache it is given; ` +
        'its attention layers have to use cachedAttention',
    )
  }
  caches.set(base, found)
  return found
}

function storedTensor(name: string, { shape }: Tensor): StoredTensor {
  const [batch, heads, sequence, width] = shape
  if (batch === 'batch' && sequence === 'sequence' && typeof heads === 'number' && typeof width === 'number') {
    return { name, heads, width }
  }
  throw new Error(`generate: ${name} has shape [${shape.join(', ')}], expected [batch, heads, sequence, width]`)
}
