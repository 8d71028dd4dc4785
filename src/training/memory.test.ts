/** @file The memory of a step: what saves it changes no gradient, and what it takes is foretold. */
import { beforeAll, describe, expect, it } from 'vitest'
import { AutoConfig, AutoModelForCausalLM, AutoModelForMaskedLM, type PreTrainedModel } from '../models/index.ts'
import { getPeftModel, LoraConfig, type PeftModel } from '../peft/index.ts'
import { type TensorData, tensorData } from '../runtime/index.ts'
import { forecastStep, type ValueAndGradOptions, valueAndGrad } from './index.ts'

const SIZES = {
  vocab_size: 1500,
  hidden_size: 16,
  intermediate_size: 32,
  num_hidden_layers: 4,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  head_dim: 4,
  max_position_embeddings: 64,
  query_pre_attn_scalar: 4,
  initializer_range: 0.3,
}

const KINDS: Record<string, { json: object; targets: string[]; isMasked?: boolean }> = {
  'Llama with a tied head': {
    json: { model_type: 'llama', tie_word_embeddings: true },
    targets: ['q_proj', 'v_proj', 'down_proj'],
  },
  'Gemma 2, whose logits are bounded, with LoRA on the head': {
    json: { model_type: 'gemma2', sliding_window: 4, layer_types: undefined },
    targets: ['q_proj', 'lm_head'],
  },
  'BERT with dropout': { json: { model_type: 'bert' }, targets: ['query', 'value'], isMasked: true },
}

function create({ json, targets, isMasked }: (typeof KINDS)[string]): PeftModel<PreTrainedModel> {
  const config = AutoConfig.fromJSON({ ...SIZES, ...json })
  const base = isMasked ? AutoModelForMaskedLM.fromConfig(config) : AutoModelForCausalLM.fromConfig(config)
  base.initialize(1)
  const model = getPeftModel(
    base,
    new LoraConfig({ r: 2, targetModules: targets, initLoraWeights: false, loraDropout: 0.1 }),
  )
  model.initialize(2)
  return model as PeftModel<PreTrainedModel>
}

function batchOf(batch: number, sequence: number, isLabelled: (i: number) => boolean): Record<string, TensorData> {
  const ids = Array.from({ length: batch * sequence }, (_, i) => (i * 37) % SIZES.vocab_size)
  return {
    input_ids: tensorData('int64', ids, [batch, sequence]),
    attention_mask: tensorData(
      'int64',
      ids.map((_, i) => Number(i % sequence < sequence - 1)),
      [batch, sequence],
    ),
    labels: tensorData(
      'int64',
      ids.map((id, i) => (isLabelled(i) ? id : -100)),
      [batch, sequence],
    ),
  }
}

const BATCHES = [batchOf(2, 7, i => i % 3 !== 0), batchOf(1, 12, () => true), batchOf(2, 5, () => false)]

const compileStep = (model: PeftModel<PreTrainedModel>, options: ValueAndGradOptions) =>
  valueAndGrad(model, (peft, inputs) => peft.forward(inputs as never).loss!, { ...options, inputs: model.inputSpecs() })

describe.each(Object.entries(KINDS))('%s', (_, kind) => {
  let model: PeftModel<PreTrainedModel>
  let expected: { value: number; data: Float32Array }[]
  const run = async (options: ValueAndGradOptions) => {
    await using step = await compileStep(model, options)
    const results = []
    for (const batch of BATCHES) {
      const { value, grads } = await step(batch, { seed: 3 })
      results.push({ value, data: grads.data })
    }
    return results
  }
  beforeAll(async () => {
    model = create(kind)
    expected = await run({ mode: 'fast' })
  })

  it('has a loss and gradients, and none where no label counts', () => {
    expect(expected[0].value).toBeGreaterThan(1)
    expect(expected[0].data.some(value => Math.abs(value) > 1e-5)).toBe(true)
    expect(expected[2].value).toBe(0)
    expect(expected[2].data.every(value => value === 0)).toBe(true)
  })

  it.each<[string, ValueAndGradOptions]>([
    ['the small mode', { mode: 'small' }],
    ['gradient checkpointing', { mode: 'fast', gradientCheckpointing: true }],
    ['both', { mode: 'small', gradientCheckpointing: true }],
  ])('has the same gradients in %s', async (_, options) => {
    const found = await run(options)
    for (const [i, { value, data }] of found.entries()) {
      expect(value).toBeCloseTo(expected[i].value, 5)
      const size = expected[i].data.reduce((most, entry) => Math.max(most, Math.abs(entry)), 1e-3)
      const difference = data.reduce((most, entry, j) => Math.max(most, Math.abs(entry - expected[i].data[j])), 0)
      expect(difference / size).toBeLessThan(options.mode === 'small' ? 1e-5 : 1e-9)
    }
  })
})

describe('a forecast', () => {
  const forecast = (options: Partial<Parameters<typeof forecastStep>[1]> = {}) => {
    const config = AutoConfig.fromJSON({ ...SIZES, model_type: 'llama', num_hidden_layers: 6 })
    const model = getPeftModel(AutoModelForCausalLM.fromConfig(config), new LoraConfig({ targetModules: ['q_proj'] }))
    return forecastStep(model as never, { batchSize: 8, sequence: 256, ...options })
  }

  it('needs no values, and is the sum of its parts', () => {
    const { total, ...parts } = forecast()
    expect(Object.values(parts).reduce((a, b) => a + b, 0)).toBe(total)
    expect(total).toBeGreaterThan(1e8)
  })

  it('follows the batch, the mode, and what is computed twice', () => {
    const fast = forecast()
    const small = forecast({ mode: 'small' })
    const twice = forecast({ mode: 'small', gradientCheckpointing: true })
    expect(small.packed).toBe(0)
    expect(fast.packed).toBeGreaterThan(0)
    expect(small.activations).toBeLessThan(fast.activations)
    expect(twice.activations).toBeLessThan(small.activations)
    expect(forecast({ batchSize: 16 }).activations).toBeGreaterThan(1.5 * fast.activations)
  })
})
