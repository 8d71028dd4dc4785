/** @file P-tuning: the LSTM, counts, and what it refuses. */
import { describe, expect, it } from 'vitest'
import { compile } from '../../../models/function.ts'
import { floats, tensorData } from '../../../runtime/index.ts'
import { Random } from '../../../util/random.ts'
import { getPeftModel, PromptEncoderConfig, type PromptEncoderConfigOptions } from '../../index.ts'
import { tiny } from '../../prompt-learning/testing/tiny.ts'
import { BidirectionalLSTM } from './lstm.ts'

const sigmoid = (x: number) => 1 / (1 + Math.exp(-x))

/** One direction of one layer in plain numbers. */
function runCell(lstm: BidirectionalLSTM, name: string, sequence: number[][]): number[][] {
  const own = lstm as unknown as Record<string, { data: Float32Array; shape: number[] }>
  const product = (weight: { data: Float32Array; shape: number[] }, x: number[], row: number) =>
    x.reduce((sum, value, i) => sum + weight.data[row * weight.shape[1] + i] * value, 0)
  const width = own[`weight_hh_${name}`].shape[1]
  let [hidden, memory] = [Array<number>(width).fill(0), Array<number>(width).fill(0)]
  return sequence.map(x => {
    const gate = (index: number, unit: number) => {
      const row = index * width + unit
      const fromInput = product(own[`weight_ih_${name}`], x, row) + own[`bias_ih_${name}`].data[row]
      return fromInput + product(own[`weight_hh_${name}`], hidden, row) + own[`bias_hh_${name}`].data[row]
    }
    const units = Array.from({ length: width }, (_, unit) => [0, 1, 2, 3].map(index => gate(index, unit)))
    memory = units.map(([i, f, g], unit) => sigmoid(f) * memory[unit] + sigmoid(i) * Math.tanh(g))
    hidden = units.map(([, , , o], unit) => sigmoid(o) * Math.tanh(memory[unit]))
    return hidden
  })
}

describe('BidirectionalLSTM', () => {
  it('computes what the recurrence says, in both directions and layer after layer', async () => {
    const lstm = new BidirectionalLSTM({ inputSize: 3, hiddenSize: 4, numLayers: 2, dropout: 0 })
    lstm.initialize(2)
    const random = new Random(1)
    let states = Array.from({ length: 5 }, () => Array.from({ length: 3 }, () => random.normal()))
    const inputs = { x: { dtype: 'float32' as const, shape: [5, 3] } }
    await using run = await compile(lstm, (m, { x }) => ({ y: m.forward(x) }), { inputs })
    const { y } = await run({ x: tensorData('float32', states) })
    for (const layer of ['l0', 'l1']) {
      const forwards = runCell(lstm, layer, states)
      const backwards = runCell(lstm, `${layer}_reverse`, [...states].reverse()).reverse()
      states = forwards.map((state, i) => [...state, ...backwards[i]])
    }
    expect(y.dims).toEqual([5, 8])
    for (const [i, value] of states.flat().entries()) expect(floats(y)[i]).toBeCloseTo(value, 5)
  })
})

describe('P-tuning', () => {
  it.each<[PromptEncoderConfigOptions, number]>([
    [{ encoderHiddenSize: 8 }, 3 * 24 + 25 * 8 + 9 * 8 + 9 * 24],
    [{}, 3 * 24 + 3 * 25 * 24],
    [
      { encoderReparameterizationType: 'LSTM', encoderHiddenSize: 8, encoderNumLayers: 3 },
      3 * 24 + 64 * (24 + 10) + 2 * 64 * 26 + 17 * 16 + 17 * 24,
    ],
  ])('trains with %j as many values as its closed form says', (options, expected) => {
    const peft = getPeftModel(tiny('causal', 'llama'), new PromptEncoderConfig({ numVirtualTokens: 3, ...options }))
    const { method, config, model } = peft.adapter('default')
    expect(peft.getNbTrainableParameters().trainable).toBe(expected)
    expect(method.about.count(config, new Map(), model)).toBe(expected)
  })

  it('takes the number of layers of an MLP from a file, where it has no effect', () => {
    const json = { peft_type: 'P_TUNING', encoder_num_layers: 5, num_virtual_tokens: 3 }
    expect(PromptEncoderConfig.fromJson(json, 'here').toJSON().encoder_num_layers).toBe(5)
    expect(() => new PromptEncoderConfig({ encoderNumLayers: 5 })).toThrow(
      /the MLP always has 2 hidden layers; leave it out, or choose LSTM/,
    )
  })

  it.each<[PromptEncoderConfigOptions, RegExp]>([
    [{ encoderReparameterizationType: 'LSTN' as never }, /"LSTN" is not known. Did you mean "LSTM"/],
    [{ encoderDropout: 1 }, /encoderDropout must lie in \[0, 1\), got 1/],
    [{ encoderHiddenSize: -1 }, /encoderHiddenSize must be a whole number above 0, got -1/],
  ])('refuses %j', (options, message) => {
    expect(() => new PromptEncoderConfig(options)).toThrow(message)
  })
})
