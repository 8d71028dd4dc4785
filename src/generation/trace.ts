/** @file Tracing the step of a generation: tokens and the cache in, logits and the cache's new rows out. */
import { concat, Graph, type Shape, type Tensor } from '../graph/index.ts'
import { FedParameters } from '../models/fed-parameters.ts'
import type { GenerativeModel } from '../models/generator.ts'
import type { InputSpec, ModelInputs } from '../models/index.ts'
import { signatureOf } from '../models/signature.ts'
import { isSwitchable, VariantTraces } from '../models/switching.ts'
import { KeyValueCache, type KeyValues, type Module, type Parameter } from '../nn/index.ts'
import { addedOutputs, type StoredTensor } from './key-value-store.ts'

/** The name of the input that carries the parameters. */
const VECTOR = 'parameters'
/** The name of the input that says which adapter computes each row. */
export const ADAPTER_INDICES = 'adapter_indices'

/** A part of a generation, traced. */
export interface TracedProgram {
  outputs: Record<string, Tensor>
  /** The parameters that vary and are read: the input {@link VECTOR}. */
  fed: FedParameters
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
 * those of {@link addedOutputs}.
 */
export interface GenerationTrace extends TracedProgram {
  inputs: StepInputs
  /** The tensors of the cache: inputs `[batch, heads, past, width]`. */
  cache: readonly StoredTensor[]
  /**
   * Of a model with an encoder: from {@link sourceSpecs} the keys and values of the prompts, which are inputs of every
   * step, as is their mask where they have one.
   */
  encoder?: TracedProgram
  /** Where adapters put something in front of every text: its keys and values, which fill the cache at first. */
  prelude?: PreludeTrace
}

/** A traced prelude. Its outputs are those of {@link addedOutputs}, of one row. */
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

/** How many traces of one model are kept: each is a graph. */
const KEPT_TRACES = 16

const traces = new WeakMap<GenerativeModel, VariantTraces<GenerationTrace>>()

/** The trace of `model` as it is now; one with adapters is not traced again as long as it computes the same. */
export function generationTrace(model: GenerativeModel, rowAdapters?: readonly string[]): GenerationTrace {
  const trace = () => traceGeneration(model, rowAdapters)
  if (!isSwitchable(model)) return trace()
  let known = traces.get(model)
  if (!known) traces.set(model, (known = new VariantTraces({ limit: KEPT_TRACES, isCurrent, withOthers })))
  return known.get(model, JSON.stringify(rowAdapters ?? null), trace)
}

/** The same generation with other parameters; undefined where it is not certain that it is the same. */
function withOthers(
  trace: GenerationTrace,
  own: readonly Parameter[],
  others: readonly Parameter[],
): GenerationTrace | undefined {
  const changed = <T extends TracedProgram>(program: T): T | undefined => {
    const fed = program.fed.withOthers(own, others)
    return fed && { ...program, fed }
  }
  const [encoder, prelude] = [trace.encoder && changed(trace.encoder), trace.prelude && changed(trace.prelude)]
  const isWhole = Boolean(encoder) === Boolean(trace.encoder) && Boolean(prelude) === Boolean(trace.prelude)
  const step = isWhole ? changed(trace) : undefined
  return step && { ...step, encoder, prelude }
}

/** Whether what was taken for a constant still is one, with the values that it had. */
const isCurrent = ({ fed, encoder, prelude }: GenerationTrace) =>
  [fed, encoder?.fed, prelude?.fed].every(part => part?.isCurrent ?? true)

/**
 * Traces `model` as it is now. Inputs: tokens and positions `[batch, sequence]`, their mask `[batch, past + sequence]`,
 * the cache, and the values of the parameters that vary: an adapter's, or those that train. All others are constants.
 *
 * @param rowAdapters the adapters that rows can have; then {@link ADAPTER_INDICES} is an input too
 */
function traceGeneration(model: GenerativeModel, rowAdapters?: readonly string[]): GenerationTrace {
  const prelude = tracePrelude(model)
  if (model.task !== 'SEQ_2_SEQ_LM') return { ...traceStep(model, DECODER, {}, rowAdapters), prelude }
  const { cross, ...encoder } = traceEncoder(model, rowAdapters)
  return { ...traceStep(model, DECODER_OF_ENCODER, cross, rowAdapters), encoder, prelude }
}

/** What the encoder of a model reads: tokens with their mask, or spectrograms where it hears. */
export function sourceSpecs(model: GenerativeModel): Record<string, InputSpec> {
  const base = (model.getBaseModel?.() ?? model) as Partial<GenerativeModel>
  const input_features = base.inputSpecs?.().input_features
  if (input_features) return { input_features }
  const tokens: InputSpec = { dtype: 'int64', shape: ['batch', 'source'] }
  return { input_ids: tokens, attention_mask: tokens }
}

/** The inputs that {@link sourceSpecs} declares. */
function sourceInputs(graph: Graph, model: GenerativeModel): ModelInputs {
  return Object.fromEntries(
    Object.entries(sourceSpecs(model)).map(([name, { dtype, shape }]) => [name, graph.input(name, dtype, shape)]),
  )
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
  const fed = FedParameters.in(graph, VECTOR, ({ varies }) => varies)
  const entries = graph.trace(() => model.prelude!())
  if (entries.length === 0) return undefined
  const outputs = graph.trace(() => joined(cacheOf(model), flat(entries)))
  return { outputs, fed, signature: signatureOf(outputs), length: entries[0].key.shape[2] as number }
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
  const fed = FedParameters.in(graph, VECTOR, ({ varies }) => varies)
  const inputs = {
    [names.tokens]: graph.input(names.tokens, 'int64', ['batch', 'sequence']),
    [names.mask]: graph.input(names.mask, 'int64', ['batch', 'past+sequence']),
    [names.positions]: graph.input(names.positions, 'int64', ['batch', 'sequence']),
  }
  const encoded = Object.entries(cross).map(([name, shape]) => graph.input(name, 'float32', shape))
  if (encoded.length && sourceSpecs(model).attention_mask) {
    inputs.attention_mask = graph.input('attention_mask', 'int64', ['batch', 'source'])
  }
  const past = cache.map(({ name, heads, width }) => graph.input(name, 'float32', ['batch', heads, 'past', width]))
  const store = new KeyValueCache(inPairs(past), inPairs(encoded))
  const rows = rowInputs(graph, rowAdapters)
  const { logits } = graph.trace(() => model.forward({ ...inputs, ...rows, cache: store, num_logits_to_keep: 1 }))
  const outputs = {
    logits: logits!,
    ...joined(cache, flat(store.present)),
  }
  return { inputs: names, outputs, cache, fed, signature: signatureOf(outputs) }
}

/** Traces the encoder of a model, up to the keys and values that its decoder reads. */
function traceEncoder(
  model: GenerativeModel,
  rowAdapters: readonly string[] | undefined,
): TracedProgram & { cross: Record<string, Shape> } {
  const graph = new Graph()
  const fed = FedParameters.in(graph, VECTOR, ({ varies }) => varies)
  const store = new KeyValueCache([])
  const inputs = {
    ...sourceInputs(graph, model),
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
  return { outputs, cross, fed, signature: signatureOf(outputs) }
}

/** What is added to the tensors of a cache, as outputs. */
function joined(cache: readonly StoredTensor[], added: readonly Tensor[]): Record<string, Tensor> {
  const outputs = [...addedOutputs(cache)].map(([name, tensors]) => [
    name,
    concat(
      tensors.map(i => added[i]),
      0,
    ),
  ])
  return Object.fromEntries(outputs)
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
  const source = () => ({ ...sourceInputs(graph, model), decoder_input_ids: tokens })
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
