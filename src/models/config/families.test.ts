/** @file Older spellings in published configurations, and what is refused because it is not computed. */
import { describe, expect, it } from 'vitest'
import { AutoConfig, AutoModelForCausalLM } from '../index.ts'

const SMALL = { hidden_size: 32, num_attention_heads: 4, num_hidden_layers: 3 }

describe('older spellings', () => {
  it('of LongRoPE in Phi-3 mean LongRoPE, with the length of pretraining at top level', () => {
    const factors = { short_factor: [1, 1, 1, 1], long_factor: [2, 2, 2, 2] }
    const lengths = { max_position_embeddings: 64, original_max_position_embeddings: 16 }
    for (const type of ['su', 'yarn', 'longrope']) {
      const json = { model_type: 'phi3', ...SMALL, ...lengths, rope_scaling: { type, ...factors } } as const
      const { rope_parameters } = AutoConfig.fromJSON(json)
      expect(rope_parameters).toMatchObject({
        rope_type: 'longrope',
        original_max_position_embeddings: 16,
        partial_rotary_factor: 1,
        ...factors,
      })
    }
  })

  it('of the two bases in Gemma 3 are those of its kinds of layer', () => {
    const config = AutoConfig.fromJSON({
      model_type: 'gemma3_text',
      ...SMALL,
      sliding_window_pattern: 3,
      rope_theta: 500_000,
      rope_local_base_freq: 20_000,
      rope_scaling: { rope_type: 'linear', factor: 8 },
    })
    expect(config.rope_parameters).toMatchObject({ rope_type: 'linear', factor: 8, rope_theta: 500_000 })
    expect(config.sliding_rope_parameters).toMatchObject({ rope_type: 'default', rope_theta: 20_000 })
    expect(config.layer_types).toEqual(['sliding_attention', 'sliding_attention', 'full_attention'])
  })

  it('of the share of each head that is turned are read for GPT-NeoX', () => {
    const config = AutoConfig.fromJSON({ model_type: 'gpt_neox', ...SMALL, rotary_pct: 0.5, rotary_emb_base: 777 })
    expect(config.rope_parameters).toMatchObject({ partial_rotary_factor: 0.5, rope_theta: 777 })
  })

  it('of the activation in Gemma mean its approximation', () => {
    expect(AutoConfig.fromJSON({ model_type: 'gemma', hidden_act: 'gelu' }).hidden_act).toBe('gelu_pytorch_tanh')
  })

  it('of the number of experts are the same key', () => {
    const config = AutoConfig.fromJSON({ model_type: 'qwen3_moe', ...SMALL, num_key_value_heads: 2, num_experts: 16 })
    expect(config.num_local_experts).toBe(16)
    expect(config.num_experts_per_tok).toBe(8)
  })
})

describe('what is not computed', () => {
  const refusals: [object, RegExp][] = [
    [{ model_type: 'falcon', alibi: true }, /"alibi" is true.*linear biases/],
    [{ model_type: 'gemma2', use_bidirectional_attention: true }, /"use_bidirectional_attention" is true/],
    [{ model_type: 'opt', layer_norm_elementwise_affine: false }, /Normalisations without parameters/],
    [{ model_type: 'opt', layerdrop: 0.5 }, /"layerdrop" is 0.5/],
    [{ model_type: 'smollm3', no_rope_layers: [1] }, /"no_rope_layers" is \[1\].*"num_hidden_layers" is 3/],
    [{ model_type: 'mixtral', num_local_experts: 2, num_experts_per_tok: 3 }, /"num_experts_per_tok" is 3.*at most 2/],
    [{ model_type: 'qwen3_moe', num_key_value_heads: 2, mlp_only_layers: 'all' }, /"mlp_only_layers" is "all"/],
  ]
  it.each(refusals)('is refused by its configuration: %j', (json, message) => {
    expect(() => AutoConfig.fromJSON({ num_key_value_heads: 4, ...SMALL, ...json })).toThrow(message)
  })

  it('is refused by the model where the router has a part in the loss or in the noise', () => {
    const build = (json: object) =>
      AutoModelForCausalLM.fromConfig(
        AutoConfig.fromJSON({ model_type: 'mixtral', ...SMALL, num_key_value_heads: 2, ...json }),
      )
    expect(() => build({ output_router_logits: true })).toThrow(/"output_router_logits" is true/)
    expect(() => build({ router_jitter_noise: 0.1 })).toThrow(/"router_jitter_noise" is 0.1/)
  })
})
