/** @file AdapterHub's prefix tuning: ejection, files of other forms, generation, counts, and what it refuses. */
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { skippable } from '../../../../test/shared.ts'
import { temporaryFolder } from '../../../../test/temporary.ts'
import { relu, type Tensor } from '../../../graph/index.ts'
import { Linear, Module } from '../../../nn/index.ts'
import '../../../generation/index.ts'
import { floats, tensorData } from '../../../runtime/index.ts'
import { valueAndGrad } from '../../../training/index.ts'
import { parseSafetensors, serializeSafetensors } from '../../../weights/index.ts'
import { checkOutputs, checkTraining, openAdapter } from '../../adapterhub/testing/battery.ts'
import { hubCase } from '../../adapterhub/testing/cases.ts'
import {
  AdapterHubFlatPrefixConfig,
  AdapterHubPrefixConfig,
  ejectPrefixTuning,
  getPeftModel,
  LoraConfig,
  MAMConfig,
  PeftModel,
  SeqBnConfig,
} from '../../index.ts'
import { difference, outputs, tiny } from '../../prompt-learning/testing/tiny.ts'

const batch = { input_ids: tensorData('int64', [[5, 9, 2, 7]]) }
const small = (options = {}) => new AdapterHubPrefixConfig({ prefixLength: 3, bottleneckSize: 8, ...options })
const logits = async (model: Module) => (await outputs(model, batch, 'logits')).logits

describe('ejected prefixes', () => {
  it('compute the same, train as they are, and are saved and loaded so', async () => {
    const model = tiny('causal', 'llama')
    const peft = getPeftModel(model, small({ useGating: true }))
    const before = await logits(peft)
    await ejectPrefixTuning(peft as PeftModel)
    expect(difference(await logits(peft), before)).toBeLessThan(1e-5)
    // Two layers with two heads of 6 for keys and values, and their gates.
    expect(peft.getNbTrainableParameters().trainable).toBe(3 * 2 * 2 * 2 * 6 + 2 * 25)
    const folder = await temporaryFolder()
    await peft.savePretrained(folder)
    expect(JSON.parse(await readFile(join(folder, 'adapter_config.json'), 'utf8')).config.flat).toBe(true)
    const back = await PeftModel.fromPretrained(model, folder)
    expect(difference(await logits(back), before)).toBeLessThan(1e-5)
    await ejectPrefixTuning(peft as PeftModel)
    expect(difference(await logits(peft), before)).toBeLessThan(1e-5)
  })

  it('of a part of a union are ejected, too; without prefixes there is nothing to eject', async () => {
    const model = tiny('causal', 'llama')
    const union = getPeftModel(
      model,
      new MAMConfig({ prefixTuning: small(), adapter: new SeqBnConfig({ reductionFactor: 4 }) }),
    )
    const before = await logits(union)
    await ejectPrefixTuning(union as PeftModel)
    expect(difference(await logits(union), before)).toBeLessThan(1e-5)
    const folder = await temporaryFolder()
    await union.savePretrained(folder)
    expect(difference(await logits(await PeftModel.fromPretrained(model, folder)), before)).toBeLessThan(1e-5)
    const lora = getPeftModel(model, new LoraConfig()) as PeftModel
    await expect(ejectPrefixTuning(lora)).rejects.toThrow(/"default" is of type LORA and has no prefixes/)
  })

  const hub = hubCase('prefix_tuning-ejected')
  const missing = !hub && 'no copy of the oracle here'
  it.skipIf(missing)(
    skippable('oracle: of AdapterHub are recognised, although their options deny it', missing),
    async () => {
      await checkOutputs(hub!, await openAdapter(hub!, { isTrainable: false }))
      await checkTraining(hub!, await openAdapter(hub!, { isTrainable: true }))
      const peft = await openAdapter(hub!, { isTrainable: false })
      expect(peft.configOf('a').toJSON()).toMatchObject({ flat: true })
    },
  )
})

