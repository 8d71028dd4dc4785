/** @file How several adapters work together: the composition blocks of AdapterHub. */

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
  /** The name of a fusion. */
  readonly name?: string
}

/** The names of the adapters in a composition, each once, in the order in which they stand there. */
export function adaptersOf(composition: Composable): string[] {
  if (typeof composition === 'string') return [composition]
  return [...new Set(composition.children.flatMap(adaptersOf))]
}
