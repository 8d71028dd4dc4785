/** @file Tracing the step of a generation: tokens and the cache in, logits and the cache's new rows out. */
import { Graph, reachableNodes, reshape, slice, type Tensor } from '../graph/index.ts'
import { varyingParameters } from '../models/function.ts'
import type { GenerativeModel } from '../models/generator.ts'
import { KeyValueCache, type Module, Parameter } from '../nn/index.ts'
import type { StoredTensor } from './key-value-store.ts'

/** The name of the input that carries the parameters. */
export const VECTOR = 'parameters'

/** The step of a generation, traced. */
export interface GenerationTrace {
  /** `logits` `[batch, 1, vocabulary]` of the last position, and `new.<name>` for each tensor of the cache. */
  outputs: Record<string, Tensor>
  /** The tensors of the cache: inputs `[batch, heads, past, width]`. */
  cache: readonly StoredTensor[]
  /** The parameters that vary and are read, in their order in the input {@link VECTOR}. */
  parameters: readonly Parameter[]
  /** Equal for two traces exactly when one can run in the place of the other. */
  signature: string
}

/**
 * Traces `model` as it is now. Inputs: `input_ids` and `position_ids` `[batch, sequence]`, `attention_mask`
 * `[batch, past + sequence]`, the cache, and the values of the parameters that vary: an adapter's, or those that train.
 * All others are constants.
 */
export function traceGeneration(model: GenerativeModel): GenerationTrace {
  const cache = cacheOf(model)
  const graph = new Graph()
  const parameters = bindParameters(graph, model)
  const inputs = {
    input_ids: graph.input('input_ids', 'int64', ['batch', 'sequence']),
    attention_mask: graph.input('attention_mask', 'int64', ['batch', 'past+sequence']),
    position_ids: graph.input('position_ids', 'int64', ['batch', 'sequence']),
  }
  const past = cache.map(({ name, heads, width }) => graph.input(name, 'float32', ['batch', heads, 'past', width]))
  const layers = Array.from({ length: past.length / 2 }, (_, i) => ({ key: past[2 * i], value: past[2 * i + 1] }))
  const store = new KeyValueCache(layers)
  const { logits } = graph.trace(() => model.forward({ ...inputs, cache: store, num_logits_to_keep: 1 }))
  const names = ['logits', ...cache.map(({ name }) => `new.${name}`)]
  const outputs = [logits!, ...store.present.flatMap(({ key, value }) => [key, value])]
  return {
    outputs: Object.fromEntries(names.map((name, i) => [name, outputs[i]])),
    cache,
    parameters,
    signature: signatureOf(outputs),
  }
}

const caches = new WeakMap<object, readonly StoredTensor[]>()

/** What the model's layers leave in a cache; found by tracing it once. */
function cacheOf(model: GenerativeModel): readonly StoredTensor[] {
  const base = model.getBaseModel?.() ?? model
  const known = caches.get(base)
  if (known) return known
  const graph = new Graph()
  const cache = new KeyValueCache([])
  const input_ids = graph.input('input_ids', 'int64', ['batch', 'sequence'])
  graph.trace(() => model.forward({ input_ids, cache }))
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

/** Makes the varying parameters slices of an input; those that are read are added to the result as they are. */
function bindParameters(graph: Graph, model: GenerativeModel): Parameter[] {
  const vector = graph.input(VECTOR, 'float32', [VECTOR])
  const varying = model.adapterParameters?.() ?? varyingParameters(model as unknown as Module)
  const used: Parameter[] = []
  let offset = 0
  for (const [, parameter] of varying) {
    graph.bind(parameter, () => {
      const start = offset
      offset += parameter.size
      used.push(parameter)
      return reshape(slice(vector, 0, start, offset), parameter.shape)
    })
  }
  return used
}

const objectIds = new WeakMap<object, number>()
let nextObjectId = 0

function objectId(object: object): number {
  let id = objectIds.get(object)
  if (id === undefined) objectIds.set(object, (id = nextObjectId++))
  return id
}

/** Where a constant's values lie: aliases of a parameter are the same constant, new values are another. */
function constantId(weight: object): string {
  if (!(weight instanceof Parameter && weight.hasValue)) return `object ${objectId(weight)}`
  const { source } = weight
  if (source.kind === 'file') return `${source.path}:${source.offset}:${source.byteLength}`
  return `memory ${objectId(source.bytes.buffer)}:${source.bytes.byteOffset}:${source.bytes.byteLength}`
}

function signatureOf(outputs: readonly Tensor[]): string {
  const nodes = reachableNodes(outputs)
  const numbers = new Map(nodes.map((node, i) => [node, i]))
  const refer = ({ node, index }: Tensor) => `${numbers.get(node)}.${index}`
  const lines = nodes.map(({ op, inputs, attributes }) => {
    const described = JSON.stringify(attributes, (key, value) => {
      // JSON would write the infinities and NaN alike, and -0 as 0.
      if (typeof value === 'number')
        return Object.is(value, -0) || !Number.isFinite(value) ? `${1 / value}${value}` : value
      if (key === 'weight') return constantId(value)
      return ArrayBuffer.isView(value) ? Array.from(value as unknown as ArrayLike<number>) : value
    })
    return `${op}(${inputs.map(refer)})${described}`
  })
  return [...lines, outputs.map(refer)].join('\n')
}