/** The folder of an adapter whose keys went through `rename`. */
async function renamed(folder: string, rename: (key: string) => string[]): Promise<string> {
  const { tensors } = parseSafetensors(await readFile(join(folder, 'adapter.safetensors')))
  const entries = [...tensors].flatMap(([name, tensor]) => rename(name).map(key => ({ name: key, ...tensor })))
  await writeFile(join(folder, 'adapter.safetensors'), serializeSafetensors(entries))
  return folder
}

describe('files', () => {
  it('may hold a prefix under each name that AdapterHub has for it', async () => {
    const model = tiny('seqcls', 'bert')
    const peft = getPeftModel(model, small())
    const folder = await temporaryFolder()
    await peft.savePretrained(folder)
    await renamed(folder, key => {
      const rest = key.slice(key.indexOf('.prefix_tunings.'))
      const layers = [0, 1].map(i => `bert.encoder.layer.${i}.attention.self.prefix_tuning.pool`)
      return ['bert.prefix_tuning', ...layers].map(at => at + rest)
    })
    const warnings: string[] = []
    const back = await PeftModel.fromPretrained(model, folder, { onWarning: text => warnings.push(text) })
    expect(warnings).toEqual([])
    expect(difference(await logits(back), await logits(peft))).toBe(0)
  })

  it('of a model without a head fit one with a head, gates and all', async () => {
    const model = tiny('seqcls', 'bert')
    const peft = getPeftModel(model, small({ useGating: true }))
    const folder = await temporaryFolder()
    await peft.savePretrained(folder)
    await renamed(folder, key => [key.replace(/^bert\./, '')])
    const back = await PeftModel.fromPretrained(model, folder)
    expect(difference(await logits(back), await logits(peft))).toBe(0)
  })
})

describe('prefixes', () => {
  it.each(['llama', 'gpt2'])('are seen at every step when %s generates', async type => {
    const peft = getPeftModel(tiny('causal', type), small())
    const prompt = [5, 9, 2]
    const { sequences } = await peft.generate([prompt], { maxNewTokens: 5, doSample: false })
    const tokens = [...prompt]
    for (let i = 0; i < 5; i++) {
      const { logits: scores } = await outputs(peft, { input_ids: tensorData('int64', [tokens]) }, 'logits')
      const last = floats(scores).subarray(-40)
      tokens.push(last.indexOf(Math.max(...last)))
    }
    expect([...sequences[0]].map(Number)).toEqual(tokens)
  })

  it('are seen at every step when T5 generates, in the encoder and in both attentions of the decoder', async () => {
    const peft = getPeftModel(tiny('seq2seq', 't5', { eos_token_id: null }), small())
    const prompt = [5, 9, 2]
    const { sequences } = await peft.generate([prompt], { maxNewTokens: 5, doSample: false, eosTokenId: null })
    const tokens = [0]
    for (let i = 0; i < 5; i++) {
      const inputs = { input_ids: tensorData('int64', [prompt]), decoder_input_ids: tensorData('int64', [tokens]) }
      const last = floats((await outputs(peft, inputs, 'logits')).logits).subarray(-40)
      tokens.push(last.indexOf(Math.max(...last)))
    }
    expect([...sequences[0]].map(Number)).toEqual(tokens)
  })

  it('of T5’s encoder and cross-attention can be left out', () => {
    const groups = (options: object) => {
      const peft = getPeftModel(tiny('seq2seq', 't5'), small(options))
      return new Set([...peft.namedParameters()].flatMap(([name]) => /default\.(\w+_prefix)\./.exec(name)?.[1] ?? []))
    }
    expect(groups({})).toEqual(new Set(['encoder_prefix', 'self_prefix', 'cross_prefix']))
    expect(groups({ encoderPrefix: false })).toEqual(new Set(['self_prefix', 'cross_prefix']))
    expect(groups({ crossPrefix: false, leaveOut: [2, 3] })).toEqual(new Set(['encoder_prefix']))
  })

  it('can be dropped in part while training', async () => {
    const peft = getPeftModel(tiny('seqcls', 'bert'), small({ dropout: 0.5 }))
    const labels = tensorData('int64', [1])
    await using step = await valueAndGrad(peft as Module, (m, inputs) => (m as PeftModel).forward(inputs).loss!)
    const losses = new Set<number>()
    for (let i = 0; i < 4; i++) losses.add((await step({ ...batch, labels }, { seed: i })).value)
    expect(losses.size).toBeGreaterThan(1)
    expect([...losses].every(Number.isFinite)).toBe(true)
  })

  it('come, go, and add up', async () => {
    const model = tiny('seqcls', 'bert')
    const peft = getPeftModel(model, small())
    peft.addAdapter('flat', new AdapterHubFlatPrefixConfig({ prefixLength: 2 }))
    const [base, own] = [await logits(model), await logits(peft)]
    peft.setAdapter(['default', 'flat'])
    const both = await logits(peft)
    expect(difference(both, own)).toBeGreaterThan(1e-4)
    peft.setAdapter('default')
    peft.deleteAdapter('flat')
    expect(difference(await logits(peft), own)).toBe(0)
    expect(difference(await peft.disableAdapter(() => logits(peft)), base)).toBeLessThan(1e-6)
    peft.deleteAdapter('default')
    expect(difference(await logits(peft), base)).toBeLessThan(1e-6)
    expect([...peft.namedParameters()].some(([name]) => name.includes('prefix'))).toBe(false)
  })
})

