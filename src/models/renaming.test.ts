/** @file Names of modules in memory and in checkpoints. */
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { temporaryFolder } from '../../test/temporary.ts'
import { parseSafetensors } from '../weights/index.ts'
import { renaming } from './renaming.ts'
import { AUTO_CLASSES, describeOracleModels } from './testing/oracle.ts'

describe('renaming', () => {
  const { toCurrent, toCheckpoint } = renaming([
    ['layers.#.mlp.fc1', 'encoder.layer.#.intermediate.dense'],
    ['layers.#', 'encoder.layer.#'],
    ['lm_head', 'embed_out'],
  ])
  const pairs = [
    ['vit.layers.12.mlp.fc1.weight', 'vit.encoder.layer.12.intermediate.dense.weight'],
    ['layers.0', 'encoder.layer.0'],
    ['vit.layers.3.norm.bias', 'vit.encoder.layer.3.norm.bias'],
    ['lm_head.weight', 'embed_out.weight'],
  ]

  it.each(pairs)('calls %s in checkpoints %s, and back', (current, inCheckpoint) => {
    expect(toCheckpoint(current)).toBe(inCheckpoint)
    expect(toCurrent(inCheckpoint)).toBe(current)
  })

  it('leaves names that are translated already, and others that only look alike', () => {
    for (const [current, inCheckpoint] of pairs) {
      expect(toCurrent(current)).toBe(current)
      expect(toCheckpoint(inCheckpoint)).toBe(inCheckpoint)
    }
    for (const name of ['sublayers.0.norm', 'layers', 'my_lm_head.weight', 'lm_heads', '']) {
      expect([toCheckpoint(name), toCurrent(name)]).toEqual([name, name])
    }
  })
})

describeOracleModels((name, folder, { kind }) => {
  it(`oracle: ${name} is saved as Transformers saves it, and loads again from its own file`, async () => {
    const saved = await temporaryFolder()
    const model = await AUTO_CLASSES[kind].fromPretrained(folder, { onWarning: () => {} })
    await model.savePretrained(saved)
    const read = (of: string) => {
      const { tensors } = parseSafetensors(readFileSync(join(of, 'model.safetensors')))
      const digest = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex')
      return [...tensors].map(([key, { dtype, shape, bytes }]) => `${key} ${dtype} ${shape} ${digest(bytes)}`).sort()
    }
    const expected = read(folder)
    expect(read(saved)).toEqual(expected)

    // Transformers refuses a decimal point in numbers that it takes for integers.
    const decimals = (of: string) => readFileSync(join(of, 'config.json'), 'utf8').match(/"\w+": \d+\.0\b/g) ?? []
    expect(decimals(folder)).toEqual(expect.arrayContaining(decimals(saved)))

    const again = await AUTO_CLASSES[kind].fromPretrained(saved, { onWarning: () => {} })
    expect([again.missingParameters, again.unexpectedParameters]).toEqual([[], []])
    // The file that it reads from is replaced while it is written.
    for (let i = 0; i < 2; i++) await again.savePretrained(saved)
    expect(read(saved)).toEqual(expected)
  })
})
