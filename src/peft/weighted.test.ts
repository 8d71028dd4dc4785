/** @file Weighted sums of adapters: by their definitions, and against values that PEFT computes. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { Tensor } from '../graph/index.ts'
import { compile } from '../models/function.ts'
import { Linear, Module } from '../nn/index.ts'
import { floats, tensorData } from '../runtime/index.ts'
import { getPeftModel, IA3Config, LNTuningConfig, type LoraConfigOptions, PeftModel } from './index.ts'
import { mergedValues } from './merge.ts'
import { addDrawn, expectClose, logitsOf, lora, tinyBert } from './testing/life.ts'
import type { CombinationType, WeightedOptions } from './weighted.ts'

class Net extends Module {
  one = new Linear(3, 4)
  forward(x: Tensor) {
    return this.one.forward(x)
  }
}

/** Two adapters with the values of the reference run. */
function reference(options: LoraConfigOptions = {}): PeftModel {
  const net = new Net()
  net.initialize(1)
  const peft = new PeftModel<Module>(net)
  for (const [name, loraAlpha, seed] of [
    ['a', 4, 4],
    ['b', 1, 7],
  ] as const) {
    peft.addAdapter(name, lora({ r: 2, loraAlpha, targetModules: ['one'], ...options }))
    const [a, b] = [...peft.stateDict(name).values()]
    a.data = Float32Array.from({ length: 6 }, (_, i) => ((((i + 1) * seed) % 11) - 5) / 4)
    b.data = Float32Array.from({ length: 8 }, (_, i) => ((((i + 2) * seed) % 13) - 6) / 4)
  }
  return peft
}

/** What an adapter adds to the weight. */
async function deltaOf(peft: PeftModel, name: string, path = 'one'): Promise<Float32Array> {
  const layer = peft.adapter(name).layers.get(path)!
  const { weight } = await mergedValues(layer, [name])
  const base = await (layer.original as Linear).weight.read()
  return weight.map((value, i) => value - base[i])
}

const weighted = (parts: readonly Float32Array[], weights: readonly number[]) =>
  parts[0].map((_, i) => parts.reduce((sum, part, k) => sum + weights[k] * part[i], 0))

/** PEFT 0.21.2 on torch, for the weights 0.7 and -0.4. */
const PEFT: [CombinationType, WeightedOptions, number[]][] = [
  [
    'linear',
    {},
    [-0.24036, 3.07108, -2.72394, 0.62265, -0.52422, 1.48279, -0.51172, 0.15286, -1.01015, -0.07864, 2.39737, -1.93565],
  ],
  [
    'svd',
    { svdRank: 1 },
    [-0.16115, 2.49263, -2.15148, 0.0448, -0.69292, 0.59809, -0.02325, 0.35968, -0.31046, -0.09434, 1.45925, -1.25953],
  ],
  ['ties', { density: 0.5 }, [0, 1.60392, -0.48123, 0, -0.39686, 0.25, 0, 1.84165, -1.0268, 0, 1.03072, -0.38958]],
  [
    'ties_svd',
    { density: 0.5 },
    [0.08181, 2.62569, -1.03093, 0.01396, -0.00053, 0.78725, -0.00955, 0.07536, -0.69983, 0.03467, 1.39868, -1.05062],
  ],
  [
    'magnitude_prune',
    { density: 0.5 },
    [0, 2.19922, 0.18021, 0, -0.39686, 0.77915, 0, 0.19479, -2.24765, 0, 2.6458, -0.77915],
  ],
  [
    'magnitude_prune_svd',
    { density: 0.5 },
    [0.07445, 2.62572, -2.0625, -0.00001, 0, 0.8875, 0.00214, 0.07494, -0.7, 0.04356, 1.53627, -1.175],
  ],
]

