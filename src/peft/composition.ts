/** @file How several adapters work together: the composition blocks of AdapterHub (arXiv 2311.11077). */
import { addDims, type Dim, divideDims, subtractDims } from '../graph/index.ts'

/** An adapter by its name, or a block of them. */
export type Composable = string | Composition

/** A block of adapters. */
export interface Composition {
  readonly type: 'stack' | 'fuse' | 'split' | 'batchSplit' | 'parallel' | 'average'
  readonly children: readonly Composable[]
  /** Tokens of the sequence for each child of a split. */
  readonly splits?: readonly number[]
  /** Rows of the batch for each child of a batch split. */
  readonly batchSizes?: readonly number[]
  /** The weights of an average. */
  readonly weights?: readonly number[]
}

/** Whether a value is a block of adapters. */
export function isComposition(value: unknown): value is Composition {
  return typeof value === 'object' && value !== null && 'type' in value && 'children' in value
}

function block(type: Composition['type'], children: readonly Composable[]): Composition {
  if (children.length === 0) throw new Error(`${type}: there must be at least one adapter in it`)
  return { type, children }
}

function sized(type: string, sizes: readonly number[], children: readonly Composable[]): readonly number[] {
  if (sizes.length !== children.length || !sizes.every(size => Number.isInteger(size) && size > 0)) {
    throw new Error(
      `${type}: needs a whole number above 0 for each of its ${children.length} children, got ${JSON.stringify(sizes)}`,
    )
  }
  return [...sizes]
}

/** One adapter after another: each reads what the one before has made. */
export const Stack = (...children: readonly Composable[]): Composition => block('stack', children)

/** Adapters side by side whose results a trained attention mixes (AdapterFusion, arXiv 2005.00247). */
export const Fuse = (...children: readonly Composable[]): Composition => {
  if (children.length < 2) throw new Error('fuse: there must be at least two adapters to mix')
  return block('fuse', children)
}

/** Parts of the sequence with an adapter each; `splits` are the numbers of tokens, which must add up to its length. */
export const Split = (children: readonly Composable[], splits: readonly number[]): Composition => ({
  ...block('split', children),
  splits: sized('split', splits, children),
})

/** Parts of the batch with an adapter each; `batchSizes` are the numbers of rows, which must add up to the batch. */
export const BatchSplit = (children: readonly Composable[], batchSizes: readonly number[]): Composition => ({
  ...block('batchSplit', children),
  batchSizes: sized('batchSplit', batchSizes, children),
})

/** The whole batch by each adapter: the outputs hold all rows by the first, then all by the second, and so on. */
export const Parallel = (...children: readonly Composable[]): Composition => block('parallel', children)

/**
 * The weighted mean of the adapters' results; equal weights by default. As in AdapterHub the sum is divided by the number
 * of adapters once more.
 */
export function Average(children: readonly Composable[], weights?: readonly number[]): Composition {
  const given = weights ?? children.map(() => 1 / children.length)
  if (given.length !== children.length || !given.every(Number.isFinite)) {
    throw new Error(`average: needs a weight for each of its ${children.length} children, got ${JSON.stringify(given)}`)
  }
  return { ...block('average', children), weights: [...given] }
}

/** The names of the adapters in a composition, each once, in the order in which they stand there. */
export function adaptersOf(composition: Composable): string[] {
  if (typeof composition === 'string') return [composition]
  return [...new Set(composition.children.flatMap(adaptersOf))]
}

/** The name of a fusion of a block's children: the last adapter of each, as AdapterHub names it. */
export function fusionName({ children }: Composition): string {
  return children.map(lastAdapter).join(',')
}

/** The adapter that stands first in a composition. */
export function firstAdapter(composition: Composable): string {
  return typeof composition === 'string' ? composition : firstAdapter(composition.children[0])
}

/** The adapter that stands last in a composition. */
export function lastAdapter(composition: Composable): string {
  return typeof composition === 'string' ? composition : lastAdapter(composition.children.at(-1)!)
}

/** The fusions in a composition, by their names. */
export function fusionsOf(composition: Composable): string[] {
  if (typeof composition === 'string') return []
  const own = composition.type === 'fuse' ? [fusionName(composition)] : []
  return [...new Set([...own, ...composition.children.flatMap(fusionsOf)])]
}

/** How often a composition repeats the batch. */
export function repetitionsOf(composition: Composable): number {
  if (typeof composition === 'string') return 1
  const own = composition.type === 'parallel' ? composition.children.length : 1
  return Math.max(own, ...composition.children.map(repetitionsOf))
}

