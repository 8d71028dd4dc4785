/** @file Rotary frequencies against values worked out by hand, and their errors. */
import { describe, expect, it } from 'vitest'
import { Graph } from '../graph/index.ts'
import { Engine, floats, NodeBackend, tensorData } from '../runtime/index.ts'
import type { RopeParameters } from './config.ts'
import { applyRotary, ropeFrequencies, rotaryTable } from './rope.ts'

const frequencies = (parameters: Partial<RopeParameters>, width = 8) =>
  ropeFrequencies({ parameters: { rope_type: 'default', rope_theta: 10000, ...parameters }, width, maxPositions: 128 })

describe('ropeFrequencies', () => {
  it('falls from 1 by equal ratios to theta^(2/width - 1)', () => {
    const { inverse, attentionFactor } = frequencies({})
    for (const [i, value] of [1, 0.1, 0.01, 0.001].entries()) expect(inverse[i]).toBeCloseTo(value, 8)
    expect(attentionFactor).toBe(1)
  })

  it('divides every frequency by the factor when linear', () => {
    const { inverse } = frequencies({ rope_type: 'linear', factor: 4 })
    for (const [i, value] of [0.25, 0.025, 0.0025, 0.00025].entries()) expect(inverse[i]).toBeCloseTo(value, 8)
  })

  it('stretches only long waves when llama3', () => {
    const { inverse } = frequencies({
      rope_type: 'llama3',
      factor: 8,
      low_freq_factor: 1,
      high_freq_factor: 4,
      original_max_position_embeddings: 32,
    })
    // Wavelengths 6.3, 63, 628, 6283 against 32 / 4 = 8 and 32 / 1 = 32.
    expect(inverse[0]).toBe(1)
    for (const [i, value] of [0.1, 0.01, 0.001].entries()) expect(inverse[i + 1]).toBeCloseTo(value / 8, 8)
  })

  it('interpolates between the two where llama3 has a wave of middle length', () => {
    const { inverse } = frequencies({
      rope_type: 'llama3',
      factor: 8,
      low_freq_factor: 1,
      high_freq_factor: 4,
      original_max_position_embeddings: 128,
    })
    const smooth = (128 / ((2 * Math.PI) / 0.1) - 1) / 3
    expect(inverse[1]).toBeCloseTo(((1 - smooth) * 0.1) / 8 + smooth * 0.1, 8)
  })

  it('keeps fast coordinates and stretches slow ones when yarn, and sharpens attention', () => {
    const yarn = { rope_type: 'yarn', factor: 4, original_max_position_embeddings: 2048 } as const
    const { inverse, attentionFactor } = frequencies(yarn, 64)
    const plain = frequencies({}, 64).inverse
    expect(attentionFactor).toBeCloseTo(0.1 * Math.log(4) + 1, 12)
    expect(inverse[0]).toBe(plain[0])
    expect(inverse[31]).toBeCloseTo(plain[31] / 4, 9)
    // The ramp runs from floor(8.06) = 8 to ceil(20.1) = 21.
    expect(inverse[8]).toBeCloseTo(plain[8], 9)
    const stretched = (15 - 8) / (21 - 8)
    expect(inverse[15]).toBeCloseTo(plain[15] * (1 - stretched) + (plain[15] / 4) * stretched, 9)
    expect(inverse[21]).toBeCloseTo(plain[21] / 4, 9)
  })

  it('takes the attention factor of the configuration where there is one', () => {
    const yarn = { rope_type: 'yarn', factor: 4, original_max_position_embeddings: 2048 } as const
    expect(frequencies({ ...yarn, attention_factor: 2 }).attentionFactor).toBe(2)
    expect(frequencies({ ...yarn, mscale: 1, mscale_all_dim: 1 }).attentionFactor).toBe(1)
  })

  const LONGROPE = {
    rope_type: 'longrope',
    short_factor: [1, 1, 2, 4],
    long_factor: [1, 2, 4, 8],
    original_max_position_embeddings: 32,
  } as const

  it('divides each frequency by its own factor when longrope, and sharpens attention by the growth', () => {
    const { inverse, attentionFactor } = frequencies(LONGROPE)
    for (const [i, value] of [1, 0.1, 0.005, 0.00025].entries()) expect(inverse[i]).toBeCloseTo(value, 8)
    // 128 positions are 4 times 32.
    expect(attentionFactor).toBeCloseTo(Math.sqrt(1 + Math.log(4) / Math.log(32)), 12)
    expect(frequencies({ ...LONGROPE, factor: 1 }).attentionFactor).toBe(1)
    expect(frequencies({ ...LONGROPE, attention_factor: 3 }).attentionFactor).toBe(3)
    expect(() => frequencies(LONGROPE, 16)).toThrow(/got 4 factors, expected 8/)
  })

  it('is as short as the share of the head that is turned', () => {
    const parameters = { rope_type: 'default', rope_theta: 10000, partial_rotary_factor: 0.5 } as const
    const { inverse } = ropeFrequencies({ parameters, width: 16, maxPositions: 128, partial: true })
    for (const [i, value] of [1, 0.1, 0.01, 0.001].entries()) expect(inverse[i]).toBeCloseTo(value, 8)
    expect(inverse).toHaveLength(4)
  })

  it('refuses what it does not compute', () => {
    expect(() => frequencies({ rope_type: 'other' as 'default' })).toThrow(/"other" is not computed; expected default/)
    expect(() => frequencies({ partial_rotary_factor: 0.5 })).toThrow(/partial_rotary_factor is 0.5/)
  })
})

