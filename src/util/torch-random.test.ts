/** @file PyTorch's generator: the numbers expected are those of torch 2.15 on the CPU. */
import { createHash } from 'node:crypto'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { oracleCase, skippable } from '../../test/shared.ts'
import { SafetensorsFile } from '../weights/index.ts'
import { fusedMultiplyAdd, logFloat32, sinCosFloat32 } from './single-precision.ts'
import { TorchRandom } from './torch-random.ts'

const fingerprint = (data: ArrayBufferView) =>
  createHash('sha256')
    .update(new Uint8Array(data.buffer, data.byteOffset, data.byteLength))
    .digest('hex')
    .slice(0, 16)

describe('TorchRandom gives what torch gives', () => {
  it('for uniform numbers', () => {
    const drawn = [...new TorchRandom(42).uniform(4, -2, 3)]
    expect(drawn).toEqual([2.411346435546875, 2.5750198364257812, -0.08568120002746582, 2.7965283393859863])
  })

  it('for a few normal numbers, of which the second of a pair waits for the next call', () => {
    const random = new TorchRandom(3)
    expect([...random.normal(3)]).toEqual([0.8032760620117188, 0.17483338713645935, 0.08897809684276581])
    expect([...random.normal(2)]).toEqual([-0.6137180328369141, 0.04618244990706444])
    expect([...random.uniform(2)]).toEqual([0.14984089136123657, 0.40146881341934204])
    expect([...random.normal(20, 2, 0.5).subarray(0, 2)]).toEqual([2.1584882736206055, 2.5529611110687256])
    expect([...random.normal(1)]).toEqual([-1.3682591915130615])
  })

  it('for permutations and integers of narrow and wide ranges', () => {
    expect([...new TorchRandom(7).randperm(10)]).toEqual([5, 0, 3, 4, 1, 7, 9, 6, 8, 2])
    expect(new TorchRandom(7).randint(0, 10, 8)).toEqual([5, 2, 1, 6, 3, 7, 7, 9])
    expect(new TorchRandom(7).randint(-5, 2 ** 40, 2)).toEqual([752589289487, 108678733351])
  })

  it('for seeds of more than 32 bits and below zero', () => {
    expect(new TorchRandom(2 ** 40 + 5).uniform(1)[0]).toBe(0.8302518725395203)
    expect(new TorchRandom(2n ** 63n + 5n).uniform(1)[0]).toBe(0.8302518725395203)
    expect(new TorchRandom(-5).uniform(1)[0]).toBe(0.9308151006698608)
  })

  it('over thousands of numbers, to the bit', () => {
    const random = new TorchRandom(5)
    expect(fingerprint(random.uniform(10_000, -0.37, 1.21))).toBe('6899e343da3366d0')
    expect(fingerprint(random.normal(10_003, 0.1, 0.7))).toBe('2b724be1d64af736')
    expect(fingerprint(random.randperm(10_000))).toBe('befd8121a6fd70f1')
  })
})

describe('TorchRandom refuses', () => {
  const random = new TorchRandom(0)
  it.each([
    ['a fractional seed', () => new TorchRandom(0.5), 'the seed must be an integer, got 0.5'],
    ['a range the wrong way round', () => random.uniform(1, 2, 1), 'from = 2 and to = 1'],
    ['a negative deviation', () => random.normal(1, 0, -1), 'expected std >= 0, got -1'],
    ['an empty range', () => random.randint(3, 3, 1), 'expected integers low < high within 2^53, got 3 and 3'],
    ['a permutation of a fraction', () => random.randperm(1.5), 'got 1.5'],
  ] as const)('%s', (_, draw, message) => {
    expect(draw).toThrow(message)
  })

  it('nothing that is empty', () => {
    expect(random.uniform(0)).toHaveLength(0)
    expect(random.normal(0)).toHaveLength(0)
    expect(random.randperm(0)).toHaveLength(0)
    expect([...random.randperm(1)]).toEqual([0])
  })
})

describe('single precision', () => {
  it('multiplies and adds with one rounding, where two would differ', () => {
    expect(fusedMultiplyAdd(1 + 2 ** -12, 1 + 2 ** -12, -1)).toBe(2 ** -11 + 2 ** -24)
    // Half a unit of the last place but for 2^-70, which float64 loses: the tie would go to the even neighbour.
    const [almostHalf, one] = [2 ** -24 * (1 - 2 ** -23), 1 + 2 ** -23]
    expect(fusedMultiplyAdd(almostHalf, one, 1 + 2 ** -23)).toBe(1 + 2 ** -23)
    expect(fusedMultiplyAdd(-almostHalf, one, 1 + 2 ** -23)).toBe(1 + 2 ** -23)
    expect(fusedMultiplyAdd(almostHalf, -one, -1 - 2 ** -23)).toBe(-1 - 2 ** -23)
  })

  it('agrees with the library in double precision', () => {
    const positive = fc.float({ min: Math.fround(2 ** -24), max: 1, noNaN: true })
    fc.assert(
      fc.property(positive, x => {
        expect(Math.abs(logFloat32(x) - Math.log(x))).toBeLessThan(2e-7 * Math.max(1, Math.abs(Math.log(x))))
        const angle = Math.fround(x * 6.25)
        const [sine, cosine] = sinCosFloat32(angle)
        expect(Math.abs(sine - Math.sin(angle))).toBeLessThan(2e-7)
        expect(Math.abs(cosine - Math.cos(angle))).toBeLessThan(2e-7)
      }),
    )
  })
})

const vera = oracleCase('adapters', 'vera')

describe.skipIf(!vera)(skippable('oracle: vera', !vera && 'no copy of the oracle here'), () => {
  it('oracle: the projections that PEFT drew from the seed 0 are drawn here', async () => {
    await using file = await SafetensorsFile.open(join(vera!, 'adapter_model.safetensors'))
    const random = new TorchRandom(0)
    for (const name of ['base_model.vera_A', 'base_model.vera_B']) {
      const { shape } = file.info(name)
      const bound = Math.sqrt(3) * Math.sqrt(2 / shape[1])
      expect(random.uniform(shape[0] * shape[1], -bound, bound), name).toEqual(await file.readFloat32(name))
    }
  })
})
