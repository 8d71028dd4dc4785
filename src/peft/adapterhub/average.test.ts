/** @file Averages of AdapterHub's adapters: weights, ranks, scales, and what is refused. */
import { describe, expect, it } from 'vitest'
import {
  AdapterHubDoraConfig,
  AdapterHubIA3Config,
  AdapterHubLoraConfig,
  AdapterHubPrefixConfig,
  AdapterHubPromptConfig,
  AdapterHubVeraConfig,
  type AnyPeftConfig,
  PeftModel as Peft,
  type PeftModel,
  SeqBnConfig,
  UniPELTConfig,
} from '../index.ts'
import { mergedValues } from '../merge.ts'
import { tiny } from '../prompt-learning/testing/tiny.ts'
import { perturb } from '../testing/life.ts'
import type { WeightedOptions } from '../weighted.ts'

/** A model with adapters `a` and `b`. */
function pair(a: AnyPeftConfig, b: AnyPeftConfig = a, type = 'bert'): PeftModel {
  const peft = new Peft(tiny(type === 'gpt2' ? 'causal' : 'seqcls', type)) as PeftModel
  for (const [i, config] of [a, b].entries()) {
    peft.addAdapter('ab'[i], config, { seed: i })
    perturb(peft, 'ab'[i], i + 1)
  }
  return peft
}

const valuesOf = (peft: PeftModel, name: string) => [...peft.stateDict(name).values()].map(({ data }) => data)
const sum = (parts: readonly Float32Array[], weights: readonly number[]) =>
  parts[0].map((_, i) => parts.reduce((total, part, k) => total + weights[k] * part[i], 0))

function expectClose(got: Float32Array, expected: Float32Array, tolerance = 1e-5): void {
  expect(got.length).toBe(expected.length)
  expect(Math.max(...got.map((value, i) => Math.abs(value - expected[i])))).toBeLessThanOrEqual(tolerance)
}

describe('linear averages', () => {
  it.each<[string, AnyPeftConfig]>([
    ['bottleneck adapters', new SeqBnConfig({ reductionFactor: 4 })],
    ['LoRA', new AdapterHubLoraConfig({ r: 2 })],
    ['prefixes', new AdapterHubPrefixConfig({ prefixLength: 2, bottleneckSize: 8 })],
    ['prompts', new AdapterHubPromptConfig({ promptLength: 3 })],
    ['unions', new UniPELTConfig({ prefixTuning: new AdapterHubPrefixConfig({ prefixLength: 2, bottleneckSize: 8 }) })],
  ])('of %s have the means of all tensors, by weights over their sum', async (_, config) => {
    const peft = pair(config)
    await peft.addWeightedAdapter(['a', 'b'], [1, 3], 'mean')
    await peft.addWeightedAdapter(['b', 'a'], [2, -0.5], 'sum', { normalizeWeights: false })
    const [a, b, mean, total] = ['a', 'b', 'mean', 'sum'].map(name => valuesOf(peft, name))
    for (const [i, values] of mean.entries()) {
      expectClose(values, sum([a[i], b[i]], [0.25, 0.75]))
      expectClose(total[i], sum([a[i], b[i]], [-0.5, 2]))
    }
  })

  it('train like other adapters', async () => {
    const peft = pair(new SeqBnConfig({ reductionFactor: 4 }))
    await peft.addWeightedAdapter(['a', 'b'], [1, 1], 'mean')
    const before = peft.getNbTrainableParameters().trainable
    peft.setAdapter('mean')
    expect(peft.getNbTrainableParameters().trainable).toBe(before)
    expect([...peft.stateDict('mean').values()].every(({ requiresGrad }) => requiresGrad)).toBe(true)
  })
})

