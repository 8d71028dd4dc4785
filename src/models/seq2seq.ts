/** @file What encoder-decoders share: their inputs, the decoder's default tokens, the masks, and the head with its loss. */
import {
  concat,
  type Dim,
  equal,
  expand,
  graphOf,
  reshape,
  slice,
  subtractDims,
  type Tensor,
  where,
} from '../graph/index.ts'
import { causalMask, paddingMask } from '../nn/index.ts'
import { type PositionalHead, vocabularyOutput } from './causal-lm.ts'
import type { Seq2SeqTokenIds } from './config/seq2seq.ts'
import type { PretrainedConfig } from './config.ts'
import type { InputSpec, ModelInputs, ModelOutput, ModelTask } from './inputs.ts'

/** The inputs of an encoder-decoder whose hidden states are `hidden` wide. */
export function seq2seqInputSpecs(task: ModelTask, hidden: number): Record<string, InputSpec> {
  const source: InputSpec = { dtype: 'int64', shape: ['batch', 'sequence'] }
  const target: InputSpec = { dtype: 'int64', shape: ['batch', 'target'], optional: true }
  const states: InputSpec = { dtype: 'float32', shape: ['batch', 'sequence', hidden], optional: true }
  return {
    input_ids: source,
    inputs_embeds: states,
    attention_mask: { ...source, optional: true },
    decoder_input_ids: target,
    decoder_attention_mask: target,
    decoder_position_ids: target,
    encoder_hidden_states: states,
    ...(task === 'SEQ_2_SEQ_LM' && { labels: target }),
  }
}

/** Whether a pass has to compute the encoder: its result was not given, and no cache replaces it. */
export function needsEncoder({ encoder_hidden_states, cache }: ModelInputs): boolean {
  return encoder_hidden_states === undefined && !cache?.cross.length
}

/**
 * What the decoder reads: `decoder_input_ids`, else the labels, each token one position later.
 *
 * @throws when neither was given
 */
export function decoderTokens(inputs: ModelInputs, config: PretrainedConfig & Seq2SeqTokenIds): Tensor {
  const { decoder_input_ids: tokens, labels } = inputs
  if (tokens) return tokens
  if (!labels) {
    throw new Error(
      'forward: got neither decoder_input_ids nor labels; the decoder of a sequence-to-sequence model reads one of them',
    )
  }
  return shiftRight(labels, config)
}

/** The tokens one position later, with the decoder's start in front; -100 becomes padding. */
export function shiftRight(tokens: Tensor, config: PretrainedConfig & Seq2SeqTokenIds): Tensor {
  const { decoder_start_token_id: start, pad_token_id: pad } = config
  for (const [key, value] of Object.entries({ decoder_start_token_id: start, pad_token_id: pad })) {
    if (value === null) {
      throw new Error(
        `${config.label}: "${key}" is null, and the decoder's tokens are made with it; set it, or give decoder_input_ids`,
      )
    }
  }
  const { graph } = tokens
  const [batch, length] = tokens.shape
  const first = expand(graph.constant([start!], 'int64', [1, 1]), [batch, 1])
  const shifted = concat([first, slice(tokens, 1, 0, subtractDims(length, 1))], 1)
  return where(equal(shifted, -100), pad!, shifted)
}

/** The masks of the decoder's layers: to its own positions, and to the encoder's. */
export function decoderMasks(
  inputs: ModelInputs,
  queries: Dim,
  tokens: Tensor,
): { own: Tensor; cross: Tensor | undefined } {
  const { attention_mask, decoder_attention_mask, cache } = inputs
  return {
    own: causalMask(graphOf([tokens]), queries, cache?.length ?? 0, decoder_attention_mask),
    cross: attention_mask && paddingMask(attention_mask),
  }
}

/** Adds `logits` and, where there are labels, `loss` to the output of an encoder-decoder. The labels are not shifted. */
export function seq2seqLMOutput(head: PositionalHead, output: ModelOutput, inputs: ModelInputs): ModelOutput {
  const { labels } = inputs
  return vocabularyOutput(head, output, inputs, labels && reshape(labels, [-1]))
}
