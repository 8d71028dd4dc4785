/** @file Random routing: which expert computes a batch, drawn in each run from its seed. */
import { cast, floor, type Graph, mul, sum, type Tensor } from '../../../graph/index.ts'

/** How many random bits decide; float32 holds as many exactly. */
const BITS = 24

/**
 * A random number from 0 to `count` - 1, int64 `[]`. It is made of the bits of a dropout mask, which the runtime draws
 * anew in each run from its seed: another expert needs no compilation, and a step can be repeated.
 */
export function randomIndex(graph: Graph, count: number): Tensor {
  const site = graph.nodes.filter(node => node.op === 'DropoutMask').length
  // Each element is 0 or 2.
  const [bits] = graph.add('DropoutMask', [], { shape: [BITS], keep: 0.5, site })
  const places = Array.from({ length: BITS }, (_, i) => 2 ** -(i + 2))
  const uniform = sum(mul(bits, graph.constant(places, 'float32')))
  return cast(floor(mul(uniform, count)), 'int64')
}
