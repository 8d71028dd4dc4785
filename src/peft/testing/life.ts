/** @file For tests of the life of adapters: tiny models, an engine that counts, and what models compute. */
import { expect } from 'vitest'
import { compile } from '../../models/function.ts'
import { AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification } from '../../models/index.ts'
import type { Module } from '../../nn/index.ts'
import { Engine, floats, NodeBackend, type TensorData, tensorData } from '../../runtime/index.ts'
import { Random } from '../../util/random.ts'
import { type AnyPeftConfig, LoraConfig, type LoraConfigOptions, type PeftModel } from '../index.ts'

/** A classifier of two layers, 16 wide. */
export function tinyBert() {
  const model = AutoModelForSequenceClassification.fromConfig(
    AutoConfig.fromJSON({
      model_type: 'bert',
      vocab_size: 40,
      hidden_size: 16,
      intermediate_size: 24,
      num_hidden_layers: 2,
      num_attention_heads: 2,
      max_position_embeddings: 32,
      initializer_range: 0.3,
      num_labels: 3,
    }),
  )
  model.initialize(1)
  return model
}

/** A decoder of two layers, 16 wide. */
export function tinyLlama() {
  const model = AutoModelForCausalLM.fromConfig(
    AutoConfig.fromJSON({
      model_type: 'llama',
      vocab_size: 40,
      hidden_size: 16,
      intermediate_size: 24,
      num_hidden_layers: 2,
      num_attention_heads: 2,
      num_key_value_heads: 2,
      max_position_embeddings: 64,
      initializer_range: 0.3,
      tie_word_embeddings: false,
    }),
  )
  model.initialize(1)
  return model
}

/** LoRA that changes the model from the beginning. */
export const lora = (options: LoraConfigOptions = {}) =>
  new LoraConfig({ r: 4, loraAlpha: 8, targetModules: ['query', 'value'], initLoraWeights: false, ...options })

/** Four sentences. */
export const batch = {
  input_ids: tensorData('int64', [
    [5, 9, 2, 30],
    [11, 3, 3, 7],
    [1, 2, 3, 4],
    [39, 20, 10, 5],
  ]),
}

/** What a model computes for a batch. */
export async function logitsOf(
  model: Module,
  inputs: Readonly<Record<string, TensorData>> = batch,
): Promise<Float32Array> {
  const forward = model as unknown as PeftModel
  await using run = await compile(model, (_, symbolic) => ({ logits: forward.forward(symbolic).logits! }))
  return floats((await run(inputs)).logits).slice()
}

/** The values of row `row` among `rows`. */
export const rowOf = (values: Float32Array, row: number, rows = 4): Float32Array =>
  values.slice((row * values.length) / rows, ((row + 1) * values.length) / rows)

/** Expects two arrays to be equal up to rounding. */
export function expectClose(got: Float32Array, expected: Float32Array, tolerance = 1e-5): void {
  expect(got.length).toBe(expected.length)
  let worst = 0
  for (let i = 0; i < got.length; i++) worst = Math.max(worst, Math.abs(got[i] - expected[i]))
  expect(worst).toBeLessThanOrEqual(tolerance)
}

/** Gives everything that an adapter trains values of its own, drawn by `seed`. */
export function perturb(peft: PeftModel, adapterName: string, seed: number, scale = 0.3): void {
  for (const [key, parameter] of peft.stateDict(adapterName)) {
    const random = Random.forName(key, seed)
    // Embeddings of the base are saved with adapters that target them, and are not trained.
    if (!parameter.isLoaded || !parameter.isSwitchable) continue
    parameter.data = parameter.data.map(value => value + scale * random.normal())
  }
}

/** Adds an adapter whose values are drawn by `seed`. */
export function addDrawn(peft: PeftModel, name: string, config: AnyPeftConfig, seed: number): void {
  peft.addAdapter(name, config, { seed })
  perturb(peft, name, seed)
}

/** An engine that counts its compilations. */
export class CountingEngine extends Engine {
  compilations = 0

  constructor() {
    super(new NodeBackend())
  }

  override compile(...parameters: Parameters<Engine['compile']>) {
    this.compilations++
    return super.compile(...parameters)
  }
}