/** The composition of those adapters alone that a layer has; undefined where it has none of them. */
export function prune(composition: Composable, has: (name: string) => boolean): Composable | undefined {
  if (typeof composition === 'string') return has(composition) ? composition : undefined
  const children = composition.children.map(child => prune(child, has))
  if (children.every(child => child === undefined)) return undefined
  if (composition.type === 'stack') {
    const left = children.filter(child => child !== undefined)
    return left.length === 1 ? left[0] : { ...composition, children: left }
  }
  const missing = children.indexOf(undefined)
  if (missing >= 0) {
    throw new Error(
      `${composition.type}: "${adaptersOf(composition.children[missing]).join(', ')}" is not in a layer where the others are; the adapters of a ${composition.type} must stand in the same layers (only a stack may have gaps)`,
    )
  }
  return { ...composition, children: children as Composable[] }
}

/** What a kind of layers does with a state of its own while a composition is computed. */
export interface Composer<S> {
  /** What the layers are called in messages: `bottleneck adapters`. */
  readonly name: string
  /** The blocks that there are. Others are refused. */
  readonly blocks: readonly Composition['type'][]
  /** What an adapter reads of the state. Parts of a block read what its first (of a fusion its last) adapter reads. */
  before?(name: string, state: S): S
  /** The state after one adapter. */
  apply(name: string, state: S): S
  /** A part of the state: rows (axis 0) or positions (axis 1). */
  slice(state: S, axis: 0 | 1, start: Dim, end: Dim): S
  /** Parts joined again. */
  join(states: readonly S[], axis: 0 | 1): S
  /** The number of rows, and of positions. */
  size(state: S, axis: 0 | 1): Dim
  /** The weighted sum of the results, divided by their number. */
  average?(states: readonly S[], weights: readonly number[]): S
  /** The results mixed by a fusion; `before` is what its children have read. */
  fuse?(name: string, states: readonly S[], before: S): S
}

/**
 * Computes a composition on a state, as AdapterHub does: in a stack each adapter reads anew what came before it; the
 * children of any other block read what one of them reads of the block's state.
 *
 * @throws for a block that such layers do not have, and where the parts of one do not fit the state
 */
export function compose<S>(composition: Composable, state: S, composer: Composer<S>): S {
  const before = (name: string, at: S) => composer.before?.(name, at) ?? at
  const run = (child: Composable, at: S) =>
    typeof child === 'string' ? composer.apply(child, at) : compose(child, at, composer)
  if (typeof composition === 'string') return composer.apply(composition, before(composition, state))
  const { type, children } = composition
  if (!composer.blocks.includes(type)) {
    throw new Error(
      `${type}: ${composer.name} cannot be put together so; they have ${composer.blocks.join(', ')}. Bottleneck adapters have all blocks.`,
    )
  }
  if (type === 'stack') return children.reduce((current, child) => compose(child, current, composer), state)
  if (type === 'fuse') {
    const read = before(lastAdapter(composition), state)
    const states = children.map(child => run(child, read))
    return composer.fuse!(fusionName(composition), states, read)
  }
  const read = before(firstAdapter(composition), state)
  if (type === 'average') {
    const states = children.map(child => run(child, read))
    return composer.average!(states, composition.weights!)
  }
  const axis = type === 'split' ? 1 : 0
  const length = composer.size(read, axis)
  let start: Dim = 0
  const parts = partSizes(composition, length).map((size, i) => {
    const end = addDims(start, size)
    const part = composer.slice(read, axis, start, end)
    start = end
    return run(children[i], part)
  })
  return composer.join(parts, axis)
}

/** How many rows or positions each child of a block gets. */
function partSizes({ type, children, splits, batchSizes }: Composition, length: Dim): readonly Dim[] {
  if (type === 'parallel') {
    const each = divideDims(length, children.length)
    if (each === undefined) throw new Error(`parallel: ${length} rows cannot be divided among ${children.length}`)
    return children.map(() => each)
  }
  const sizes = (type === 'split' ? splits : batchSizes)!
  const total = sizes.reduce((sum, size) => sum + size, 0)
  // A length that is known only when it runs: the last part takes what is left.
  if (typeof length !== 'number') return [...sizes.slice(0, -1), subtractDims(length, total - sizes.at(-1)!)]
  if (total !== length) {
    throw new Error(
      `${type}: its parts ${JSON.stringify(sizes)} add up to ${total}, the ${type === 'split' ? 'sequence' : 'batch'} has ${length}`,
    )
  }
  return sizes
}
