/** @file What tells one training from another. */
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { temporaryFolder } from '../../test/temporary.ts'
import { AutoConfig, AutoModelForCausalLM } from '../models/index.ts'
import { getPeftModel, LoraConfig } from '../peft/index.ts'
import { TrainingArguments } from './arguments.ts'
import { fingerprintOf } from './fingerprint.ts'

it.each(['int8', 'nf4'] as const)('a base of %s is told from another one', async quantize => {
  const folder = await temporaryFolder()
  const config = AutoConfig.fromJSON({
    ...{ model_type: 'llama', vocab_size: 48, hidden_size: 64, intermediate_size: 64 },
    ...{ num_hidden_layers: 1, num_attention_heads: 2, num_key_value_heads: 1 },
  })
  const frozenOf = async (name: string, seed: number) => {
    const path = join(folder, name)
    const saved = AutoModelForCausalLM.fromConfig(config)
    saved.initialize(seed)
    await saved.savePretrained(path)
    const base = await AutoModelForCausalLM.fromPretrained(path, {
      quantize,
      conversionCacheDir: join(folder, 'cache'),
    })
    // What is not packed is the same, so that only packed weights tell them apart.
    for (const parameter of base.parameters())
      if (!parameter.quantized) parameter.data = new Float32Array(parameter.size).fill(1)
    const model = getPeftModel(base, new LoraConfig({ targetModules: ['q_proj'] }))
    const parts = { args: new TrainingArguments(), train: { name: 'data', items: [] }, evaluation: undefined }
    return (await fingerprintOf({ ...parts, model: model as never })).frozen
  }
  const first = await frozenOf('first', 1)
  expect(await frozenOf('same', 1)).toBe(first)
  expect(await frozenOf('other', 2)).not.toBe(first)
})
