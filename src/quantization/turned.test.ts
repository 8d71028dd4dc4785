/** @file Matrices that are held as signed bytes too, both ways round, for products in 8-bit arithmetic. */
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { temporaryFolder } from '../../test/temporary.ts'
import { asTypedArray, Checkpoint, fromFloat32, readSource, serializeSafetensors } from '../weights/index.ts'
import { explainMisfit, packValues, QuantizedFile, QuantizedTensor, quantizationOf, quantizedEntry } from './index.ts'

const [rows, columns] = [700, 512]
const layout = {
  ...{ scheme: 'int8' as const, rows, columns, blockSize: 128 },
  ...{ symmetric: true, transposed: false, turned: true },
} as const
const values = Float32Array.from({ length: rows * columns }, (_, i) => Math.sin(i) * (1 + (i % 977) / 100))

describe('int8 with one scale an output', () => {
  it('is what the name int8-channel stands for, and takes no block size', () => {
    expect(quantizationOf('int8-channel').linear).toMatchObject({ scheme: 'int8', perRow: true, turned: true })
    expect(() => quantizationOf({ scheme: 'int8-channel', blockSize: 32 })).toThrow(
      'blockSize is 32, and int8-channel has one scale for each output',
    )
  })

  it.each([false, true])(
    'holds the same values both ways, written in pieces as at once (transposed: %s)',
    async transposed => {
      const own = { ...layout, transposed }
      const shape = transposed ? [columns, rows] : [rows, columns]
      const bytes = fromFloat32('F32', values)
      const folder = await temporaryFolder({
        'model.safetensors': serializeSafetensors([{ name: 'w', dtype: 'F32', shape, bytes }]),
      })
      await using checkpoint = await Checkpoint.open(folder)
      const entry = quantizedEntry(checkpoint, 'w', { layout: own, perRow: true })
      const file = await QuantizedFile.write(join(folder, 'packed.safetensors'), [entry], [])
      const tensor = file.tensor('w', transposed)
      const parts = await Promise.all(tensor.parts.map(({ source }) => readSource(source)))
      const [packed, scales, turned, signed, rowScales] = parts
      const [all, one] = [asTypedArray('F32', scales), asTypedArray('F32', rowScales)]
      for (let i = 0; i < packed.length; i += 997) {
        const [row, column] = [Math.floor(i / columns), i % columns]
        const value = packed[i] - 128
        expect(Math.abs(value)).toBeLessThanOrEqual(63)
        expect([turned[column * rows + row], signed[i]]).toEqual([value & 255, value & 255])
        expect(one[row]).toBe(all[Math.floor(i / layout.blockSize)])
      }
      if (transposed) return
      const atOnce = QuantizedTensor.from('w', own, packValues(values, own, { perRow: true }))
      for (const [at, { source }] of atOnce.parts.entries()) {
        expect(Buffer.compare(await readSource(source), parts[at])).toBe(0)
      }
    },
  )

  it('is refused for schemes that no such product reads', () => {
    expect(explainMisfit({ ...layout, scheme: 'int4' })).toContain('only symmetric int8')
    expect(explainMisfit({ ...layout, symmetric: false })).toContain('only symmetric int8')
  })
})
