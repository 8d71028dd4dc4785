/** @file LayerNorm tuning: registration, and the layers it trains by default, as PEFT chooses them. */
import type { Module } from '../../../nn/index.ts'
import { registerPeftMethod } from '../../method.ts'
import { tunerAt } from '../../tuner-layer.ts'
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

const size = (module: Module) => module.parameters().reduce((sum, parameter) => sum + parameter.size, 0)

registerPeftMethod<LNTuningConfig>({
  peftType: 'LN_TUNING',
  about: {
    title: 'LayerNorm tuning',
    family: 'partial',
    formula: 'y = LN(x) with trained weight and bias',
    paper: 'arXiv 2312.11420',
    parameters: 'the parameters of the target modules',
    count: (_, targets) => [...targets.values()].reduce((sum, module) => sum + size(module), 0),
    example: options => new LNTuningConfig(options),
    recommended: { learningRate: 1e-3 },
    oracle: 'adapters/ln-tuning',
  },
  can: {
    merge: true,
    mixedBatch: 'each',
    weightedSum: false,
    convertToLora: false,
    noOpAtInit: true,
    several: false,
  },
  layerKinds: ['any module'],
  configFromJson: LNTuningConfig.fromJson,
  defaultTargetModules: modelType => TARGETS[modelType],
  wrap: ({ module, state, adapterName }) => {
    const layer = tunerAt(module, LNTuningLayer) ?? new LNTuningLayer(module, state)
    layer.addAdapter(adapterName)
    return layer
  },
})

export { LNTuningConfig } from './config.ts'
export { LNTuningLayer } from './layer.ts'