describe('what is counted', () => {
  it('is the closed form, for all options', () => {
    fc.assert(
      fc.property(
        fc.record({
          prefixLength: fc.integer({ min: 1, max: 4 }),
          bottleneckSize: fc.integer({ min: 1, max: 5 }),
          flat: fc.boolean(),
          useGating: fc.boolean(),
          sharedGating: fc.boolean(),
          encoderPrefix: fc.boolean(),
          leaveOut: fc.subarray([0]),
          type: fc.constantFrom('bert', 't5', 'llama'),
        }),
        ({ type, ...options }) => {
          const model = tiny(type === 'bert' ? 'seqcls' : type === 't5' ? 'seq2seq' : 'causal', type)
          const peft = getPeftModel(model, new AdapterHubPrefixConfig(options))
          const { method, config, targets, model: facts } = peft.adapter('default')
          const modules = new Map(targets.map(path => [path, model.getSubmodule(path)]))
          expect(peft.getNbTrainableParameters().trainable).toBe(method.about.count(config, modules, facts))
        },
      ),
      { numRuns: 30 },
    )
  })
})

class Net extends Module {
  hidden = new Linear(6, 8)
  forward(x: Tensor): Tensor {
    return relu(this.hidden.forward(x))
  }
}

describe('what is refused', () => {
  const config = (options: object) => () => new AdapterHubPrefixConfig(options)

  it.each<[string, () => unknown, RegExp]>([
    ['an option that does not exist', config({ prefixLenght: 2 }), /no option "prefixLenght"\. Did you mean/],
    ['no length', config({ prefixLength: 0 }), /prefixLength must be a whole number above 0, got 0/],
    ['an unknown activation', config({ nonLinearity: 'tanhh' }), /tanhh/],
    ['a flag that is none', config({ flat: 'yes' }), /flat must be true or false, got "yes"/],
    ['a layer that is none', config({ leaveOut: [-1] }), /leaveOut must be a list of layer numbers/],
    ['too much dropout', config({ dropout: 1 }), /dropout must be a number in \[0, 1\), got 1/],
    ['a module without attention', () => getPeftModel(new Net(), small()), /Net has no attention layers/],
    [
      'prefixes nowhere',
      () => getPeftModel(tiny('seqcls', 'bert'), small({ leaveOut: [0, 1] })),
      /no layer is left that gets a prefix \(leaveOut \[0,1\]\)/,
    ],
  ])('%s', (_, action, message) => {
    expect(action).toThrow(message)
  })

  it('a merge', async () => {
    await expect(getPeftModel(tiny('seqcls', 'bert'), small()).mergeAndUnload()).rejects.toThrow(/cannot be merged/)
  })
})
