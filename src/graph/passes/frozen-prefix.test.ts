/** @file What is found to come out the same at each step, and that a step on top of it computes the same. */
import { describe, expect, it } from 'vitest'
import {
  add,
  cast,
  dropout,
  Graph,
  linear,
  mean,
  mul,
  reachableNodes,
  type Tensor,
  tanh,
  unsqueeze,
  zeros,
} from '../index.ts'
import { findFrozenPrefix, replaceTensors } from './frozen-prefix.ts'

const LENGTHS = { batch: 4, sequence: 8 }

function network() {
  const graph = new Graph()
  graph.training = true
  const x = graph.input('x', 'float32', ['batch', 'sequence', 16])
  const mask = graph.input('mask', 'int64', ['batch', 'sequence'])
  const weights = graph.input('parameters', 'float32', [16, 16])
  const layer = (input: Tensor, weight: Tensor = zeros(graph, [16, 16])) => add(input, tanh(linear(input, weight)))
  return { graph, x, mask, weights, layer }
}

const find = (loss: Tensor, options: Partial<Parameters<typeof findFrozenPrefix>[1]> = {}) =>
  findFrozenPrefix(loss, {
    isExample: name => name !== 'parameters',
    canKeep: ({ shape }) => shape[0] === 'batch',
    lengths: LENGTHS,
    ...options,
  })

/** Tensors hold their graph: comparing them would compare all of it. */
const ids = (tensors: readonly Tensor[]) => tensors.map(({ node, index }) => `${node.op} ${node.id}.${index}`)

describe('findFrozenPrefix', () => {
  const product = 2 * 16 * (4 * 8 * 16)

  it('keeps the one tensor below what trains, and computes masks again', () => {
    const { x, mask, weights, layer } = network()
    const top = layer(layer(x))
    const masked = mul(layer(top, weights), unsqueeze(cast(mask, 'float32'), [2]))
    // A product of what trains and of what has no gradient costs two; the frozen one above it costs two too.
    const { kept, ...costs } = find(mean(layer(masked)))!
    expect(ids(kept)).toEqual(ids([top]))
    expect(costs).toEqual({ saved: 2 * product, total: (2 + 2 + 2) * product })
  })

  it('keeps one tensor and not all that is read of a layer that is frozen in part', () => {
    const { graph, x, weights, layer } = network()
    const below = layer(layer(layer(x)))
    const parts = [0, 1, 2].map(i => linear(below, graph.constant(Array(256).fill(i), 'float32', [16, 16])))
    const beside = linear(tanh(below), weights)
    // Three products beside three others are too many to be computed at each step.
    expect(find(mean(parts.reduce((sum, part) => mul(sum, part), beside)))!.kept).toHaveLength(3)
    const two = find(mean(mul(beside, parts[0])))!
    expect(ids(two.kept)).toEqual(ids([below]))
    expect(two.saved).toBe(3 * product)
  })

  it('ends below the first dropout, and says what it costs', () => {
    const { x, weights, layer } = network()
    const below = layer(x)
    const loss = mean(linear(layer(layer(dropout(below, 0.5))), weights))
    expect(ids(find(loss)!.kept)).toEqual(ids([below]))
    expect(find(loss, { ignoreDropout: true })?.saved).toBe(3 * product)
    expect(find(mean(linear(dropout(x, 0.5), weights)))).toBeUndefined()
  })

  it('finds nothing where what trains comes first, or nothing can be kept', () => {
    const { x, weights, layer } = network()
    expect(find(mean(layer(layer(x, weights))))).toBeUndefined()
    expect(find(mean(linear(layer(x), weights)), { canKeep: () => false })).toBeUndefined()
  })
})

describe('replaceTensors', () => {
  it('leaves away what the replaced tensors were made of, and keeps dropout as it is', () => {
    const { graph, x, weights, layer } = network()
    const below = layer(x)
    const loss = mean(dropout(linear(below, weights), 0.5))
    const masks = reachableNodes([loss]).filter(({ op }) => op === 'DropoutMask')
    const replaced = replaceTensors(loss, new Map([[below, graph.input('kept', 'float32', below.shape)]]))
    const nodes = reachableNodes([replaced])
    expect(nodes.filter(({ op }) => op === 'Input').map(({ attributes }) => attributes.name)).toEqual([
      'parameters',
      'kept',
    ])
    expect(nodes.filter(({ op }) => op === 'DropoutMask').map(({ id }) => id)).toEqual(masks.map(({ id }) => id))
    expect(replaceTensors(loss, new Map()) === loss).toBe(true)
  })
})
