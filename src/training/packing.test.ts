/** @file Texts that share rows: the same loss and gradient as apart, in every decoder; refused where it would be wrong. */
import fc from 'fast-check'
import { afterAll, describe, expect, it, vi } from 'vitest'
import { type Feature, packBatch, packRows, padBatch } from '../data/index.ts'
import { AutoConfig, AutoModelForCausalLM, type PreTrainedModel } from '../models/index.ts'
import { getPeftModel, LoraConfig, PromptTuningConfig, SeqBnConfig } from '../peft/index.ts'
import { Engine, NodeBackend } from '../runtime/index.ts'
import type { TrainingTask } from './model.ts'
import { passCollator } from './packing.ts'
import { setTrainable } from './parameters.ts'
import { Trainer } from './trainer.ts'
import { valueAndGrad } from './value-and-grad.ts'

const engine = new Engine(new NodeBackend())
afterAll(() => engine.dispose())

const text = (length: number, from: number): Feature => {
  const inputIds = Array.from({ length }, (_, i) => 1 + ((from + i * 7) % 29))
  // A prompt that is not learnt, as of an instruction.
  return { inputIds, labels: inputIds.map((id, i) => (i < length / 3 ? -100 : id)) }
}
/** Three rows hold the five texts. */
const TEXTS = [text(4, 3), text(11, 8), text(6, 20), text(3, 11), text(8, 1)]

const NEW = {
  ...{ vocab_size: 32, hidden_size: 16, intermediate_size: 24, num_hidden_layers: 2, num_attention_heads: 2 },
  ...{ num_key_value_heads: 1, head_dim: 8, max_position_embeddings: 12, initializer_range: 0.3 },
  ...{ pad_token_id: 0, bos_token_id: null, eos_token_id: null, tie_word_embeddings: false },
}
const OLD = { ...NEW, hidden_dropout: 0, attention_dropout: 0, hidden_dropout_prob: 0 }
const MODELS: Record<string, object> = {
  llama: NEW,
  mistral: { ...NEW, sliding_window: 3 },
  qwen2: { ...NEW, use_sliding_window: true, sliding_window: 3, max_window_layers: 1 },
  qwen3: NEW,
  smollm3: NEW,
  olmo2: NEW,
  phi: { ...OLD, num_key_value_heads: 2, resid_pdrop: 0, embd_pdrop: 0 },
  phi3: { ...OLD, num_key_value_heads: 2, resid_pdrop: 0, embd_pdrop: 0 },
  gemma: NEW,
  gemma2: { ...NEW, sliding_window: 3, query_pre_attn_scalar: 8 },
  gemma3_text: { ...NEW, sliding_window: 3, query_pre_attn_scalar: 8, sliding_window_pattern: 2 },
  mixtral: { ...NEW, num_local_experts: 3, num_experts_per_tok: 2 },
  qwen3_moe: { ...NEW, num_experts: 3, num_experts_per_tok: 2, moe_intermediate_size: 8 },
  opt: { ...OLD, ffn_dim: 24, word_embed_proj_dim: 16, dropout: 0 },
  bloom: { ...OLD, n_layer: 2, n_head: 2 },
  falcon: { ...OLD, new_decoder_architecture: false, multi_query: true, alibi: false },
  gpt_neox: { ...OLD, rotary_pct: 0.5 },
  gpt2: {
    ...OLD,
    ...{ n_embd: 16, n_layer: 2, n_head: 2, n_positions: 12, n_inner: 24 },
    ...{ resid_pdrop: 0, embd_pdrop: 0, attn_pdrop: 0 },
  },
}

function decoder(model_type: string): PreTrainedModel {
  const model = AutoModelForCausalLM.fromConfig(AutoConfig.fromJSON({ model_type, ...MODELS[model_type] }))
  model.initialize(1)
  return model
}

describe.each(Object.keys(MODELS))('texts that share rows: %s', type => {
  it('give the loss and the gradient of texts in rows of their own', async () => {
    const model = decoder(type)
    setTrainable(model, () => true)
    const inputs = model.inputSpecs()
    await using step = await valueAndGrad(model, (_, batch) => model.forward(batch).loss!, {
      inputs,
      engine,
      threads: 1,
    })
    const { position_ids, ...packed } = packBatch(TEXTS, { padTokenId: 0 })
    expect(packed.input_ids.dims).toEqual([3, 11])
    const together = await step(inputs.position_ids ? { ...packed, position_ids } : packed)
    const segment_ids = { ...packed.segment_ids, data: packed.segment_ids.data.map(segment => (segment ? 1n : 0n)) }
    const mixed = await step({ ...packed, segment_ids, ...(inputs.position_ids && { position_ids }) })
    expect(Math.abs(mixed.value - together.value)).toBeGreaterThan(1e-3)
    const apart = await step({ ...padBatch(TEXTS, { padTokenId: 0 }) })
    expect(together.value).toBeCloseTo(apart.value, 5)
    const [a, b] = [together.grads.data, apart.grads.data]
    const largest = b.reduce((most, value) => Math.max(most, Math.abs(value)), 0)
    for (let i = 0; i < a.length; i++) if (Math.abs(a[i] - b[i]) > 2e-5 * largest) expect(a[i]).toBe(b[i])
  })
})

