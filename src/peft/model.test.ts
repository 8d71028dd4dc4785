/** @file PeftModel: what an adapter adds, what it leaves alone, and what it says when something is wrong. */
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { oracleCase, skippable } from '../../test/shared.ts'
import { temporaryFolder } from '../../test/temporary.ts'
import { crossEntropy, relu, type Tensor } from '../graph/index.ts'
import { compile } from '../models/function.ts'
import { AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification } from '../models/index.ts'
import { Linear, Module } from '../nn/index.ts'
import { floats, tensorData } from '../runtime/index.ts'
import { AdamW, type Optimizer, SGD, trainableParameters, valueAndGrad } from '../training/index.ts'
import { getPeftConfig, getPeftModel, LoraConfig, PeftModel, TaskType } from './index.ts'

class Net extends Module {
  hidden = new Linear(6, 8)
  out = new Linear(8, 3)
  forward(x: Tensor) {
    return this.out.forward(relu(this.hidden.forward(x)))
  }
}

const batch = {
  x: tensorData(
    'float32',
    Float32Array.from({ length: 24 }, (_, i) => Math.sin(i * 1.7)),
    [4, 6],
  ),
  y: tensorData('int64', [0, 1, 2, 1]),
}

const outputs = async (module: Module) => {
  await using run = await compile(module, (m, { x }) => ({ y: (m as Net).forward(x) }))
  return floats((await run({ x: batch.x })).y)
}

const net = () => {
  const module = new Net()
  module.initialize(1)
  return module
}

const trained = async (
  peft: PeftModel<Net>,
  optimizer: Optimizer = new AdamW(trainableParameters(peft), { lr: 0.05 }),
) => {
  const model = peft as unknown as Net
  const step = await valueAndGrad(model, (m, { x, y }) => crossEntropy(m.forward(x), y))
  let value = 0
  for (let i = 0; i < 20; i++) {
    const result = await step(batch)
    optimizer.step(result.grads)
    value = result.value
  }
  await step.dispose()
  return value
}

