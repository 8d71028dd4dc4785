/** @file The helpers that every layer uses. */
import { readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { temporaryFolder } from '../../test/temporary.ts'
import { makeFolder, writeFileAtomic } from './files.ts'
import { didYouMean, editDistance, nearest } from './nearest.ts'
import { hashString, Random } from './random.ts'

describe('Random', () => {
  it('repeats itself for a seed and differs between seeds', () => {
    const draw = (seed: number) =>
      Array.from(
        { length: 8 },
        (
          (random: Random) => () =>
            random.uint32()
        )(new Random(seed)),
      )
    expect(draw(1)).toEqual(draw(1))
    expect(draw(1)).not.toEqual(draw(2))
    expect(draw(1)).not.toEqual(draw(1 + 2 ** 32))
  })

  it('continues where its state was taken, between the two halves of a normal pair too', () => {
    fc.assert(
      fc.property(fc.integer(), fc.nat(5), (seed, skipped) => {
        const random = new Random(seed)
        for (let i = 0; i < skipped; i++) random.normal()
        const copy = Random.restore(random.state())
        const draw = (r: Random) => [r.normal(), r.uniform(), r.normal(), r.integer(10)]
        expect(draw(copy)).toEqual(draw(random))
      }),
    )
  })

  it('is uniform in [0, 1) and normal with mean 0 and deviation 1', () => {
    const random = new Random(5)
    const uniform = Array.from({ length: 20_000 }, () => random.uniform())
    const normal = Array.from({ length: 20_000 }, () => random.normal())
    const mean = (values: number[]) => values.reduce((a, b) => a + b, 0) / values.length
    expect(Math.min(...uniform)).toBeGreaterThanOrEqual(0)
    expect(Math.max(...uniform)).toBeLessThan(1)
    expect(mean(uniform)).toBeCloseTo(0.5, 1.5)
    expect(mean(normal)).toBeCloseTo(0, 1)
    expect(mean(normal.map(x => x * x))).toBeCloseTo(1, 1)
  })

  it('shuffles without losing anything', () => {
    fc.assert(
      fc.property(fc.array(fc.integer()), fc.integer(), (items, seed) => {
        const sorted = (list: number[]) => [...list].sort((a, b) => a - b)
        expect(sorted(new Random(seed).shuffle([...items]))).toEqual(sorted(items))
      }),
    )
  })

  it('forks streams by name', () => {
    const [a, b] = [new Random(1).fork('a'), new Random(1).fork('b')]
    expect(a.uint32()).not.toBe(b.uint32())
    expect(hashString('a')).not.toBe(hashString('b'))
  })
})

describe('nearest names', () => {
  it('finds the one meant', () => {
    expect(nearest('v_porj', ['q_proj', 'v_proj', 'mlp'])[0]).toBe('v_proj')
    expect(nearest('proj', ['mlp', 'q_proj'])).toEqual(['q_proj'])
    expect(nearest('layers.1.dence', ['layers', 'layers.1', 'layers.1.dense'])[0]).toBe('layers.1.dense')
    expect(didYouMean('xyz', ['abcdefgh'])).toBe('')
    expect(didYouMean('lr', ['lr_', 'other'])).toBe(' Did you mean "lr_"?')
  })

  it('measures a distance: zero for equal strings only, the same both ways', () => {
    fc.assert(
      fc.property(fc.string(), fc.string(), (a, b) => {
        expect(editDistance(a, b)).toBe(editDistance(b, a))
        expect(editDistance(a, b) === 0).toBe(a === b)
        expect(editDistance(a, b)).toBeLessThanOrEqual(Math.max(a.length, b.length))
      }),
    )
  })
})

describe('atomic writes', () => {
  it('replace a file whole and leave nothing else', async () => {
    const folder = await temporaryFolder({ 'a.txt': 'old' })
    await writeFileAtomic(join(folder, 'a.txt'), 'new')
    await writeFileAtomic(join(folder, 'deep/b.bin'), [Uint8Array.of(1, 2), Uint8Array.of(3)])
    expect(await readFile(join(folder, 'a.txt'), 'utf8')).toBe('new')
    expect([...(await readFile(join(folder, 'deep/b.bin')))]).toEqual([1, 2, 3])
    expect(await readdir(folder)).toEqual(['a.txt', 'deep'])
  })

  it('that fail leave the old file and no other', async () => {
    const folder = await temporaryFolder({ 'a.txt': 'old' })
    async function* broken() {
      yield Uint8Array.of(1)
      throw new Error('the disk is full')
    }
    await expect(writeFileAtomic(join(folder, 'a.txt'), broken())).rejects.toThrow(
      /Could not write .*a\.txt: the disk is full/,
    )
    expect(await readFile(join(folder, 'a.txt'), 'utf8')).toBe('old')
    expect(await readdir(folder)).toEqual(['a.txt'])
    await writeFile(join(folder, 'file'), '')
    await expect(writeFileAtomic(join(folder, 'file', 'x'), 'y')).rejects.toThrow()
  })
})

describe('makeFolder', () => {
  it('makes all that is missing, and says whether it made any', async () => {
    const parent = await temporaryFolder()
    const path = join(parent, 'a', 'b')
    expect(await Promise.all([makeFolder(path), makeFolder(path)]).then(made => made.includes(true))).toBe(true)
    expect(await makeFolder(path)).toBe(false)
  })

  it.skipIf(process.platform !== 'linux')('ends with an error where no folder can be made', async () => {
    await expect(makeFolder('/proc/peft-ts/out')).rejects.toThrow(/ENOENT|EACCES/)
  })
})
