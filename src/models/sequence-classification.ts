/** @file What classifiers of whole sequences share: the token that stands for a sequence, and the loss. */
import {
  add,
  cast,
  crossEntropy,
  type Dim,
  dimValue,
  equal,
  gather,
  logicalNot,
  max,
  mul,
  range,
  reshape,
  slice,
  squeeze,
  subtractDims,
  type Tensor,
} from '../graph/index.ts'
import type { PretrainedConfig } from './config.ts'
import type { ModelInputs } from './inputs.ts'

/** The loss of classes, a scalar; undefined without labels. Throws for regression and for several labels at once. */
export function classificationLoss(
  logits: Tensor,
  labels: Tensor | undefined,
  config: PretrainedConfig,
): Tensor | undefined {
  if (!labels) return undefined
  const problem = config.problem_type ?? (config.num_labels === 1 ? 'regression' : 'single_label_classification')
  if (problem !== 'single_label_classification') {
    throw new Error(
      `forward: the loss of problem_type "${problem}" (num_labels ${config.num_labels}) is not computed; ` +
        'expected single_label_classification with two labels or more. Leave the labels out and use the logits.',
    )
  }
  return crossEntropy(logits, labels)
}

/**
 * The hidden state of each sequence's last token that is not padding, `[batch, hidden]`. As in Transformers padding is
 * told by the configuration's `pad_token_id`; where the model has none, or only embeddings are given, the attention
 * mask tells it. Throws where neither can.
 */
export function lastTokenState(hidden: Tensor, inputs: ModelInputs, config: PretrainedConfig): Tensor {
  const { graph } = hidden
  const [batch, sequence, width] = hidden.shape
  const attended = attendedPositions(inputs, sequence, config)
  if (!attended) {
    if (batch !== 1 && !inputs.inputs_embeds) {
      throw new Error(
        `forward: ${config.label} has no pad_token_id and no attention_mask was given, so the last token of each of ` +
          'several sequences is not known. Give an attention_mask, or set pad_token_id in the configuration.',
      )
    }
    return squeeze(slice(hidden, 1, subtractDims(sequence, 1)), [1])
  }
  const last = max(mul(cast(attended, 'int64'), range(graph, sequence)), [1])
  const rows = add(mul(range(graph, batch), dimValue(graph, sequence)), last)
  return gather(reshape(hidden, [-1, width]), rows, 0)
}

/** Where tokens stand, `[batch, sequence]`. */
function attendedPositions(
  { input_ids, attention_mask }: ModelInputs,
  sequence: Dim,
  config: PretrainedConfig,
): Tensor | undefined {
  if (input_ids && config.pad_token_id !== null) return logicalNot(equal(input_ids, config.pad_token_id))
  // With a cache the mask begins with the past, whose states are not here.
  return attention_mask && slice(attention_mask, 1, subtractDims(attention_mask.shape[1], sequence))
}