describe('packRows', () => {
  it('puts each text into one row, none longer than the longest text, and never takes more rows than texts', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 20 }), lengths => {
        const rows = packRows(lengths)
        expect(rows.flat().sort((a, b) => a - b)).toEqual(lengths.map((_, i) => i))
        const longest = Math.max(...lengths)
        const filled = rows.map(row => row.reduce((sum, i) => sum + lengths[i], 0))
        expect(Math.max(...filled)).toBe(longest)
        // First fit: two rows that are at most half full would have been one.
        expect(filled.filter(length => 2 * length <= longest).length).toBeLessThanOrEqual(1)
      }),
      { numRuns: 50 },
    )
  })
})

describe('a training', () => {
  const args = {
    ...{ perDeviceTrainBatchSize: 5, maxSteps: 3, loggingSteps: 1, threads: 1, learningRate: 1e-2 },
    ...{ groupByLength: false },
  }
  const lora = () =>
    getPeftModel(decoder('llama'), new LoraConfig({ r: 2, targetModules: ['q_proj', 'v_proj'], taskType: 'CAUSAL_LM' }))
  const losses = async (packing: boolean, trainDataset: Feature[]) => {
    const trainer = new Trainer({ model: lora(), trainDataset, engine, args: { ...args, packing } })
    const { history } = await trainer.train()
    return history.map(entry => [entry.loss as number, entry.grad_norm as number])
  }

  it('takes the same steps whether texts share rows or not', async () => {
    const data = [...TEXTS, ...TEXTS.map(({ inputIds }, i) => text(inputIds.length, i))]
    const [apart, together] = [await losses(false, data), await losses(true, data)]
    expect(together).not.toEqual(apart)
    for (const [step, values] of together.entries()) {
      for (const [i, value] of values.entries()) expect(value).toBeCloseTo(apart[step][i], 4)
    }
  })

  it('compiles one step for batches of all lengths and any number of rows', async () => {
    const compile = vi.spyOn(engine, 'compile')
    const data = Array.from({ length: 24 }, (_, i) => text(3 + ((i * 5) % 9), i))
    await new Trainer({
      model: lora(),
      trainDataset: data,
      engine,
      args: { ...args, perDeviceTrainBatchSize: 3 },
    }).train()
    expect(compile).toHaveBeenCalledTimes(1)
    compile.mockRestore()
  })

  const isPacked = (model: ReturnType<typeof lora>, items: Feature[], { packing = true, task = 'CAUSAL_LM' } = {}) => {
    const padding = { padTokenId: 0, padToMultipleOf: 1 }
    const collate = () => ({})
    const own = { model, task: task as TrainingTask, train: { items }, collate, padding }
    const plan = { epoch: () => [[items.map((_, i) => i)]] }
    return passCollator({ ...own, args: { packing, padToMultipleOf: 1 } }, plan) !== collate
  }

  it('gives each text a row where it is told to, or sharing saves nothing', () => {
    expect(isPacked(lora(), TEXTS)).toBe(true)
    expect(isPacked(lora(), TEXTS, { packing: false })).toBe(false)
    expect(isPacked(lora(), [text(5, 1), text(5, 2)])).toBe(false)
  })

  it.each([
    ['tokens in front of the text', new PromptTuningConfig({ numVirtualTokens: 2, taskType: 'CAUSAL_LM' })],
    ['adapters beside the weights', new SeqBnConfig({})],
  ])('gives each text a row with %s', (_, config) => {
    expect(isPacked(getPeftModel(decoder('llama'), config) as ReturnType<typeof lora>, TEXTS)).toBe(false)
  })

  it('gives each text a row where some tokens are hidden, or labels are no tokens', () => {
    expect(isPacked(lora(), [{ ...TEXTS[0], attentionMask: [1, 1, 0, 1] }, ...TEXTS.slice(1)])).toBe(false)
    expect(isPacked(lora(), TEXTS, { task: 'SEQ_CLS' })).toBe(false)
  })
})
