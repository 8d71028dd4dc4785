/** @file Unions: their parts, their options in files, and what cannot be in one. */
import { describe, expect, it } from 'vitest'
import { temporaryFolder } from '../../../../test/temporary.ts'
import type { Module } from '../../../nn/index.ts'
import { tensorData } from '../../../runtime/index.ts'
import {
  AdapterHubLoraConfig,
  type AdapterHubPrefixConfig,
  AdapterHubPromptConfig,
  AdapterHubVeraConfig,
  type BnConfig,
  CompacterPlusPlusConfig,
  getPeftConfig,
  getPeftModel,
  LoraConfig,
  loadPeftConfig,
  MAMConfig,
  PeftModel,
  SeqBnConfig,
  SeqBnInvConfig,
  UnionConfig,
  UniPELTConfig,
} from '../../index.ts'
import { difference, outputs, tiny } from '../../prompt-learning/testing/tiny.ts'

const batch = { input_ids: tensorData('int64', [[5, 9, 2, 7]]) }
const logits = async (model: Module) => (await outputs(model, batch, 'logits')).logits

describe('the named configurations', () => {
  it('have the parts of their publications', () => {
    const [prefix, parallel] = new MAMConfig().configs as [AdapterHubPrefixConfig, BnConfig]
    expect([prefix.bottleneckSize, prefix.prefixLength, prefix.useGating]).toEqual([800, 30, false])
    expect([parallel.isParallel, parallel.scaling, parallel.reductionFactor]).toEqual([true, 4, 2])
    const parts = new UniPELTConfig().configs as [AdapterHubPrefixConfig, BnConfig, AdapterHubLoraConfig]
    expect(parts.map(part => part.useGating)).toEqual([true, true, true])
    expect([parts[0].prefixLength, parts[1].reductionFactor, parts[2].r, parts[2].alpha]).toEqual([10, 16, 8, 2])
  })

  it('take other parts, which get gates in UniPELT', () => {
    const lora = new AdapterHubLoraConfig({ r: 2 })
    const { configs } = new UniPELTConfig({ lora })
    expect(configs[2]).toMatchObject({ r: 2, useGating: true })
    expect(lora.useGating).toBe(false)
    expect(new MAMConfig({ adapter: new SeqBnConfig() }).configs[1]).toMatchObject({ isParallel: false })
  })
})

describe('a union', () => {
  const seqBn = () => new SeqBnConfig({ reductionFactor: 4 })

  it('computes what its parts do as adapters of their own', async () => {
    const model = tiny('seqcls', 'bert')
    const parts = { bn: seqBn(), lora: new AdapterHubLoraConfig({ r: 2, initWeights: 'bert' }) }
    const peft = getPeftModel(model, parts.bn, { adapterName: 'bn' })
    peft.addAdapter('lora', parts.lora)
    peft.setAdapter(['bn', 'lora'])
    const union = getPeftModel(model, new UnionConfig({ configs: Object.values(parts) }), { adapterName: 'both' })
    const values = new Map([...peft.namedParameters()])
    for (const [name, parameter] of union.namedParameters()) {
      if (!name.includes('.both.')) continue
      const source = ['bn', 'lora'].map(part => values.get(name.replace('.both.', `.${part}.`))).find(Boolean)
      parameter.data = source!.data.slice()
    }
    expect(difference(await logits(union), await logits(peft))).toBe(0)
    expect(union.getNbTrainableParameters()).toEqual(peft.getNbTrainableParameters())
  })

  it('has parts of its own: what is given stays as it was', () => {
    const part = seqBn()
    const config = new UnionConfig({ configs: [part] })
    const copy = config.with({ revision: 'x' })
    expect(config.configs[0]).not.toBe(part)
    expect(copy.configs[0]).not.toBe(config.configs[0])
    expect(copy.with({ configs: [new AdapterHubLoraConfig()] }).configs[0].peftType).toBe('ADAPTERHUB_LORA')
    expect(copy.configs[0].peftType).toBe('BOTTLENECK')
  })

  it('may have two adapters of a kind in different places', () => {
    const configs = [seqBn(), new SeqBnConfig({ mhAdapter: true, outputAdapter: false })]
    const peft = getPeftModel(tiny('seqcls', 'bert'), new UnionConfig({ configs }))
    expect(peft.targetedModules()).toHaveLength(4)
  })

  it('comes back from its JSON and from its files, with what is not known', async () => {
    const model = tiny('seqcls', 'bert')
    const config = new UniPELTConfig({ taskType: 'SEQ_CLS' })
    const json = { ...config.toJSON(), later: 1 }
    expect(getPeftConfig(JSON.parse(JSON.stringify(json))).toJSON()).toEqual(JSON.parse(JSON.stringify(json)))
    const folder = await temporaryFolder()
    const peft = getPeftModel(model, config)
    await peft.savePretrained(folder)
    const back = await PeftModel.fromPretrained(model, folder)
    expect(difference(await logits(back), await logits(peft))).toBe(0)
    const loaded = await loadPeftConfig(folder)
    expect((loaded as UnionConfig).configs.map(part => part.constructor.name)).toEqual([
      'AdapterHubPrefixConfig',
      'BnConfig',
      'AdapterHubLoraConfig',
    ])
  })

  it('with a prompt keeps outputs of single tokens where they are', async () => {
    const model = tiny('tokcls', 'bert')
    const configs = [new AdapterHubPromptConfig({ promptLength: 2 }), new AdapterHubLoraConfig({ r: 2 })]
    const peft = getPeftModel(model, new UnionConfig({ configs }))
    expect((await logits(peft)).dims).toEqual((await logits(model)).dims)
  })
})

