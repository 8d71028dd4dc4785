/** @file Adapters as LoRA: exactly where the rank suffices, else as near as the rank allows. */
import { describe, expect, it } from 'vitest'
import { temporaryFolder } from '../../../../test/temporary.ts'
import { matrix, svd } from '../../../util/linear-algebra/index.ts'
import {
  type AnyPeftConfig,
  convertToLora,
  getPeftModel,
  IA3Config,
  PeftModel,
  saveAsLora,
  VeraConfig,
} from '../../index.ts'
import { mergedValues } from '../../merge.ts'
import { expectClose, logitsOf, lora, perturb, tinyBert } from '../../testing/life.ts'

const adapted = (config: AnyPeftConfig) => {
  const peft = getPeftModel(tinyBert(), config)
  perturb(peft, 'default', 3)
  return peft
}

describe('convertToLora', () => {
  it.each<[string, AnyPeftConfig]>([
    ['LoRA', lora({ rankPattern: { query: 2 }, alphaPattern: { value: 3 }, useRslora: true })],
    ['LoRA with biases and a head', lora({ loraBias: true, modulesToSave: ['classifier'] })],
    ['LoRA on embeddings', lora({ targetModules: ['word_embeddings', 'query'] })],
    ['DoRA', lora({ useDora: true })],
    ['LoRA that took something out of the weights', lora({ initLoraWeights: 'olora' })],
    ['VeRA', new VeraConfig({ r: 4, targetModules: ['query', 'value'] })],
  ])('of %s computes the same with all of the energy', async (_, config) => {
    const peft = adapted(config)
    const converted = await convertToLora(peft, { rank: 1 })
    expect(converted.configOf('default').peftType).toBe('LORA')
    expectClose(await logitsOf(converted), await logitsOf(peft), 1e-4)
  })

  it('of LoRA has its very rank, and its very matrices', async () => {
    const peft = adapted(lora({ r: 3, loraAlpha: 3 }))
    const converted = await convertToLora(peft, { rank: 3 })
    const state = converted.stateDict()
    for (const [key, parameter] of peft.stateDict()) expect(state.get(key)!.data, key).toEqual(parameter.data)
    expect(converted.configOf('default').toJSON()).toMatchObject({ r: 3, lora_alpha: 3, rank_pattern: {} })
  })

  it('is the nearest of a rank, and of a share of the energy the lowest that has it', async () => {
    const peft = adapted(lora({ r: 6 }))
    const path = 'bert.encoder.layer.0.attention.self.query'
    const deltaOf = async (model: PeftModel) => {
      const layer = model.adapter('default').layers.get(path)!
      const { weight } = await mergedValues(layer, ['default'])
      const base = await (layer.original as unknown as { weight: { read(): Promise<Float32Array> } }).weight.read()
      return weight.map((value, i) => value - base[i])
    }
    const whole = await deltaOf(peft)
    const { s } = svd(matrix(16, 16, whole))
    const energy = (from: number) => s.slice(from).reduce((sum, value) => sum + value * value, 0)
    const near = await deltaOf(await convertToLora(peft, { rank: 2 }))
    const distance = whole.reduce((sum, value, i) => sum + (value - near[i]) ** 2, 0)
    expect(distance / energy(2)).toBeCloseTo(1, 3)
    const shared = await convertToLora(peft, { rank: 0.7 })
    const rank = [...shared.stateDict()].find(([key]) => key.includes(path))![1].shape[0]
    expect(energy(rank)).toBeLessThanOrEqual(0.3 * energy(0))
    expect(energy(rank - 1)).toBeGreaterThan(0.3 * energy(0))
  })

  it('is saved as PEFT would load it', async () => {
    const peft = adapted(lora({ useDora: true, modulesToSave: ['classifier'] }))
    const folder = await temporaryFolder()
    await saveAsLora(peft, folder, { rank: 1 })
    const again = await PeftModel.fromPretrained(tinyBert(), folder)
    expectClose(await logitsOf(again), await logitsOf(peft), 1e-4)
  })

  it('refuses what is no change of weights, what has trained biases, and ranks that are none', async () => {
    const scaled = adapted(new IA3Config({ targetModules: ['query'], feedforwardModules: [] }))
    await expect(convertToLora(scaled)).rejects.toThrow(/cannot become LoRA/)
    await expect(convertToLora(adapted(lora({ bias: 'all' })))).rejects.toThrow(/bias "all"/)
    await expect(convertToLora(adapted(lora()), { rank: 1.5 })).rejects.toThrow(/got 1.5/)
    await expect(convertToLora(adapted(lora()), { adapterName: 'x' })).rejects.toThrow(/no adapter "x"/)
  })
})
