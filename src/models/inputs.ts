/** @file What a model takes and gives, under Transformers' names. */
import {
  addDims,
  type Dim,
  type DType,
  type Graph,
  graphOf,
  range,
  type Shape,
  slice,
  type Tensor,
  unsqueeze,
} from '../graph/index.ts'
import type { KeyValueCache } from '../nn/index.ts'

/** What a model is for, by PEFT's names of task types. */
export type ModelTask =
  | 'FEATURE_EXTRACTION'
  | 'SEQ_CLS'
  | 'TOKEN_CLS'
  | 'QUESTION_ANS'
  | 'CAUSAL_LM'
  | 'MASKED_LM'
  | 'SEQ_2_SEQ_LM'
  | 'IMAGE_CLS'

/** The inputs of a model. Either `input_ids` or `inputs_embeds` must be given. */
export interface ModelInputs {
  /** int64 `[batch, sequence]` */
  input_ids?: Tensor
  /** The embedded tokens in place of their numbers, `[batch, sequence, hidden]`. */
  inputs_embeds?: Tensor
  /** int64 `[batch, past + sequence]`, 1 where a token stands and 0 where there is padding; all ones by default. */
  attention_mask?: Tensor
  /** int64 `[batch, sequence]`, the segment of each token. */
  token_type_ids?: Tensor
  /** int64 `[batch or 1, sequence]`; by default tokens are counted from the end of the cache. */
  position_ids?: Tensor
  /**
   * int64 `[batch, sequence]`: which text of its row a token belongs to, from 1 on; 0 is padding. The texts of a row do not
   * see each other. `position_ids` must start anew with each, and the first label of each must be -100. Decoders that
   * predict tokens only.
   */
  segment_ids?: Tensor
  /** int64: `[batch]` classes, or `[batch, sequence]` tokens (not shifted); -100 does not count. */
  labels?: Tensor
  /** int64 `[batch]`, the first token of each answer. */
  start_positions?: Tensor
  /** int64 `[batch]`, the last token of each answer. */
  end_positions?: Tensor
  /** int64 `[batch, target]`, what the decoder of a sequence-to-sequence model reads; by default the labels, shifted. */
  decoder_input_ids?: Tensor
  /** int64 `[batch, past + target]`, 1 where a token of the decoder stands and 0 where there is padding. */
  decoder_attention_mask?: Tensor
  /** int64 `[batch or 1, target]`; by default the decoder's tokens are counted from the end of the cache. */
  decoder_position_ids?: Tensor
  /** The encoder's result, so that it is not computed again, `[batch, sequence, hidden]`. */
  encoder_hidden_states?: Tensor
  /** Spectrograms of speech, `[batch, mels, frames]`. */
  input_features?: Tensor
  /** Images, `[batch, channels, height, width]`. */
  pixel_values?: Tensor
  /** int64 `[batch]`, which adapter computes each row: 0 the base model, i the i-th adapter. Models with adapters only. */
  adapter_indices?: Tensor
  /** The adapters that `adapter_indices` counts; by default all that the model has. */
  adapter_names?: readonly string[]
  /** Keys and values of earlier positions; the new ones are left in it. */
  cache?: KeyValueCache
  /** Compute the logits of this many last positions only. */
  num_logits_to_keep?: number
}

/** The outputs of a model; what is not fetched is not computed. */
export interface ModelOutput {
  /** `[batch, classes]`, or `[batch, sequence, vocabulary]` */
  logits?: Tensor
  /** The mean loss over the labels, a scalar; present when `labels` were given. */
  loss?: Tensor
  /** `[batch, sequence, hidden]` */
  last_hidden_state?: Tensor
  /** `[batch, hidden]` */
  pooler_output?: Tensor
  /** `[batch, sequence]`, how well an answer starts at each token. */
  start_logits?: Tensor
  /** `[batch, sequence]`, how well an answer ends at each token. */
  end_logits?: Tensor
  /** Of texts and images: how well each text fits each image, `[texts, images]`. */
  logits_per_text?: Tensor
  /** Of texts and images: how well each image fits each text, `[images, texts]`. */
  logits_per_image?: Tensor
  /** What texts are compared with images by, `[texts, projection]`. */
  text_embeds?: Tensor
  /** What images are compared with texts by, `[images, projection]`. */
  image_embeds?: Tensor
  /** The encoder's result in a sequence-to-sequence model, `[batch, sequence, hidden]`. */
  encoder_last_hidden_state?: Tensor
  /** The embeddings, then each layer's output, `[batch, sequence, hidden]`. */
  hidden_states?: Tensor[]
}

/** The type of one input of a model. */
export interface InputSpec {
  dtype: DType
  shape: Shape
  /** Whether the model runs without it. */
  optional?: boolean
}

/** Where tokens come from: an embedding layer, or whatever took its place. */
interface TokenEmbedding {
  forward(ids: Tensor): Tensor
}

/** The embedded tokens, `[batch, sequence, hidden]`. Throws unless exactly one of the two inputs was given. */
export function embedTokens(embedding: TokenEmbedding, inputs: ModelInputs): Tensor {
  const { input_ids, inputs_embeds } = inputs
  if ((input_ids === undefined) === (inputs_embeds === undefined)) {
    throw new Error(
      `forward: got ${input_ids ? 'both input_ids and inputs_embeds' : 'neither input_ids nor inputs_embeds'}, ` +
        'expected exactly one of them',
    )
  }
  return inputs_embeds ?? embedding.forward(input_ids!)
}

/** The graph that the inputs belong to. */
export function graphOfInputs(inputs: ModelInputs): Graph {
  return graphOf([inputs.input_ids ?? inputs.inputs_embeds])
}

/** The positions `past`, … `past + sequence - 1`: int64 `[1, sequence]`. */
export function defaultPositions(graph: Graph, past: Dim, sequence: Dim): Tensor {
  const total = addDims(past, sequence)
  return unsqueeze(slice(range(graph, total), 0, past, total), [0])
}

/** The positions that were given, else those behind the cache: int64 `[batch or 1, sequence]`. */
export function positionsOf(inputs: ModelInputs, sequence: Dim): Tensor {
  return inputs.position_ids ?? defaultPositions(graphOfInputs(inputs), inputs.cache?.length ?? 0, sequence)
}

/** Refuses a sequence that is known to be longer than a table of learned positions. */
export function checkPositions(past: Dim, sequence: Dim, limit: number): void {
  const total = addDims(past, sequence)
  if (typeof total === 'number' && total > limit) {
    throw new Error(
      `forward: the sequence has ${total} positions, the model was made for ${limit} (max_position_embeddings); ` +
        'shorten or truncate it',
    )
  }
}
