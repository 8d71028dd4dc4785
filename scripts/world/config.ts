/** @file The shape of the embedded base, as `config.json` and `generation_config.json` of a small Llama. */

/** The longest sequence the base is made for, in tokens. */
export const CONTEXT = 64

/** The size of the vocabulary, special tokens and bytes included. */
export const VOCAB_SIZE = 1280

/** Ids of the special tokens, as the tokenizer numbers them. */
const PAD_ID = 0
const EOS_ID = 1

/** The contents of `config.json`, spelled and sorted as Transformers writes them. */
export function modelConfig(vocabSize: number): Record<string, unknown> {
  return {
    architectures: ['LlamaForCausalLM'],
    attention_bias: false,
    attention_dropout: 0,
    bos_token_id: EOS_ID,
    dtype: 'float32',
    eos_token_id: EOS_ID,
    head_dim: 32,
    hidden_act: 'silu',
    hidden_size: 128,
    initializer_range: 0.02,
    intermediate_size: 384,
    max_position_embeddings: CONTEXT,
    mlp_bias: false,
    model_type: 'llama',
    num_attention_heads: 4,
    num_hidden_layers: 4,
    num_key_value_heads: 4,
    pad_token_id: PAD_ID,
    pretraining_tp: 1,
    rms_norm_eps: 1e-5,
    rope_parameters: { rope_theta: 10000, rope_type: 'default' },
    tie_word_embeddings: true,
    use_cache: true,
    vocab_size: vocabSize,
  }
}

/** The contents of `generation_config.json`: greedy, up to the end of the answer. */
export function generationConfig(): Record<string, unknown> {
  return { bos_token_id: EOS_ID, do_sample: false, eos_token_id: EOS_ID, max_length: CONTEXT, pad_token_id: PAD_ID }
}
