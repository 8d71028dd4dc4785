/** @file The modules that AdaLoRA adapts by default, by model type, as PEFT chooses them. */

/** Names of target modules by `model_type`. */
export const ADALORA_TARGET_MODULES: Readonly<Record<string, readonly string[] | string>> = {
  bart: ['q_proj', 'k_proj', 'v_proj', 'out_proj', 'fc1', 'fc2'],
  bert: ['query', 'value'],
  bloom: ['query_key_value'],
  deberta: ['in_proj'],
  'deberta-v2': ['query_proj', 'key_proj', 'value_proj', 'dense'],
  gemma: ['q_proj', 'v_proj'],
  gemma2: ['q_proj', 'v_proj'],
  gemma3_text: ['q_proj', 'v_proj'],
  gemma4: '.*language_model\\..*\\.(q_proj|v_proj)',
  gpt2: ['c_attn'],
  gpt_bigcode: ['c_attn'],
  gpt_neo: ['q_proj', 'v_proj'],
  gpt_neox: ['query_key_value'],
  gptj: ['q_proj', 'v_proj'],
  llama: ['q_proj', 'v_proj'],
  llama4: ['q_proj', 'v_proj'],
  mt5: ['q', 'k', 'v', 'o', 'wi_0', 'wi_1', 'wo'],
  nemotron_h: ['q_proj', 'k_proj', 'v_proj', 'o_proj'],
  opt: ['q_proj', 'k_proj', 'v_proj', 'out_proj', 'fc1', 'fc2'],
  qwen2: ['q_proj', 'v_proj'],
  qwen3: ['q_proj', 'v_proj'],
  roberta: ['query', 'key', 'value', 'dense'],
  t5: ['q', 'k', 'v', 'o', 'wi', 'wo'],
}
