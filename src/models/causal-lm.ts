/** @file The language-modelling head: logits and the loss of the next token. */
import { concat, crossEntropy, expand, reshape, slice, subtractDims, type Tensor } from '../graph/index.ts'
import type { ModelInputs, ModelOutput } from './inputs.ts'

/** The labels one position earlier, so that position i holds the token that follows it; the last holds -100. */
function nextTokens(labels: Tensor): Tensor {
  const [batch, sequence] = labels.shape
  const none = expand(labels.graph.constant([-100], 'int64', [1, 1]), [batch, 1])
  return concat([slice(labels, 1, 1, sequence), none], 1)
}

/** What gives the logits of rows of hidden states. */
export interface PositionalHead {
  /** @param x `[rows, hidden]` @returns `[rows, vocabulary]` */
  forward(x: Tensor): Tensor
}

/**
 * Adds `logits` and, where there are labels, `loss` to the output of a decoder. The labels are shifted and not the
 * logits, which are a vocabulary wider.
 */
export function causalLMOutput(head: PositionalHead, output: ModelOutput, inputs: ModelInputs): ModelOutput {
  const { labels } = inputs
  return vocabularyOutput(head, output, inputs, labels && reshape(nextTokens(labels), [-1]))
}

/**
 * Adds `logits` and, where there are targets, `loss` to an output. The head sees one matrix of rows, so that its product
 * and the loss can be differentiated as one.
 *
 * @param targets int64 `[batch * sequence]`, the token that belongs to each position; -100 does not count
 */
export function vocabularyOutput(
  head: PositionalHead,
  output: ModelOutput,
  { num_logits_to_keep: keep }: ModelInputs,
  targets: Tensor | undefined,
): ModelOutput {
  let hidden = output.last_hidden_state!
  if (keep !== undefined) {
    if (!(Number.isInteger(keep) && keep >= 1)) {
      throw new Error(`forward: num_logits_to_keep is ${keep}, expected a whole number of at least 1`)
    }
    if (targets)
      throw new Error('forward: got labels and num_logits_to_keep; the loss needs every position, leave one out')
    hidden = slice(hidden, 1, subtractDims(hidden.shape[1], keep))
  }
  const [batch, sequence, width] = hidden.shape
  const rows = head.forward(reshape(hidden, [-1, width]))
  const logits = reshape(rows, [batch, sequence, rows.shape[1]])
  return { ...output, logits, ...(targets && { loss: crossEntropy(rows, targets) }) }
}
