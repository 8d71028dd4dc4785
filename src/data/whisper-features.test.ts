/** @file Spectrograms, against those of Transformers. */
import { describe, expect, it } from 'vitest'
import { temporaryFolder } from '../../test/temporary.ts'
import { PowerSpectrum } from './fourier.ts'
import { type Waveform, WhisperFeatureExtractor } from './index.ts'

/** A tone that rises, with some noise. */
const samples = Float32Array.from(
  { length: 12_000 },
  (_, i) => 0.5 * Math.sin((i * i) / 40_000) + (0.01 * (((i * 7919) % 101) - 50)) / 50,
)
const recording: Waveform = { samples, samplingRate: 16_000, channels: 1 }

/** Made with transformers 5.23: `WhisperFeatureExtractor(chunk_length=1)` of this recording; band, frame, value. */
const EXPECTED = [
  ...[
    [0, 0, 0.57815],
    [0, 40, -0.54348],
    [10, 3, -0.06265],
    [20, 30, 0.28844],
  ],
  ...[
    [40, 60, -0.24843],
    [60, 74, -0.1811],
    [79, 75, 0.17865],
    [79, 99, -0.54348],
  ],
]

describe('PowerSpectrum', () => {
  it('is that of the sum that defines it, for lengths with any factors', () => {
    for (const length of [1, 2, 7, 12, 25, 30]) {
      const frame = Float64Array.from({ length }, (_, i) => Math.sin(i * i + 1))
      const power = new Float64Array(Math.floor(length / 2) + 1)
      new PowerSpectrum(length).compute(frame, power)
      for (const [k, got] of power.entries()) {
        const angle = (i: number) => (-2 * Math.PI * k * i) / length
        const real = frame.reduce((sum, x, i) => sum + x * Math.cos(angle(i)), 0)
        const imaginary = frame.reduce((sum, x, i) => sum + x * Math.sin(angle(i)), 0)
        expect(got).toBeCloseTo(real ** 2 + imaginary ** 2, 9)
      }
    }
  })
})

describe('WhisperFeatureExtractor', () => {
  it("gives the values of Transformers'", () => {
    const { input_features } = new WhisperFeatureExtractor({ chunkLength: 1 }).extract(recording)
    expect(input_features.dims).toEqual([1, 80, 100])
    for (const [band, frame, value] of EXPECTED) {
      expect(input_features.data[band * 100 + frame]).toBeCloseTo(value, 4)
    }
    const mean = input_features.data.reduce((a, b) => a + b, 0) / 8000
    expect(mean).toBeCloseTo(-0.1685432493686676, 5)
  })

  it('fills up to 30 seconds, and gives each recording of several what it gets alone', () => {
    const extractor = new WhisperFeatureExtractor({ chunkLength: 1 })
    expect(new WhisperFeatureExtractor().frames).toBe(3000)
    const louder = { ...recording, samples: samples.map(x => 1.5 * x) }
    const { input_features: both } = extractor.extract([recording, louder])
    const alone = [recording, louder].flatMap(one => [...extractor.extract(one).input_features.data])
    expect(both.dims).toEqual([2, 80, 100])
    expect([...both.data]).toEqual(alone)
  })

  it('refuses another sampling rate, nothing, and what is too long unless it may be cut', () => {
    const extractor = new WhisperFeatureExtractor({ chunkLength: 1 })
    const long = { ...recording, samples: new Float32Array(20_000).fill(0.1) }
    expect(() => extractor.extract({ ...recording, samplingRate: 44_100 })).toThrow(/44100.*16000.*ffmpeg/)
    expect(() => extractor.extract({ ...recording, samples: new Float32Array(0) })).toThrow(/empty/)
    expect(() => extractor.extract([recording, long])).toThrow(/recording 1 lasts 1.25 seconds.*truncation: true/)
    const cut = { ...long, samples: long.samples.subarray(0, 16_000) }
    expect(extractor.extract(long, { truncation: true })).toEqual(extractor.extract(cut))
  })

  it('is made as the files say, the older and the newer one', async () => {
    const json = { feature_extractor_type: 'WhisperFeatureExtractor', feature_size: 128, chunk_length: 2 }
    const older = await temporaryFolder({ 'preprocessor_config.json': JSON.stringify(json) })
    const newer = await temporaryFolder({ 'processor_config.json': JSON.stringify({ feature_extractor: json }) })
    for (const folder of [older, newer]) {
      const { featureSize, frames } = await WhisperFeatureExtractor.fromPretrained(folder)
      expect({ featureSize, frames }).toEqual({ featureSize: 128, frames: 200 })
    }
    await expect(WhisperFeatureExtractor.fromPretrained(await temporaryFolder())).rejects.toThrow(
      /no preprocessor_config/,
    )
    expect(() => WhisperFeatureExtractor.fromJSON({ hop_length: 0 })).toThrow(/"hop_length" is 0/)
    expect(() => WhisperFeatureExtractor.fromJSON({ dither: 0.1 })).toThrow(/"dither" is 0.1/)
    expect(() => WhisperFeatureExtractor.fromJSON({ feature_extractor_type: 'ASTFeatureExtractor' })).toThrow(/"AST/)
  })
})
