/** @file The modules that (IA)3 scales by default, by model type, as PEFT chooses them. */

/** Targets, and those of them whose input is scaled, by `model_type`. */
export const IA3_MODULES: Readonly<Record<string, { targets: readonly string[]; feedforward: readonly string[] }>> = {
  bart: { targets: ['q_proj', 'v_proj', 'fc2'], feedforward: ['fc2'] },
  bert: { targets: ['key', 'value', 'output.dense'], feedforward: ['output.dense'] },
  bloom: { targets: ['query_key_value', 'mlp.dense_4h_to_h'], feedforward: ['mlp.dense_4h_to_h'] },
  'deberta-v2': { targets: ['key_proj', 'value_proj', 'output.dense'], feedforward: ['output.dense'] },
  falcon: { targets: ['query_key_value', 'dense_4h_to_h'], feedforward: ['dense_4h_to_h'] },
  gemma: { targets: ['q_proj', 'v_proj', 'down_proj'], feedforward: ['down_proj'] },
  gemma2: { targets: ['q_proj', 'v_proj', 'down_proj'], feedforward: ['down_proj'] },
  gemma3_text: { targets: ['q_proj', 'v_proj', 'down_proj'], feedforward: ['down_proj'] },
  gpt2: { targets: ['c_attn', 'mlp.c_proj'], feedforward: ['mlp.c_proj'] },
  gpt_neox: { targets: ['query_key_value', 'dense_4h_to_h'], feedforward: ['dense_4h_to_h'] },
  llama: { targets: ['k_proj', 'v_proj', 'down_proj'], feedforward: ['down_proj'] },
  mistral: { targets: ['k_proj', 'v_proj', 'down_proj'], feedforward: ['down_proj'] },
  mixtral: { targets: ['k_proj', 'v_proj', 'w2'], feedforward: ['w2'] },
  mt5: { targets: ['k', 'v', 'wi_1'], feedforward: [] },
  opt: { targets: ['q_proj', 'k_proj', 'fc2'], feedforward: ['fc2'] },
  phi: { targets: ['q_proj', 'v_proj', 'fc2'], feedforward: ['fc2'] },
  qwen2: { targets: ['q_proj', 'v_proj', 'down_proj'], feedforward: ['down_proj'] },
  qwen3: { targets: ['q_proj', 'v_proj', 'down_proj'], feedforward: ['down_proj'] },
  roberta: { targets: ['key', 'value', 'output.dense'], feedforward: ['output.dense'] },
  t5: { targets: ['k', 'v', 'wo'], feedforward: ['wo'] },
}