describe('rotaryTable', () => {
  it('grows the base with the sequence when dynamic, and only beyond the length that the model was made for', async () => {
    const graph = new Graph()
    const positions = graph.input('positions', 'int64', [1, 'sequence'])
    const parameters = { rope_type: 'dynamic', rope_theta: 10000, factor: 2 } as const
    const { cos } = rotaryTable(positions, { parameters, width: 8, maxPositions: 4 })
    const engine = new Engine(new NodeBackend())
    await using executable = await engine.compile({ cos }, { mode: 'small' })
    const lastRow = async (length: number) => {
      const ids = Array.from({ length }, (_, i) => i)
      return [...floats((await executable.run({ positions: tensorData('int64', [ids]) })).cos).slice(-4)]
    }
    const expected = (base: number, position: number) => [0, 2, 4, 6].map(i => Math.cos(position * base ** (-i / 8)))
    for (const [i, value] of expected(10000, 3).entries()) expect((await lastRow(4))[i]).toBeCloseTo(value, 6)
    // (2 * 8 / 4 - 1) ^ (8 / 6) = 3 ^ (4 / 3)
    for (const [i, value] of expected(10000 * 3 ** (4 / 3), 7).entries())
      expect((await lastRow(8))[i]).toBeCloseTo(value, 6)
    await engine.dispose()
  })
  it('takes the long factors of longrope beyond the length of pretraining', async () => {
    const graph = new Graph()
    const positions = graph.input('positions', 'int64', [1, 'sequence'])
    const parameters = {
      rope_type: 'longrope',
      rope_theta: 10000,
      short_factor: [1, 2],
      long_factor: [4, 8],
      original_max_position_embeddings: 4,
      attention_factor: 1,
    } as const
    const { cos } = rotaryTable(positions, { parameters, width: 4, maxPositions: 16 })
    const engine = new Engine(new NodeBackend())
    await using executable = await engine.compile({ cos }, { mode: 'small' })
    for (const [length, factors] of [
      [4, [1, 2]],
      [5, [4, 8]],
    ] as const) {
      const ids = Array.from({ length }, (_, i) => i)
      const last = floats((await executable.run({ positions: tensorData('int64', [ids]) })).cos).slice(-2)
      for (const [i, factor] of factors.entries()) {
        expect(last[i]).toBeCloseTo(Math.cos(((length - 1) * 10000 ** (-i / 2)) / factor), 6)
      }
    }
    await engine.dispose()
  })
})

describe('applyRotary', () => {
  it('turns the first coordinates and leaves the others where the table is narrower than the heads', async () => {
    const graph = new Graph()
    const x = graph.input('x', 'float32', [1, 1, 1, 6])
    const table = {
      cos: graph.constant([Math.cos(1), Math.cos(2)], 'float32', [1, 1, 1, 2]),
      sin: graph.constant([Math.sin(1), Math.sin(2)], 'float32', [1, 1, 1, 2]),
    }
    const engine = new Engine(new NodeBackend())
    await using executable = await engine.compile({ y: applyRotary(x, table) }, { mode: 'small' })
    const y = floats((await executable.run({ x: tensorData('float32', [[[[1, 1, 0, 0, 5, 6]]]]) })).y)
    const expected = [Math.cos(1), Math.cos(2), Math.sin(1), Math.sin(2), 5, 6]
    for (const [i, value] of expected.entries()) expect(y[i]).toBeCloseTo(value, 6)
    await engine.dispose()
  })
})