describe('lora_delta_w_svd', () => {
  /** What an adapter adds to the weights of each layer, its scale included. */
  async function updates(peft: PeftModel, name: string): Promise<Float32Array[]> {
    const deltas: Float32Array[] = []
    for (const layer of peft.adapter(name).layers.values()) {
      const { weight } = await mergedValues(layer, [name])
      const base = await (layer.original as unknown as { weight: { read(): Promise<Float32Array> } }).weight.read()
      deltas.push(weight.map((value, i) => value - base[i]))
    }
    return deltas
  }

  it.each([
    ['bert', {}],
    ['gpt2', { attnMatrices: ['q', 'v'] as const }],
  ])('of rank enough is the sum of what adapters of other ranks and scales do: %s', async (type, options) => {
    const peft = pair(
      new AdapterHubLoraConfig({ r: 2, alpha: 4, ...options }),
      new AdapterHubLoraConfig({ r: 3, alpha: 9, ...options }),
      type,
    )
    const svd: WeightedOptions = { combinationType: 'lora_delta_w_svd', normalizeWeights: false }
    await peft.addWeightedAdapter(['a', 'b'], [1, -0.5], 'sum', { ...svd, svdRank: 5 })
    const [a, b, total] = [await updates(peft, 'a'), await updates(peft, 'b'), await updates(peft, 'sum')]
    expect(total.length).toBeGreaterThan(0)
    for (const [i, values] of total.entries()) expectClose(values, sum([a[i], b[i]], [1, -0.5]), 5e-5)
    expect(peft.configOf('sum')).toMatchObject({ r: 5, alpha: 10 })
    await peft.addWeightedAdapter(['a', 'b'], [1, 1], 'largest', svd)
    expect(peft.configOf('largest')).toMatchObject({ r: 3, alpha: 6 })
  })
})

describe('averages that there are not', () => {
  const refused = (peft: PeftModel, options: WeightedOptions = {}, weights = [1, 1]) =>
    expect(peft.addWeightedAdapter(['a', 'b'], weights, 'mean', options)).rejects

  it('are refused, and nothing was changed', async () => {
    const lora = pair(new AdapterHubLoraConfig({ r: 2 }), new AdapterHubLoraConfig({ r: 3 }))
    await refused(lora).toThrow('"a" and "b" differ in "r" (2 and 3)')
    await refused(lora, { combinationType: 'ties' }).toThrow(
      'no combinationType "ties"; they have linear, lora_linear_only_negate_b, lora_delta_w_svd',
    )
    await refused(lora, { combinationType: 'linear', svdRank: 2 }).toThrow('svdRank is the rank that combinationType')
    await refused(lora, { combinationType: 'lora_delta_w_svd', svdRank: 0 }).toThrow('svdRank must be a whole number')
    await refused(lora, { density: 0.5 }).toThrow('averages have no option "density"')
    expect(lora.adapterNames()).toEqual(['a', 'b'])
    const bottleneck = pair(new SeqBnConfig())
    await refused(bottleneck, {}, [1, -1]).toThrow('the weights add up to 0')
    await refused(bottleneck, { combinationType: 'lora_delta_w_svd' }).toThrow('they have linear')
    expect(bottleneck.adapterNames()).toEqual(['a', 'b'])
    const parts = (r: number) => new UniPELTConfig({ lora: new AdapterHubLoraConfig({ r }) })
    await refused(pair(parts(2), parts(3))).toThrow('"a" and "b" differ in "configs"')
  })

  it.each<[string, AnyPeftConfig, RegExp]>([
    ['lora_delta_w_svd', new AdapterHubIA3Config(), /"a" scales the outputs/],
    ['lora_delta_w_svd', new AdapterHubVeraConfig({ r: 2 }), /"a" has matrices that all layers share/],
    ['lora_delta_w_svd', new AdapterHubDoraConfig({ r: 2 }), /"a" changes the lengths of rows/],
    ['lora_linear_only_negate_b', new AdapterHubLoraConfig({ useGating: true }), /"a" has gates/],
  ])('%s is refused for what it has no place for', async (combinationType, config, message) => {
    const options = { combinationType, normalizeWeights: false } as WeightedOptions
    await refused(pair(config), options).toThrow(message)
  })
})