describe('what is refused', () => {
  const union =
    (...configs: unknown[]) =>
    () =>
      new UnionConfig({ configs: configs as never })
  const on =
    (...configs: UnionConfig['configs']) =>
    () =>
      getPeftModel(tiny('seqcls', 'bert'), new UnionConfig({ configs }))

  it.each<[string, () => unknown, RegExp]>([
    ['no parts', union(), /configs must be a list of configurations, got \[\]/],
    ['no list', () => new UnionConfig({ configs: 'lora' as never }), /must be a list of configurations, got "lora"/],
    ['a part that is none', union({ r: 8 }), /every part must be a configuration, got {"r":8}/],
    ['a union in a union', union(new MAMConfig()), /a union cannot be a part of a union/],
    ['a method that AdapterHub does not have', union(new LoraConfig()), /no place for adapters of type LORA/],
    ['a part for layers by name', union(new SeqBnConfig({ targetModules: ['x'] })), /names targetModules, which/],
    ['a part with a task', union(new SeqBnConfig({ taskType: 'SEQ_CLS' })), /belong to the union, not to its part/],
    ['an option that does not exist', () => new UnionConfig({ configs: [], part: 1 } as never), /no option "part"/],
    [
      'two parts in one place',
      on(new AdapterHubLoraConfig(), new AdapterHubLoraConfig({ attnMatrices: ['v'] })),
      /both work on "bert.encoder.layer.0.attention.self.value"; a union's parts need places of their own/,
    ],
    [
      'a prompt and an invertible adapter',
      on(new AdapterHubPromptConfig(), new SeqBnInvConfig({ reductionFactor: 4 })),
      /AdapterHubPromptConfig and .* both work on "bert.embeddings.dropout"/,
    ],
    [
      'parts that share parameters of one name',
      on(new AdapterHubVeraConfig(), new CompacterPlusPlusConfig({ reductionFactor: 6, phmDim: 2 })),
      /two parts keep something of their own at "base_model.shared_parameters"/,
    ],
  ])('%s', (_, action, message) => {
    expect(action).toThrow(message)
  })

  it('and nothing stays of a union that could not be added', () => {
    const peft = getPeftModel(tiny('seqcls', 'bert'), new SeqBnConfig({ reductionFactor: 4 }))
    const before = [...peft.namedParameters()].map(([name]) => name)
    const configs = [new AdapterHubVeraConfig(), new CompacterPlusPlusConfig({ reductionFactor: 6, phmDim: 2 })]
    expect(() => peft.addAdapter('other', new UnionConfig({ configs }))).toThrow(/shared_parameters/)
    expect([...peft.namedParameters()].map(([name]) => name)).toEqual(before)
  })
})
