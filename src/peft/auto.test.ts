/** @file Base model and adapter from the adapter's folder alone. */
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { oracleCase, skippable } from '../../test/shared.ts'
import { temporaryFolder } from '../../test/temporary.ts'
import { AutoModelForSequenceClassification } from '../models/index.ts'
import { goldenTensors, worstDeviation } from '../models/testing/oracle.ts'
import { tensorData } from '../runtime/index.ts'
import {
  AutoPeftModel,
  AutoPeftModelForCausalLM,
  AutoPeftModelForFeatureExtraction,
  AutoPeftModelForSequenceClassification,
  getPeftModel,
} from './index.ts'
import { expectClose, logitsOf, lora, perturb, tinyBert, tinyLlama } from './testing/life.ts'

/** A base without a head, and an adapter for three classes that names it by `name`. */
async function savedClassifier(name: (base: string) => string) {
  const root = await temporaryFolder()
  const [base, adapter] = [join(root, 'base'), join(root, 'adapters', 'legal')]
  const whole = tinyBert()
  await (whole as unknown as { bert: ReturnType<typeof tinyBert> }).bert.savePretrained(base)
  const model = await AutoModelForSequenceClassification.fromPretrained(base, { numLabels: 3, onWarning: () => {} })
  model.nameOrPath = name(base)
  const peft = getPeftModel(model, lora({ taskType: 'SEQ_CLS' }))
  perturb(peft, 'default', 7)
  await peft.savePretrained(adapter)
  return { base, adapter, expected: await logitsOf(peft) }
}

const edit = async (folder: string, changes: object) => {
  const path = join(folder, 'adapter_config.json')
  await writeFile(path, JSON.stringify({ ...JSON.parse(await readFile(path, 'utf8')), ...changes }))
}

describe('AutoPeftModel', () => {
  it('opens the base that the adapter names, with as many classes as its head, and warns of nothing', async () => {
    const { base, adapter, expected } = await savedClassifier(path => path)
    const warnings: string[] = []
    const options = { onWarning: (message: string) => warnings.push(message) }
    for (const auto of [AutoPeftModel, AutoPeftModelForSequenceClassification]) {
      const peft = await auto.fromPretrained(adapter, options)
      expectClose(await logitsOf(peft), expected)
      expect(peft.getBaseModel().nameOrPath).toBe(base)
    }
    expect(warnings).toEqual([])
    const trainable = await AutoPeftModel.fromPretrained(adapter, { adapterName: 'mine', isTrainable: true })
    expect(trainable.activeAdapters).toEqual(['mine'])
    expect(trainable.getNbTrainableParameters().trainable).toBeGreaterThan(0)
    const named = await AutoPeftModel.fromPretrained(adapter, { id2label: ['a', 'b', 'c'] })
    expect(Object.values(named.config.id2label)).toEqual(['a', 'b', 'c'])
  })

  it('finds a base beside the adapter, and takes another one where it is told', async () => {
    const { base, adapter, expected } = await savedClassifier(() => '../../base')
    expectClose(await logitsOf(await AutoPeftModel.fromPretrained(adapter)), expected)
    await edit(adapter, { base_model_name_or_path: '../../gone' })
    await expect(AutoPeftModel.fromPretrained(adapter)).rejects.toThrow(
      /base model of the adapter .* not to be had.*option baseModel/s,
    )
    const told = await AutoPeftModel.fromPretrained(adapter, { baseModel: base })
    expectClose(await logitsOf(told), expected)
    await edit(adapter, { base_model_name_or_path: null })
    await expect(AutoPeftModel.fromPretrained(adapter)).rejects.toThrow(/does not name its base model.*baseModel/)
  })

  it('tells the task by the class that the adapter was made with, else by its base', async () => {
    const { adapter } = await savedClassifier(path => path)
    await edit(adapter, { task_type: null, modules_to_save: ['classifier'] })
    const made = { parent_library: 'transformers', base_model_class: 'BertForSequenceClassification' }
    await edit(adapter, { auto_mapping: made })
    expect((await AutoPeftModel.fromPretrained(adapter)).task).toBe('SEQ_CLS')
    await edit(adapter, { auto_mapping: { ...made, base_model_class: 'BertForMaskedLM' } })
    await expect(AutoPeftModel.fromPretrained(adapter)).rejects.toThrow(/is for stands neither.*open it with one of/)

    const folder = await temporaryFolder()
    const base = tinyLlama()
    await base.savePretrained(join(folder, 'base'))
    base.nameOrPath = '../base'
    const peft = getPeftModel(base, lora({ targetModules: ['q_proj'] }))
    await peft.savePretrained(join(folder, 'lora'))
    expect((await AutoPeftModel.fromPretrained(join(folder, 'lora'))).task).toBe('CAUSAL_LM')
  })

  it('refuses an adapter for another task, naming the class for it', async () => {
    const { adapter } = await savedClassifier(path => path)
    for (const auto of [AutoPeftModelForCausalLM, AutoPeftModelForFeatureExtraction]) {
      await expect(auto.fromPretrained(adapter)).rejects.toThrow(
        /is for SEQ_CLS; open it with AutoPeftModelForSequenceClassification/,
      )
    }
    await expect(AutoPeftModel.fromPretrained(await temporaryFolder())).rejects.toThrow(/There is no adapter in/)
  })

  const folder = oracleCase('adapters', 'lora-llama')
  const base = oracleCase('models', 'llama-causal')
  const missing = !(folder && base) && 'no copy of the oracle here'
  it.skipIf(missing)(skippable("oracle: lora-llama opens with PEFT's logits", missing), async () => {
    const golden = JSON.parse(await readFile(join(folder!, 'golden.json'), 'utf8'))
    const inputs = goldenTensors(folder!, 'in.')
    const expected = goldenTensors(folder!, 'out.').logits
    const peft = await AutoPeftModelForCausalLM.fromPretrained(folder!, { baseModel: base! })
    const got = await logitsOf(peft, inputs)
    const mask = Array.from(inputs.attention_mask.data as BigInt64Array, Number)
    const visible = (all: ArrayLike<number>) =>
      Array.from(all).filter((_, i) => mask[Math.floor(i / (got.length / mask.length))] === 1)
    const flat = (all: ArrayLike<number>) => tensorData('float32', visible(all))
    expect(worstDeviation(flat(got), flat(expected.data as Float32Array), golden)).toBeLessThanOrEqual(1)
  })
})
