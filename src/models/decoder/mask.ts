/** @file The mask of a decoder, whose rows hold one text each or several. */
import type { Dim, Graph, Tensor } from '../../graph/index.ts'
import { causalMask, packedCausalMask } from '../../nn/index.ts'
import type { InputSpec, ModelInputs } from '../inputs.ts'

/** The input that tells the texts of a row apart. */
export const SEGMENT_SPECS: Readonly<Record<string, InputSpec>> = {
  segment_ids: { dtype: 'int64', shape: ['batch', 'sequence'], optional: true },
}

/**
 * What is added to the scores of a decoder, `[batch or 1, 1, queries, past + queries]`.
 *
 * @throws when texts share rows and there is a cache, whose keys belong to no text
 */
export function decoderMask(graph: Graph, queries: Dim, { attention_mask, cache, segment_ids }: ModelInputs): Tensor {
  if (!segment_ids) return causalMask(graph, queries, cache?.length ?? 0, attention_mask)
  if (cache) {
    throw new Error(
      'forward: got segment_ids and a cache (a generation, or learned keys and values in front of the text); texts ' +
        'that share a row cannot share these. Give each text a row of its own.',
    )
  }
  return packedCausalMask(segment_ids)
}
