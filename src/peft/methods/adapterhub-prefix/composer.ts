/** @file How the prefixes of several adapters work together in one attention layer. */
import { concat, type Dim, expand, type Graph, slice, type Tensor, zeros } from '../../../graph/index.ts'
import type { Prefix } from '../../../models/attention-context.ts'
import { additiveMask, type KeyValues } from '../../../nn/index.ts'
import type { Composer } from '../../composition.ts'

/** What runs through a composition. */
export interface PrefixFlow {
  /** What enters the attention, which gates read. */
  hidden: Tensor
  /** The prefixes so far, the first of which stands in front. */
  prefixes: readonly Prefix[]
}

/**
 * The blocks of a composition as AdapterHub computes them: in a stack a later prefix stands in front of those before it.
 *
 * @param prefixOf the prefix of an adapter for the rows that it is given, `[batch, heads, length, width]`
 */
export function prefixComposer(prefixOf: (name: string, hidden: Tensor) => KeyValues): Composer<PrefixFlow> {
  return {
    name: 'ADAPTERHUB_PREFIX adapters',
    blocks: ['stack', 'batchSplit', 'parallel'],
    apply: (name, { hidden, prefixes }) => ({ hidden, prefixes: [prefixOf(name, hidden), ...prefixes] }),
    size: ({ hidden }, axis) => hidden.shape[axis],
    slice: ({ hidden, prefixes }, axis, start, end) => {
      const part = (x: Tensor) => slice(x, axis, start, end)
      return {
        hidden: part(hidden),
        prefixes: prefixes.map(({ key, value, mask }) => ({
          key: part(key),
          value: part(value),
          ...(mask && { mask: part(mask) }),
        })),
      }
    },
    join: (flows, axis) => ({
      hidden: concat(
        flows.map(({ hidden }) => hidden),
        axis,
      ),
      prefixes: [inRows(flows.map(({ prefixes }) => prefixes))],
    }),
  }
}

/** One prefix whose rows have prefixes of their own; what is missing to the longest stands in front and is hidden. */
function inRows(parts: readonly (readonly Prefix[])[]): Prefix {
  const lengths = parts.map(prefixes => prefixes.reduce((sum, { key }) => sum + (key.shape[2] as number), 0))
  const longest = Math.max(...lengths)
  const isMasked = parts.some((prefixes, i) => lengths[i] < longest || prefixes.some(({ mask }) => mask))
  const rows = (partOf: (prefix: Prefix) => Tensor, axis: number, fill: Fill) =>
    concat(
      parts.map((prefixes, i) => {
        const own = prefixes.map(partOf)
        const [first] = own
        const missing = longest - lengths[i]
        const shape = first.shape.map((dim, at) => (at === axis ? missing : dim))
        return concat(missing ? [fill(first.graph, shape), ...own] : own, axis)
      }),
      0,
    )
  return {
    key: rows(({ key }) => key, 2, zeros),
    value: rows(({ value }) => value, 2, zeros),
    ...(isMasked && { mask: rows(maskOf, 3, hidden) }),
  }
}

type Fill = (graph: Graph, shape: readonly Dim[]) => Tensor

const maskOf = ({ key, mask }: Prefix): Tensor => mask ?? zeros(key.graph, [key.shape[0], 1, 1, key.shape[2]])

const hidden: Fill = (graph, shape) => expand(additiveMask(graph.constant(0, 'bool', [1, 1, 1, 1])), shape)
