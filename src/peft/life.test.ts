/** @file The state of adapters, adapters in plain trees, several methods on one model, and configurations by themselves. */
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { temporaryFolder } from '../../test/temporary.ts'
import { compile } from '../models/function.ts'
import { floats } from '../runtime/index.ts'
import { AdamW, trainableParameters, valueAndGrad } from '../training/index.ts'
import { SafetensorsFile } from '../weights/index.ts'
import {
  adaptersOf,
  getLayerStatus,
  getModelStatus,
  getPeftModel,
  getPeftModelStateDict,
  IA3Config,
  injectAdapterInModel,
  LNTuningConfig,
  LoraConfig,
  PeftConfig,
  PeftModel,
  PromptTuningConfig,
  setPeftModelStateDict,
} from './index.ts'
import { addDrawn, batch, expectClose, logitsOf, lora, perturb, tinyBert } from './testing/life.ts'

const ia3 = () =>
  new IA3Config({ targetModules: ['query', 'value', 'output.dense'], feedforwardModules: ['output.dense'] })

describe('the state of adapters', () => {
  it('is told layer by layer and as a whole', async () => {
    const peft = getPeftModel(tinyBert(), lora({ modulesToSave: ['classifier'] }))
    peft.addAdapter('other', lora({ targetModules: ['query'] }))
    const layers = getLayerStatus(peft)
    expect(layers).toHaveLength(5)
    expect(layers[0]).toEqual({
      name: 'model.bert.encoder.layer.0.attention.self.query',
      moduleType: 'LoraLinear',
      enabled: true,
      activeAdapters: ['default'],
      mergedAdapters: [],
      requiresGrad: { default: true, other: false },
      availableAdapters: ['default', 'other'],
      devices: { default: ['cpu'], other: ['cpu'] },
      quantizationBackend: null,
    })
    const { trainable, all } = peft.getNbTrainableParameters()
    const status = getModelStatus(peft)
    expect(status).toEqual({
      baseModelType: 'BertForSequenceClassification',
      adapterModelType: 'PeftModel',
      peftTypes: { default: 'LORA', other: 'LORA' },
      trainableParams: trainable,
      totalParams: all,
      numAdapterLayers: 5,
      enabled: true,
      activeAdapters: ['default'],
      mergedAdapters: [],
      requiresGrad: { default: true, other: false },
      availableAdapters: ['default', 'other'],
      devices: { default: ['cpu'], other: ['cpu'] },
      quantizationBackend: null,
    })
    await peft.mergeAdapter()
    expect(getModelStatus(peft).mergedAdapters).toEqual(['default'])
    peft.unmergeAdapter()
    await peft.disableAdapter(() => expect(getModelStatus(peft).enabled).toBe(false))
    peft.stateDict().values().next().value!.requiresGrad = false
    expect(getModelStatus(peft).requiresGrad.default).toBe('irregular')
    expect(() => getLayerStatus(tinyBert())).toThrow(/has no layers with adapters/)
  })
})

describe('injectAdapterInModel', () => {
  it('puts adapters into a model as it is, which is trained, switched, saved and loaded', async () => {
    const model = tinyBert()
    const before = await logitsOf(model)
    expect(injectAdapterInModel(lora(), model, 'one')).toBe(model)
    injectAdapterInModel(lora({ loraAlpha: 3 }), model, 'two', { seed: 4 })
    const trained = [...model.namedParameters()].filter(([, parameter]) => parameter.requiresGrad)
    expect(trained.every(([name]) => /^bert\..*\.lora_[AB]\.one\.weight$/.test(name))).toBe(true)
    const state = getPeftModelStateDict(model, 'one')
    expect([...state.keys()].every(key => /^bert\..*\.lora_[AB]\.weight$/.test(key))).toBe(true)

    await using run = await compile(model, (m, inputs) => ({ y: m.forward(inputs).logits! }))
    const logits = async () => floats((await run(batch)).y).slice()
    const one = await logits()
    const adapters = adaptersOf(model)
    adapters.setAdapter('two')
    expect(await logits()).not.toEqual(one)
    adapters.setAdapter('one')
    expect(await logits()).toEqual(one)
    expect(await adapters.disableAdapter(logits)).toEqual(before)
    expect(await logitsOf(adapters.getBaseModel())).toEqual(before)

    const labelled = { ...batch, labels: { dtype: 'int64' as const, dims: [4], data: new BigInt64Array(4) } }
    await using step = await valueAndGrad(model, (m, inputs) => m.forward(inputs).loss!)
    new AdamW(trainableParameters(model), { lr: 0.05 }).step((await step(labelled)).grads)
    const learnt = await logits()
    expect(learnt).not.toEqual(one)

    const other = injectAdapterInModel(lora(), tinyBert())
    const entries = [...state].map(([key, p]) => [key, { shape: p.shape, read: () => p.read() }] as const)
    expect(await setPeftModelStateDict(other, new Map(entries))).toEqual({ missing: [], unexpected: [] })
    expectClose(await logitsOf(other), learnt)
    expectClose(await logitsOf(await adaptersOf(other).mergeAndUnload()), learnt)
    expect(getModelStatus(model)).toMatchObject({ adapterModelType: 'PeftModel', numAdapterLayers: 4 })
  })

  it('refuses methods that change what enters the model, and models without adapters', () => {
    const config = new PromptTuningConfig({ numVirtualTokens: 2, taskType: 'SEQ_CLS' })
    expect(() => injectAdapterInModel(config, tinyBert())).toThrow(/only a PeftModel can do/)
    expect(() => adaptersOf(tinyBert())).toThrow(/carries no adapters/)
  })
})