describe('getPeftModel on a module of one’s own', () => {
  const config = new LoraConfig({ r: 2, loraAlpha: 4, targetModules: ['hidden'], modulesToSave: ['out'] })

  it('computes at first what the base computes', async () => {
    const base = net()
    expect(await outputs(getPeftModel(base, config))).toEqual(await outputs(base))
  })

  it('counts what trains and what there is, in PEFT’s words', () => {
    const lines: string[] = []
    const line = getPeftModel(net(), config).printTrainableParameters(text => lines.push(text))
    expect(line).toBe('trainable params: 55 || all params: 138 || trainable%: 39.8551')
    expect(lines).toEqual([line])
  })

  it('leaves the base as it was: its tree, its values, what of it can be trained', async () => {
    const base = net()
    const before = [...base.namedParameters()].map(([name, p]) => [name, p.requiresGrad, p.data.slice()])
    const answers = await outputs(base)
    const peft = getPeftModel(
      base,
      new LoraConfig({ r: 2, targetModules: ['hidden'], modulesToSave: ['out'], bias: 'all' }),
    )
    const frozen = peft.model.getSubmodule('hidden.base_layer').ownParameters()[0][1].data.slice()
    expect(await trained(peft)).toBeLessThan(0.6)
    expect([...base.namedParameters()].map(([name, p]) => [name, p.requiresGrad, p.data])).toEqual(before)
    expect(base.hidden).toBeInstanceOf(Linear)
    expect(await outputs(base)).toEqual(answers)
    expect(await peft.disableAdapter(() => outputs(peft))).toEqual(answers)
    expect(peft.model.getSubmodule('hidden.base_layer').ownParameters()[0][1].data).toEqual(frozen)
  })

  it('keeps frozen values to the bit under weight decay and momentum', async () => {
    const peft = getPeftModel(net(), config)
    const values = () =>
      [...peft.namedParameters()].filter(([, p]) => !p.requiresGrad).map(([name, p]) => [name, p.data.slice()])
    const before = values()
    await trained(peft, new SGD(trainableParameters(peft), { lr: 0.1, momentum: 0.9, weightDecay: 0.1 }))
    expect(values()).toEqual(before)
  })

  it('draws the same first values from the same seed, others from another', () => {
    const values = (seed: number) =>
      [...getPeftModel(net(), config, { seed }).stateDict().values()].map(parameter => parameter.data.slice())
    expect(values(3)).toEqual(values(3))
    expect(values(3)).not.toEqual(values(4))
  })

  it('draws A normal under gaussian, and both matrices under false', async () => {
    const base = net()
    const with_ = (initLoraWeights: LoraConfig['initLoraWeights']) =>
      getPeftModel(base, new LoraConfig({ r: 2, targetModules: ['hidden'], initLoraWeights }))
    expect(await outputs(with_('gaussian'))).toEqual(await outputs(base))
    expect(await outputs(with_(false))).not.toEqual(await outputs(base))
  })

  it('switches between adapters and removes them', async () => {
    const base = net()
    const peft = getPeftModel(base, new LoraConfig({ r: 2, targetModules: ['hidden'], initLoraWeights: false }))
    peft.addAdapter('other', new LoraConfig({ r: 3, targetModules: ['out'], initLoraWeights: false }), { seed: 5 })
    const first = await outputs(peft)
    peft.setAdapter('other')
    const second = await outputs(peft)
    expect(second).not.toEqual(first)
    peft.setAdapter('default')
    expect(await outputs(peft)).toEqual(first)
    peft.setAdapter(['default', 'other'])
    expect(await outputs(peft)).not.toEqual(first)
    peft.deleteAdapter('other')
    expect(await outputs(peft)).toEqual(first)
    peft.deleteAdapter('default')
    expect(await outputs(peft)).toEqual(await outputs(base))
  })

  it('merges into a plain module that computes the same, and reports the change', async () => {
    const peft = getPeftModel(net(), new LoraConfig({ r: 2, targetModules: ['hidden', 'out'], initLoraWeights: false }))
    let largest = 0
    const merged = await peft.mergeAndUnload({
      onReport: report => {
        expect(report.map(({ name }) => name)).toEqual(['hidden.weight', 'out.weight'])
        largest = Math.max(...report.map(({ largestChange }) => largestChange))
      },
    })
    expect(largest).toBeGreaterThan(0)
    expect(merged.hidden).toBeInstanceOf(Linear)
    const [a, b] = [await outputs(merged), await outputs(peft)]
    for (const [i, value] of a.entries()) expect(value).toBeCloseTo(b[i], 5)
  })

  it('refuses to merge values that are not finite, and changes nothing', async () => {
    const peft = getPeftModel(net(), new LoraConfig({ r: 2, targetModules: ['hidden'] }))
    peft.stateDict().get('base_model.model.hidden.lora_B.weight')!.data.fill(Number.NaN)
    await expect(peft.mergeAndUnload()).rejects.toThrow(/Merging would put NaN into "hidden.weight"/)
  })

  it('is as it was after an adapter that could not be added', async () => {
    const peft = getPeftModel(net(), config)
    const [paths, answers] = [[...peft.namedModules()].map(([path]) => path), await outputs(peft)]
    const halfway = new LoraConfig({ targetModules: ['hidden'], modulesToSave: ['head'], initLoraWeights: false })
    expect(() => peft.addAdapter('other', halfway)).toThrow(/no module is called "head"/)
    expect([...peft.namedModules()].map(([path]) => path)).toEqual(paths)
    expect(peft.adapterNames()).toEqual(['default'])
    expect(await outputs(peft)).toEqual(answers)
  })

  it.each<[string, () => unknown, RegExp]>([
    [
      'an option that does not exist',
      () => new LoraConfig({ loraAlfa: 3 }),
      /no option "loraAlfa"\. Did you mean "loraAlpha"/,
    ],
    ['a rank of zero', () => new LoraConfig({ r: 0 }), /r must be a whole number above 0, got 0/],
    ['a dropout of one', () => new LoraConfig({ loraDropout: 1 }), /loraDropout must lie in \[0, 1\)/],
    ['an option that is not implemented', () => new LoraConfig({ useBdlora: {} }), /useBdlora is not implemented/],
    ['an unknown task', () => new LoraConfig({ taskType: 'SEQ_CLASS' as never }), /taskType "SEQ_CLASS" is not known/],
    [
      'no targets for an unknown model type',
      () => getPeftModel(net(), new LoraConfig()),
      /no default target modules for the model type "custom".*The dense layers of this model are called .*"all-linear"/,
    ],
    [
      'a target that another adapter trains as a whole',
      () => {
        const peft = getPeftModel(net(), new LoraConfig({ targetModules: ['hidden'], modulesToSave: ['out'] }))
        peft.addAdapter('other', new LoraConfig({ targetModules: ['out'] }))
      },
      /LORA cannot work on "out", which the adapter "default" trains as a whole \(modulesToSave\).*excludeModules/,
    ],
    [
      'a target it cannot work on',
      () => getPeftModel(new Odd(), new LoraConfig({ targetModules: ['net'] })),
      /cannot work on "net", a Net; it works on Linear, Conv1D, Embedding/,
    ],
    [
      'a module to save that is not there',
      () => getPeftModel(net(), new LoraConfig({ targetModules: ['hidden'], modulesToSave: ['head'] })),
      /modulesToSave: no module is called "head"/,
    ],
    [
      'a rank pattern that matches nothing',
      () => getPeftModel(net(), new LoraConfig({ targetModules: ['hidden'], rankPattern: { hiden: 2 } })),
      /rankPattern names "hiden", which matches no target module\. Did you mean "hidden"/,
    ],
    [
      'an adapter that is not there',
      () => getPeftModel(net(), config).setAdapter('defualt'),
      /no adapter "defualt"\. Did you mean "default"/,
    ],
    [
      'a second adapter of the same name',
      () => getPeftModel(net(), config).addAdapter('default', config),
      /already is an adapter "default"/,
    ],
    [
      'the name of a part of the model',
      () => getPeftModel(net(), config, { adapterName: 'hidden' }),
      /cannot be called "hidden": "hidden.weight" of the model/,
    ],
    ['a name with a dot', () => getPeftModel(net(), config, { adapterName: 'a.b' }), /must not hold dots/],
  ])('refuses %s', (_, action, message) => {
    expect(action).toThrow(message)
  })
})

