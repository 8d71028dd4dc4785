/** @file The shapes of published models that a training step is measured on, as the peer's `shapes.py` builds them. */

/**
 * @typedef {object} Shape
 * @property {number} batch
 * @property {number} seq
 * @property {'SEQ_CLS' | 'CAUSAL_LM'} task
 * @property {string[]} targetModules
 * @property {Record<string, unknown>} config config.json, for a run without the peer; what it lacks has Transformers' default
 * @property {'BF16'} [dtype] how its weights are stored; float32 by default
 * @property {boolean} [isHalf] whether the model is published in bfloat16
 * @property {boolean} [isLarge] whether only a quantised base of it is measured
 */

/** @type {Record<string, Shape>} */
export const SHAPES = {
  'bert-base': {
    batch: 8,
    seq: 128,
    task: 'SEQ_CLS',
    targetModules: ['query', 'value'],
    config: { model_type: 'bert', architectures: ['BertForSequenceClassification'] },
  },
  'smollm2-135m': {
    batch: 4,
    seq: 128,
    isHalf: true,
    task: 'CAUSAL_LM',
    targetModules: ['q_proj', 'v_proj'],
    config: {
      model_type: 'llama',
      architectures: ['LlamaForCausalLM'],
      vocab_size: 49152,
      hidden_size: 576,
      intermediate_size: 1536,
      num_hidden_layers: 30,
      num_attention_heads: 9,
      num_key_value_heads: 3,
      max_position_embeddings: 8192,
      tie_word_embeddings: true,
      rms_norm_eps: 1e-5,
    },
  },
  'qwen2.5-0.5b': {
    batch: 1,
    seq: 256,
    isHalf: true,
    task: 'CAUSAL_LM',
    targetModules: ['q_proj', 'v_proj'],
    config: {
      model_type: 'qwen2',
      architectures: ['Qwen2ForCausalLM'],
      vocab_size: 151936,
      hidden_size: 896,
      intermediate_size: 4864,
      num_hidden_layers: 24,
      num_attention_heads: 14,
      num_key_value_heads: 2,
      max_position_embeddings: 32768,
      tie_word_embeddings: true,
      rms_norm_eps: 1e-6,
    },
  },
  'qwen2.5-3b': {
    batch: 1,
    seq: 512,
    task: 'CAUSAL_LM',
    targetModules: ['q_proj', 'v_proj'],
    dtype: 'BF16',
    isLarge: true,
    config: {
      model_type: 'qwen2',
      architectures: ['Qwen2ForCausalLM'],
      vocab_size: 151936,
      hidden_size: 2048,
      intermediate_size: 11008,
      num_hidden_layers: 36,
      num_attention_heads: 16,
      num_key_value_heads: 2,
      max_position_embeddings: 32768,
      tie_word_embeddings: true,
      rms_norm_eps: 1e-6,
    },
  },
}