describe('several methods on one model', () => {
  it('are saved each with its own keys, and loaded again in any order', async () => {
    const peft = new PeftModel(tinyBert())
    const configs = {
      lora: lora({ targetModules: ['query', 'output.dense'], bias: 'lora_only' }),
      ia3: ia3(),
      norms: new LNTuningConfig({ targetModules: ['LayerNorm'] }),
    }
    for (const [i, [name, config]] of Object.entries(configs).entries()) addDrawn(peft, name, config, i)
    peft.setAdapter(['lora', 'ia3', 'norms'])
    const expected = await logitsOf(peft)
    const folder = await temporaryFolder()
    await peft.savePretrained(folder)
    for (const [name, config] of Object.entries(configs)) {
      // The keys are those of the adapter on a model of its own.
      const alone = getPeftModel(tinyBert(), config)
      await using file = await SafetensorsFile.open(join(folder, name, 'adapter_model.safetensors'))
      expect([...file.names].sort()).toEqual([...alone.stateDict().keys()].sort())
    }
    for (const order of [
      ['norms', 'ia3', 'lora'],
      ['ia3', 'lora', 'norms'],
    ]) {
      const again = new PeftModel(tinyBert())
      const warnings: string[] = []
      for (const name of order) {
        await again.loadAdapter(join(folder, name), name, { onWarning: text => warnings.push(text) })
      }
      expect(warnings).toEqual([])
      again.setAdapter(['lora', 'ia3', 'norms'])
      const merged = await again.mergeAndUnload()
      // What stands around a layer works on what it gives: the order of IA3 and LoRA matters where both adapt it.
      if (order.indexOf('lora') < order.indexOf('ia3')) expectClose(await logitsOf(again), expected)
      expectClose(await logitsOf(merged), await logitsOf(again))
      for (const name of order) {
        peft.setAdapter(name)
        again.setAdapter(name)
        expectClose(await logitsOf(again), await logitsOf(peft))
      }
      peft.setAdapter(['lora', 'ia3', 'norms'])
    }
  })
})

describe('a configuration by itself', () => {
  it('is read from a folder and written, with options of newer versions kept', async () => {
    const peft = getPeftModel(tinyBert(), lora({ targetModules: ['query'] }))
    perturb(peft, 'default', 1)
    const folder = await temporaryFolder()
    await peft.savePretrained(folder)
    const path = join(folder, 'adapter_config.json')
    const json = { ...JSON.parse(await readFile(path, 'utf8')), from_the_future: { depth: 3 }, an_older_one: null }
    await writeFile(path, JSON.stringify(json))
    const config = await PeftConfig.fromPretrained(folder)
    expect(config).toBeInstanceOf(LoraConfig)
    expect(config.unknownKeys).toEqual({ from_the_future: { depth: 3 }, an_older_one: null })
    const target = await temporaryFolder()
    await config.savePretrained(target)
    expect(JSON.parse(await readFile(join(target, 'adapter_config.json'), 'utf8'))).toEqual(json)
    await expect(PeftConfig.fromPretrained(join(folder, 'none'))).rejects.toThrow()
  })

  it('may lack options that an older version did not write', async () => {
    const folder = await temporaryFolder({ 'adapter_config.json': '{ "peft_type": "LORA", "r": 3 }' })
    expect(await PeftConfig.fromPretrained(folder)).toMatchObject({
      r: 3,
      loraAlpha: 8,
      useRslora: false,
      unknownKeys: {},
    })
  })
})
