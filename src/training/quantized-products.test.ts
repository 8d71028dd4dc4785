/** @file Training on an int8 base in 8-bit arithmetic: gradients within rounding, the same course, what a resume compares. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { AutoConfig, AutoModelForCausalLM } from '../models/index.ts'
import { getPeftModel, LoraConfig } from '../peft/index.ts'
import { defaultEngine, Engine, NodeBackend, type QuantizedProducts, tensorData } from '../runtime/index.ts'
import { TrainingArguments } from './arguments.ts'
import { differences, fingerprintOf } from './fingerprint.ts'
import { AdamW } from './index.ts'
import { trainableParameters, valueAndGrad } from './value-and-grad.ts'

const MODELS = {
  llama: {
    model_type: 'llama',
    vocab_size: 48,
    hidden_size: 64,
    num_hidden_layers: 2,
    num_attention_heads: 4,
    num_key_value_heads: 2,
    intermediate_size: 96,
    tie_word_embeddings: true,
  },
  gpt2: { model_type: 'gpt2', vocab_size: 48, n_embd: 64, n_layer: 1, n_head: 2, n_positions: 16 },
}
type Type = keyof typeof MODELS
const targets = { llama: ['q_proj', 'v_proj', 'down_proj'], gpt2: ['c_attn', 'c_proj'] }

let root: string

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'peft-ts-products-'))
  for (const [type, config] of Object.entries(MODELS)) {
    const model = AutoModelForCausalLM.fromConfig(AutoConfig.fromJSON(config))
    model.initialize(1)
    // Larger than at the start of a training, so that scores differ.
    for (const parameter of model.parameters()) {
      if (parameter.shape.length === 2) parameter.data = parameter.data.map(value => value * 4)
    }
    await model.savePretrained(join(root, type))
  }
})

afterAll(async () => {
  await (await defaultEngine()).dispose()
  await rm(root, { recursive: true, force: true })
})

async function load(type: Type) {
  const options = { quantize: 'int8-channel', conversionCacheDir: join(root, 'cache') } as const
  const base = await AutoModelForCausalLM.fromPretrained(join(root, type), options)
  const config = { r: 4, targetModules: targets[type], initLoraWeights: false, taskType: 'CAUSAL_LM' } as const
  return getPeftModel(base, new LoraConfig(config))
}

const ids = [
  [1, 5, 9, 30, 2],
  [7, 7, 40, 3, 11],
]
const batch = { input_ids: tensorData('int64', ids), labels: tensorData('int64', ids) }

async function lossAndGradient(
  type: Type,
  quantizedProducts: QuantizedProducts,
  options: { mode?: 'small'; gradientCheckpointing?: boolean; engine?: Engine } = {},
) {
  const model = await load(type)
  const all = { ...options, quantizedProducts }
  await using step = await valueAndGrad(model, (model, inputs) => model.forward(inputs).loss!, all)
  const { value, grads } = await step(batch)
  return { value, gradient: grads.data }
}

function cosine(a: Float32Array, b: Float32Array): number {
  const dot = (x: Float32Array, y: Float32Array) => x.reduce((sum, value, i) => sum + value * y[i], 0)
  return dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b))
}

describe('a step on an int8 base with one scale an output', () => {
  it.each(['llama', 'gpt2'] as const)(
    'of %s in 8-bit arithmetic has the exact gradients up to rounding',
    async type => {
      const exact = await lossAndGradient(type, 'exact')
      for (const [products, least] of [
        ['int8', 0.998],
        ['int8-gradients', 0.997],
      ] as const) {
        const rounded = await lossAndGradient(type, products)
        expect(Math.abs(rounded.value - exact.value)).toBeLessThan(0.02 * exact.value)
        expect(rounded.gradient).not.toEqual(exact.gradient)
        expect(cosine(rounded.gradient, exact.gradient)).toBeGreaterThan(least)
      }
    },
  )

  it('in 8-bit arithmetic has them with layers computed again and in the small mode too', async () => {
    const whole = await lossAndGradient('llama', 'int8')
    for (const options of [{ gradientCheckpointing: true }, { mode: 'small' }] as const) {
      const again = await lossAndGradient('llama', 'int8', options)
      expect(Math.abs(again.value - whole.value)).toBeLessThan(1e-4)
      expect(cosine(again.gradient, whole.gradient)).toBeGreaterThan(0.9999)
    }
  })

  it('takes what was measured by default', async () => {
    for (const products of ['int8', 'exact'] as const) {
      class Measured extends NodeBackend {
        override async fastestProducts() {
          return products
        }
      }
      await using engine = new Engine(new Measured())
      expect(await lossAndGradient('llama', 'auto', { engine })).toEqual(await lossAndGradient('llama', products))
    }
  })

  it('refuses a way that is not known', async () => {
    await expect(lossAndGradient('llama', 'int-8' as never)).rejects.toThrow(
      'quantizedProducts is "int-8", expected one of auto, exact, int8, int8-gradients. Did you mean "int8"?',
    )
  })
})

async function train(products: QuantizedProducts, steps: number): Promise<number[]> {
  const model = await load('llama')
  await using step = await valueAndGrad(model, (model, inputs) => model.forward(inputs).loss!, {
    quantizedProducts: products,
  })
  const optimizer = new AdamW(trainableParameters(model), { lr: 0.02 })
  const losses: number[] = []
  for (let i = 0; i < steps; i++) {
    const { value, grads } = await step(batch, { seed: i })
    optimizer.step(grads)
    losses.push(value)
  }
  return losses
}

describe('a training in 8-bit arithmetic', () => {
  it('takes the course of the exact one', async () => {
    const [exact, rounded] = [await train('exact', 25), await train('int8', 25)]
    expect(exact[24]).toBeLessThan(exact[0] / 2)
    for (const [i, loss] of exact.entries()) expect(Math.abs(rounded[i] - loss)).toBeLessThan(0.03 * exact[0])
  })

  it('is only resumed where the same was chosen, and says what to give', async () => {
    const model = await load('llama')
    const examples = { items: [], columns: [] } as never
    const taken = (chosen: 'int8' | 'exact', products: QuantizedProducts = 'auto') =>
      fingerprintOf({
        args: new TrainingArguments({ quantizedProducts: products }),
        model,
        train: examples,
        evaluation: undefined,
        engine: { resolveProducts: async () => chosen } as unknown as Engine,
      })
    const saved = await taken('int8')
    expect(differences(saved, await taken('int8')).major).toEqual([])
    expect(differences(saved, await taken('exact', 'int8')).major).toEqual([])
    expect(differences(saved, await taken('exact')).major).toEqual(['quantizedProducts was "int8" and is "exact"'])
  })
})
