/** @file How much memory a training step takes, estimated from the configuration alone. */
import type { PretrainedConfig } from '../models/index.ts'
import type { ParameterCounts } from '../peft/index.ts'

/** What the estimate is made for. */
export interface StepShape {
  batchSize: number
  sequence: number
  mode: 'fast' | 'small'
  /** Whether the model's own weights train, so that the inputs of every product are kept for their gradients. */
  full: boolean
  /** Whether the model gives scores over its vocabulary. */
  overVocabulary: boolean
}

/** Bytes by what they are for. */
export interface MemoryEstimate {
  /** Node and the engine. */
  process: number
  weights: number
  activations: number
  /** Scores over the vocabulary, and their gradient. */
  scores: number
  /** Trained values, gradient, the two moments of AdamW, and the engine's copies. */
  training_state: number
  total: number
}

const FLOAT = 4
const PROCESS = 250e6

interface Widths {
  hidden: number
  layers: number
  heads: number
  keyValueHeads: number
  headDim: number
  intermediate: number
  gated: boolean
}

/**
 * Estimates the peak of a step, in bytes, float32 throughout; `t` is batch times sequence:
 *
 * - weights: `4 F` for F frozen values, mapped from the file; with `fast` twice that again, since matrices are packed
 *   once for each direction (embeddings are looked up and not packed, unless they are the output layer too).
 * - activations: `4 t layers (n h + a s + (a + 2 kv) d + c i)`: a attention heads of width d with kv key-value heads over
 *   s positions, h the hidden and i the feed-forward width; n = 2 and c = 2 where that is gated, else 1. Where every
 *   weight trains, the inputs of all products are kept too: n = 5 and c one more.
 * - scores: `8 t V` for a language model with V tokens.
 * - training state: `24 T` for T trained values: value, gradient, AdamW's two moments, and the engine's own copies of
 *   value and gradient.
 * - process: 250 MB for Node, the engine and their buffers.
 *
 * Steps of LoRA on BERT-base (8 x 128) and on a Llama of 135 million parameters (4 x 128) took 1.2 and 1.5 GB in the
 * small mode and 1.7 and 2.3 GB in the fast one; the estimates are 1.1, 1.4, 1.8 and 2.5 GB.
 */
export function estimateMemory(config: PretrainedConfig, counts: ParameterCounts, shape: StepShape): MemoryEstimate {
  const { hidden, layers, heads, keyValueHeads, headDim, intermediate, gated } = widthsOf(config)
  const tokens = shape.batchSize * shape.sequence
  const vocabulary = (config as { vocab_size?: number }).vocab_size ?? 0
  const frozen = counts.all - counts.trainable
  const unpacked = shape.overVocabulary && config.tie_word_embeddings ? 0 : vocabulary * hidden
  const weights = FLOAT * (frozen + (shape.mode === 'fast' ? 2 * Math.max(0, frozen - unpacked) : 0))
  const perToken =
    (shape.full ? 5 : 2) * hidden +
    heads * shape.sequence +
    (heads + 2 * keyValueHeads) * headDim +
    ((gated ? 2 : 1) + (shape.full ? 1 : 0)) * intermediate
  const activations = FLOAT * tokens * layers * perToken
  const scores = shape.overVocabulary ? 2 * FLOAT * tokens * vocabulary : 0
  const trainingState = 6 * FLOAT * counts.trainable
  return {
    process: PROCESS,
    weights,
    activations,
    scores,
    training_state: trainingState,
    total: PROCESS + weights + activations + scores + trainingState,
  }
}

function widthsOf(config: PretrainedConfig): Widths {
  const values = config as unknown as Record<string, number | null | undefined>
  const hidden = values.hidden_size ?? 0
  const heads = values.num_attention_heads ?? 1
  return {
    hidden,
    heads,
    // A decoder beside the encoder counts as so many layers more.
    layers: (values.num_hidden_layers ?? 0) + (values.num_decoder_layers ?? values.decoder_layers ?? 0),
    keyValueHeads: values.num_key_value_heads ?? heads,
    headDim: values.head_dim ?? hidden / heads,
    intermediate: values.intermediate_size ?? values.n_inner ?? 4 * hidden,
    gated: (config as { is_gated_act?: boolean }).is_gated_act ?? values.rms_norm_eps !== undefined,
  }
}
