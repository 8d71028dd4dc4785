/** @file Reading WAV files. */
import { describe, expect, it } from 'vitest'
import { readWav } from './index.ts'

interface Parts {
  encoding?: number
  bits?: number
  channels?: number
  rate?: number
  /** A part between the format and the samples. */
  between?: Uint8Array
  data: Uint8Array
}

function wav({ encoding = 1, bits = 16, channels = 1, rate = 16_000, between, data }: Parts): Uint8Array {
  const format = new DataView(new ArrayBuffer(16))
  format.setUint16(0, encoding, true)
  format.setUint16(2, channels, true)
  format.setUint32(4, rate, true)
  format.setUint32(8, (rate * channels * bits) / 8, true)
  format.setUint16(12, (channels * bits) / 8, true)
  format.setUint16(14, bits, true)
  const chunk = (name: string, body: Uint8Array) => {
    const length = new DataView(new ArrayBuffer(4))
    length.setUint32(0, body.length, true)
    return [
      ...new TextEncoder().encode(name),
      ...new Uint8Array(length.buffer),
      ...body,
      ...(body.length % 2 ? [0] : []),
    ]
  }
  const parts = [
    ...chunk('fmt ', new Uint8Array(format.buffer)),
    ...(between ? chunk('LIST', between) : []),
    ...chunk('data', data),
  ]
  return Uint8Array.from(chunk('RIFF', Uint8Array.from([...new TextEncoder().encode('WAVE'), ...parts])))
}

const bytes = (values: Int16Array | Float32Array | Float64Array) => new Uint8Array(values.buffer)

describe('readWav', () => {
  it('reads 16-bit integers, wherever they begin', () => {
    const file = wav({ data: bytes(Int16Array.of(0, 16384, -32768, 32767)), between: Uint8Array.of(1, 2, 3) })
    const shifted = new Uint8Array(file.length + 1)
    shifted.set(file, 1)
    for (const at of [file, shifted.subarray(1)]) {
      const { samples, samplingRate, channels } = readWav(at)
      expect([...samples]).toEqual([0, 0.5, -1, Math.fround(32767 / 32768)])
      expect({ samplingRate, channels }).toEqual({ samplingRate: 16_000, channels: 1 })
    }
  })

  it('reads floating-point numbers of both widths', () => {
    const values = [0.25, -0.75, 1]
    const single = wav({ encoding: 3, bits: 32, rate: 8000, data: bytes(Float32Array.from(values)) })
    const double = wav({ encoding: 3, bits: 64, rate: 8000, data: bytes(Float64Array.from(values)) })
    for (const file of [single, double]) {
      expect(readWav(file)).toEqual({ samples: Float32Array.from(values), samplingRate: 8000, channels: 1 })
    }
  })

  it('reads integers of 8, 24 and 32 bits', () => {
    const expected = [0, 0.5, -1, -0.25]
    const eight = wav({ bits: 8, data: Uint8Array.of(128, 192, 0, 96) })
    const long = wav({ bits: 32, data: new Uint8Array(Int32Array.from(expected, x => x * 2 ** 31).buffer) })
    const three = expected.flatMap(x => {
      const value = x * 2 ** 23
      return [value & 255, (value >> 8) & 255, (value >> 16) & 255]
    })
    for (const file of [eight, long, wav({ bits: 24, data: Uint8Array.from(three) })]) {
      expect([...readWav(file).samples]).toEqual(expected)
    }
  })

  it('reads to the end where a program wrote no length', () => {
    const file = wav({ data: bytes(Int16Array.of(16384, -16384)) })
    new DataView(file.buffer).setUint32(file.length - 8, 0xffffffff, true)
    expect([...readWav(file).samples]).toEqual([0.5, -0.5])
  })

  it('takes the mean of several channels', () => {
    const file = wav({ channels: 2, data: bytes(Int16Array.of(16384, 0, -16384, 16384)) })
    expect([...readWav(file).samples]).toEqual([0.25, 0])
  })

  it('refuses other kinds of samples, and files that are none or not complete, with the way out', () => {
    expect(() => readWav(wav({ bits: 12, data: new Uint8Array(6) }))).toThrow(/12-bit integers.*ffmpeg/)
    expect(() => readWav(wav({ encoding: 17, bits: 4, data: new Uint8Array(6) }))).toThrow(/IMA ADPCM.*encoding 17/)
    expect(() => readWav(wav({ encoding: 7, bits: 8, data: new Uint8Array(6) }))).toThrow(/µ-law.*ffmpeg/)
    expect(() => readWav(wav({ encoding: 99, bits: 8, data: new Uint8Array(6) }))).toThrow(/unknown encoding.*99/)
    expect(() => readWav(new TextEncoder().encode('ID3 and so on, an MP3'))).toThrow(/no WAV file.*ffmpeg/)
    expect(() => readWav(wav({ data: new Uint8Array(64) }).subarray(0, 60))).toThrow(/"data" has 64 bytes, of which 16/)
    expect(() => readWav(wav({ data: new Uint8Array(0) }).subarray(0, 36))).toThrow(/no samples/)
  })
})