describe('addWeightedAdapter', () => {
  it.each(PEFT)('%s gives what PEFT gives', async (combinationType, options, expected) => {
    const peft = reference()
    await peft.addWeightedAdapter(['a', 'b'], [0.7, -0.4], 'sum', { combinationType, ...options })
    expectClose(await deltaOf(peft, 'sum'), Float32Array.from(expected), 2e-5)
  })

  it.each(['cat', 'svd'] as const)('%s is the sum itself where the rank suffices, for any weights', async type => {
    const peft = reference()
    const parts = [await deltaOf(peft, 'a'), await deltaOf(peft, 'b')]
    const weight = fc.double({ min: -3, max: 3, noNaN: true })
    await fc.assert(
      fc.asyncProperty(weight, weight, async (one, two) => {
        await peft.addWeightedAdapter(['a', 'b'], [one, two], 'sum', { combinationType: type, svdRank: 4 })
        expectClose(await deltaOf(peft, 'sum'), weighted(parts, [one, two]), 2e-5)
        peft.deleteAdapter('sum')
      }),
      { numRuns: 8 },
    )
  })

  it('adds up adapters of different ranks, options and layers', async () => {
    const peft = new PeftModel(tinyBert())
    addDrawn(peft, 'a', lora({ targetModules: ['query', 'intermediate.dense'], rankPattern: { query: 2 } }), 1)
    addDrawn(peft, 'b', lora({ r: 3, targetModules: ['query', 'key'], layersToTransform: [1], loraBias: true }), 2)
    await peft.addWeightedAdapter(['a', 'b'], [0.5, 2], 'sum', { combinationType: 'cat' })
    expect(peft.targetedModules('sum').sort()).toEqual(
      [...new Set([...peft.targetedModules('a'), ...peft.targetedModules('b')])].sort(),
    )
    const [path, only] = ['bert.encoder.layer.1.attention.self.query', 'bert.encoder.layer.1.attention.self.key']
    const parts = [await deltaOf(peft, 'a', path), await deltaOf(peft, 'b', path)]
    expectClose(await deltaOf(peft, 'sum', path), weighted(parts, [0.5, 2]))
    expectClose(await deltaOf(peft, 'sum', only), weighted([await deltaOf(peft, 'b', only)], [2]))
    const bias = async (name: string) =>
      peft
        .stateDict(name)
        .get(`base_model.model.${path}.lora_B.bias`)!
        .data.map(value => value * (name === 'b' ? 8 / 3 : 1))
    expectClose(
      await bias('sum'),
      (await bias('b')).map(value => 2 * value),
    )
  })

  it('drops values by the seed, and keeps their mean', async () => {
    const peft = reference()
    const options = { combinationType: 'dare_linear', density: 0.5 } as const
    const sums = await Promise.all(
      [1, 1, 2].map(async (seed, i) => {
        await peft.addWeightedAdapter(['a', 'b'], [1, 1], `sum${i}`, { ...options, seed })
        return deltaOf(peft, `sum${i}`)
      }),
    )
    expect(sums[0]).toEqual(sums[1])
    expect(sums[0]).not.toEqual(sums[2])
    await peft.addWeightedAdapter(['a', 'b'], [1, 1], 'ties', { ...options, combinationType: 'dare_ties_svd' })
    await peft.addWeightedAdapter(['a', 'b'], [1, 1], 'all', { combinationType: 'dare_linear', density: 1 })
    await peft.addWeightedAdapter(['a', 'b'], [1, 1], 'linear', { combinationType: 'linear' })
    expect(await deltaOf(peft, 'all')).toEqual(await deltaOf(peft, 'linear'))
  })

  it('takes over the head of the one adapter that has one', async () => {
    const peft = new PeftModel(tinyBert())
    addDrawn(peft, 'a', lora({ modulesToSave: ['classifier'] }), 1)
    addDrawn(peft, 'b', lora(), 2)
    await peft.addWeightedAdapter(['b', 'a'], [0, 1], 'sum', { combinationType: 'cat' })
    peft.setAdapter('a')
    const expected = await logitsOf(peft)
    peft.setAdapter('sum')
    expectClose(await logitsOf(peft), expected)
    addDrawn(peft, 'c', lora({ modulesToSave: ['classifier'] }), 3)
    await expect(peft.addWeightedAdapter(['a', 'c'], [1, 1], 'both')).rejects.toThrow(/a and c both train "classifier"/)
    expect(peft.adapterNames()).not.toContain('both')
  })

  it('adds up the vectors of (IA)3, in which a layer left alone counts as ones', async () => {
    const net = new Net()
    net.initialize(1)
    const peft = new PeftModel<Module>(net)
    addDrawn(peft, 'a', new IA3Config({ targetModules: ['one'], feedforwardModules: [] }), 1)
    addDrawn(peft, 'b', new IA3Config({ targetModules: ['one'], feedforwardModules: [] }), 2)
    await peft.addWeightedAdapter(['a', 'b'], [0.25, -1], 'sum')
    const y = async (name: string) => {
      peft.setAdapter(name)
      await using run = await compile(peft, (m, { x }) => ({ y: m.forward(x as never) as unknown as Tensor }))
      return floats((await run({ x: tensorData('float32', [[1, 2, 3]]) })).y).slice()
    }
    expectClose(await y('sum'), weighted([await y('a'), await y('b')], [0.25, -1]))
    await expect(peft.addWeightedAdapter(['a'], [1], 'x', { combinationType: 'svd' })).rejects.toThrow(/"linear"/)
  })

  it.each<[string, (peft: PeftModel) => Promise<void>, RegExp]>([
    ['an adapter that is not there', p => p.addWeightedAdapter(['a', 'x'], [1, 1], 's'), /no adapter "x"/],
    ['no adapters', p => p.addWeightedAdapter([], [], 's'), /no adapters were named/],
    ['too few weights', p => p.addWeightedAdapter(['a', 'b'], [1], 's'), /2 adapters need as many weights, got 1/],
    ['a weight that is no number', p => p.addWeightedAdapter(['a'], [Number.NaN], 's'), /must be numbers, got NaN/],
    ['an adapter named twice', p => p.addWeightedAdapter(['a', 'a'], [1, 1], 's'), /named twice/],
    [
      'an unknown type',
      p => p.addWeightedAdapter(['a'], [1], 's', { combinationType: 'tise' as never }),
      /"tise" is not known\. Did you mean "ties"/,
    ],
    [
      'an unknown option',
      p => p.addWeightedAdapter(['a'], [1], 's', { densty: 1 } as never),
      /no option "densty".*"density"/,
    ],
    [
      'pruning without a density',
      p => p.addWeightedAdapter(['a'], [1], 's', { combinationType: 'ties' }),
      /give density/,
    ],
    ['a rank of zero', p => p.addWeightedAdapter(['a'], [1], 's', { svdRank: 0 }), /svdRank must be a whole number/],
  ])('refuses %s', async (_, action, message) => {
    const peft = reference()
    await expect(action(peft)).rejects.toThrow(message)
    expect(peft.adapterNames()).toEqual(['a', 'b'])
  })

  it('refuses ranks that do not fit, lengths that were learnt, other methods and those without a sum', async () => {
    const peft = new PeftModel(tinyBert())
    peft.addAdapter('a', lora())
    peft.addAdapter('wide', lora({ r: 6 }))
    peft.addAdapter('dora', lora({ useDora: true }))
    peft.addAdapter('taken', lora({ initLoraWeights: 'olora' }))
    peft.addAdapter('factors', new IA3Config({ targetModules: ['query'], feedforwardModules: [] }))
    peft.addAdapter('norms', new LNTuningConfig({ targetModules: ['LayerNorm'] }))
    const add = (names: string[], options: WeightedOptions = {}) =>
      peft.addWeightedAdapter(
        names,
        names.map(() => 1),
        'sum',
        options,
      )
    await expect(add(['a', 'wide'], { combinationType: 'linear' })).rejects.toThrow(
      /rank of "a" is 4 and that of "wide" 6/,
    )
    await expect(add(['a', 'dora'])).rejects.toThrow(/learnt lengths/)
    await expect(add(['a', 'taken'])).rejects.toThrow(/taken out of the weights/)
    await expect(add(['a', 'factors'])).rejects.toThrow(/"a" is LORA, "factors" is IA3/)
    await expect(add(['norms'])).rejects.toThrow(/LayerNorm tuning cannot be added up/)
    expect(peft.adapterNames()).not.toContain('sum')
  })

  it('is trained on, saved and loaded like any adapter', async () => {
    const peft = getPeftModel(tinyBert(), lora())
    addDrawn(peft, 'b', lora(), 3)
    await peft.addWeightedAdapter(['default', 'b'], [0.5, 0.5], 'sum')
    const trains = () => [...peft.namedParameters()].filter(([, p]) => p.requiresGrad).map(([name]) => name)
    expect(trains().some(name => name.includes('.sum.'))).toBe(false)
    peft.setAdapter('sum')
    expect(trains().every(name => name.includes('.sum.'))).toBe(true)
    expect(peft.configOf('sum').toJSON()).toMatchObject({ r: 4, lora_alpha: 4, use_rslora: false })
  })
})
