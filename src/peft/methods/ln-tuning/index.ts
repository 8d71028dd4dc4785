/** @file LayerNorm tuning: registration, and the layers it trains by default, as PEFT chooses them. */
import { registerPeftMethod } from '../../method.ts'
import { LNTuningConfig } from './config.ts'
import { LNTuningLayer } from './layer.ts'

const PRE_NORM = ['input_layernorm', 'post_attention_layernorm', 'norm']
const SANDWICH = [...PRE_NORM.slice(0, 2), 'pre_feedforward_layernorm', 'post_feedforward_layernorm', 'norm']

const TARGETS: Readonly<Record<string, readonly string[]>> = {
  bart: ['self_attn_layer_norm', 'encoder_attn_layer_norm', 'final_layer_norm'],
  bloom: ['input_layernorm', 'post_attention_layernorm', 'ln_f'],
  falcon: ['input_layernorm', 'post_attention_layernorm', 'ln_f'],
  gemma: PRE_NORM,
  gemma2: SANDWICH,
  gemma3_text: SANDWICH,
  gpt2: ['ln_1', 'ln_2', 'ln_f'],
  gptj: ['ln_1', 'ln_f'],
  llama: PRE_NORM,
  mistral: PRE_NORM,
  mt5: ['layer_norm', 'final_layer_norm'],
  phi: ['input_layernorm', 'final_layernorm'],
  qwen2: ['post_attention_layernorm'],
  qwen3: ['post_attention_layernorm'],
  t5: ['layer_norm', 'final_layer_norm'],
}

registerPeftMethod<LNTuningConfig>({
  peftType: 'LN_TUNING',
  prefix: 'ln_tuning_',
  layerKinds: ['any module'],
  configFromJson: LNTuningConfig.fromJson,
  defaultTargetModules: modelType => TARGETS[modelType],
  wrap: ({ module, state, adapterName }) => {
    const layer = module instanceof LNTuningLayer ? module : new LNTuningLayer(module, state)
    layer.addAdapter(adapterName)
    return layer
  },
})

export { LNTuningConfig } from './config.ts'
export { LNTuningLayer } from './layer.ts'