class Odd extends Module {
  net = new Net()
  forward(x: Tensor) {
    return this.net.forward(x)
  }
}

describe('counting without weights', () => {
  it('gives PEFT’s line for Qwen2.5-3B from its configuration alone', async () => {
    const config = AutoConfig.fromJSON({
      model_type: 'qwen2',
      hidden_size: 2048,
      intermediate_size: 11008,
      num_hidden_layers: 36,
      num_attention_heads: 16,
      num_key_value_heads: 2,
      vocab_size: 151936,
      tie_word_embeddings: true,
    })
    const peft = getPeftModel(
      AutoModelForCausalLM.fromConfig(config),
      new LoraConfig({ r: 16, loraAlpha: 32, taskType: TaskType.CAUSAL_LM }),
    )
    expect(peft.printTrainableParameters(() => {})).toBe(
      'trainable params: 3,686,400 || all params: 3,089,625,088 || trainable%: 0.1193',
    )
  })
})

describe('files of adapters', () => {
  const folder = oracleCase('adapters', 'lora-bert-seqcls')
  const base = oracleCase('models', 'bert-seqcls')
  const missing = !(folder && base) && 'no copy of the oracle here'
  const model = () => AutoModelForSequenceClassification.fromPretrained(base!, { onWarning: () => {} })

  it.skipIf(missing)(skippable('are saved a second time byte for byte', missing), async () => {
    const peft = await PeftModel.fromPretrained(await model(), folder!)
    const [first, second] = [await temporaryFolder(), await temporaryFolder()]
    await peft.savePretrained(first)
    await (await PeftModel.fromPretrained(await model(), first)).savePretrained(second)
    for (const name of ['adapter_config.json', 'adapter_model.safetensors', 'README.md']) {
      expect(await readFile(join(second, name)), name).toEqual(await readFile(join(first, name)))
    }
  })

  it.skipIf(missing)(skippable('put named adapters into folders of their names', missing), async () => {
    const peft = await PeftModel.fromPretrained(await model(), folder!, { adapterName: 'reviews' })
    const target = await temporaryFolder()
    await peft.savePretrained(target)
    const again = await PeftModel.fromPretrained(await model(), join(target, 'reviews'))
    expect([...again.stateDict().keys()]).toEqual([...peft.stateDict('reviews').keys()])
  })

  it.skipIf(missing)(skippable('keep options of a newer version, and say so', missing), async () => {
    const target = await temporaryFolder()
    const json = JSON.parse(await readFile(join(folder!, 'adapter_config.json'), 'utf8'))
    await writeFile(join(target, 'adapter_config.json'), JSON.stringify({ ...json, shiny_new: [1] }))
    await writeFile(
      join(target, 'adapter_model.safetensors'),
      await readFile(join(folder!, 'adapter_model.safetensors')),
    )
    const warnings: string[] = []
    const peft = await PeftModel.fromPretrained(await model(), target, { onWarning: text => warnings.push(text) })
    expect(warnings.join()).toMatch(/shiny_new/)
    expect(peft.configOf('default').toJSON().shiny_new).toEqual([1])
  })

  it.skipIf(missing)(
    skippable('that are damaged or missing are refused, and leave the model as it was', missing),
    async () => {
      const target = await temporaryFolder()
      const peft = new PeftModel(await model())
      const load = () => peft.loadAdapter(target, 'default')
      await expect(load()).rejects.toThrow(/adapter_config.json is missing/)
      await writeFile(join(target, 'adapter_config.json'), '{ "peft_type": ')
      await expect(load()).rejects.toThrow(/not valid JSON/)
      await writeFile(join(target, 'adapter_config.json'), '{ "peft_type": "LORRA" }')
      await expect(load()).rejects.toThrow(/"LORRA" is not known\. Did you mean "LORA"/)
      await writeFile(join(target, 'adapter_config.json'), await readFile(join(folder!, 'adapter_config.json')))
      await expect(load()).rejects.toThrow(/adapter_model.safetensors is missing/)
      await writeFile(join(target, 'adapter_model.bin'), 'x')
      await expect(load()).rejects.toThrow(/pickle/)
      const whole = await readFile(join(folder!, 'adapter_model.safetensors'))
      await writeFile(join(target, 'adapter_model.safetensors'), whole.subarray(0, whole.length - 40))
      await expect(load()).rejects.toThrow(/adapter_model.safetensors/)
      const other = oracleCase('adapters', 'lora-layers-to-transform')!
      await writeFile(
        join(target, 'adapter_model.safetensors'),
        await readFile(join(other, 'adapter_model.safetensors')),
      )
      await expect(load()).rejects.toThrow(/lacks \d+ tensors/)
      expect(peft.adapterNames()).toEqual([])
      expect([...peft.model.namedModules()].map(([path]) => path)).toEqual(
        [...(await model()).namedModules()].map(([path]) => path),
      )
    },
  )

  it.skipIf(missing)(skippable('of a base without its head hold the new head and pooler', missing), async () => {
    const bare = oracleCase('models', 'bert-base-model')!
    const warnings: string[] = []
    const open = (seed: number) =>
      AutoModelForSequenceClassification.fromPretrained(bare, { seed, onWarning: text => warnings.push(text) })
    const peft = getPeftModel(await open(7), new LoraConfig({ r: 2, taskType: TaskType.SEQ_CLS }))
    expect(warnings.join()).toMatch(/classifier/)
    const target = await temporaryFolder()
    await peft.savePretrained(target)
    const again = await PeftModel.fromPretrained(await open(8), target)
    const ids = tensorData('int64', [[5, 6, 7]])
    const logits = async (m: PeftModel) => {
      await using run = await compile(m as Module, (_, inputs) => ({ logits: m.forward(inputs).logits! }))
      return floats((await run({ input_ids: ids })).logits)
    }
    const [a, b] = [await logits(again), await logits(peft)]
    for (const [i, value] of a.entries()) expect(value).toBeCloseTo(b[i], 5)
  })

  it('without a type are refused', () => {
    expect(() => getPeftConfig({ r: 8 }, 'here')).toThrow(/here: "peft_type" is missing/)
    expect(() => getPeftConfig([], 'here')).toThrow(/"peft_type" is missing/)
  })
})
