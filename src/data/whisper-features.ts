/** @file From recordings to the logarithmic mel spectrograms that Whisper hears. */
import type { Waveform } from './audio.ts'
import type { FloatTensor } from './float-tensor.ts'
import { PowerSpectrum } from './fourier.ts'
import { type MelBand, melBands } from './mel.ts'
import { openPreprocessor, PreprocessorReader } from './preprocessor-config.ts'

/** The lowest power that counts, and how far below the loudest band (in powers of ten) all is the same silence. */
const SILENCE = 1e-10
const DYNAMIC_RANGE = 8

/** The highest frequency in a spectrogram, in Hz. */
const HIGHEST = 8000

/** The settings of a {@link WhisperFeatureExtractor}, with the names and defaults of preprocessor_config.json. */
export interface WhisperFeatureOptions {
  /** Bands of a spectrogram (80). */
  featureSize?: number
  /** Samples a second (16000). */
  samplingRate?: number
  /** Samples from one frame to the next (160). */
  hopLength?: number
  /** Seconds that the model hears at once (30). */
  chunkLength?: number
  /** Samples of a frame (400). */
  nFft?: number
  /** What shorter recordings are filled up with (0). */
  paddingValue?: number
}

/**
 * Makes what Whisper hears of recordings: power spectra of overlapping frames, summed in bands of the mel scale, as
 * logarithms. Every recording is filled up with silence to the length that the model hears at once.
 *
 * @example
 * const extractor = await WhisperFeatureExtractor.fromPretrained(folder)
 * const { newTokens } = await model.generate(extractor.extract(readWav(bytes)))
 */
export class WhisperFeatureExtractor {
  readonly featureSize: number
  readonly samplingRate: number
  readonly hopLength: number
  readonly chunkLength: number
  readonly nFft: number
  readonly paddingValue: number
  readonly #bands: readonly MelBand[]
  readonly #window: Float64Array

  constructor(options: WhisperFeatureOptions = {}) {
    this.featureSize = options.featureSize ?? 80
    this.samplingRate = options.samplingRate ?? 16_000
    this.hopLength = options.hopLength ?? 160
    this.chunkLength = options.chunkLength ?? 30
    this.nFft = options.nFft ?? 400
    this.paddingValue = options.paddingValue ?? 0
    const frequencies = Math.floor(this.nFft / 2) + 1
    this.#bands = melBands(this.featureSize, frequencies, this.samplingRate, [0, HIGHEST])
    // Hann's window, one sample of a period left away.
    this.#window = Float64Array.from(
      { length: this.nFft },
      (_, i) => 0.5 - 0.5 * Math.cos((2 * Math.PI * i) / this.nFft),
    )
  }

  /** The settings in a model's folder. Node only. Throws when there are none, or they are not computed. */
  static async fromPretrained(folder: string): Promise<WhisperFeatureExtractor> {
    return WhisperFeatureExtractor.#read(await openPreprocessor(folder, 'feature_extractor'))
  }

  /** The settings of a parsed preprocessor_config.json; `label` names it in errors. */
  static fromJSON(json: unknown, label = 'preprocessor_config.json'): WhisperFeatureExtractor {
    return WhisperFeatureExtractor.#read(new PreprocessorReader(json, label))
  }

  static #read(reader: PreprocessorReader): WhisperFeatureExtractor {
    const type = reader.json.feature_extractor_type
    if (type !== undefined && type !== 'WhisperFeatureExtractor') {
      reader.fail('feature_extractor_type', '"WhisperFeatureExtractor"')
    }
    if (reader.number('dither', 0) !== 0) reader.fail('dither', '0: no noise is added')
    return new WhisperFeatureExtractor({
      featureSize: reader.count('feature_size', 80),
      samplingRate: reader.count('sampling_rate', 16_000),
      hopLength: reader.count('hop_length', 160),
      chunkLength: reader.count('chunk_length', 30),
      nFft: reader.count('n_fft', 400),
      paddingValue: reader.number('padding_value', 0),
    })
  }

  /** Frames of a spectrogram. */
  get frames(): number {
    return Math.floor((this.chunkLength * this.samplingRate) / this.hopLength)
  }

  /**
   * The spectrograms of recordings, `[recordings, bands, frames]`, under the name of the model's input.
   *
   * @param options.truncation cut recordings that are longer than the model hears at once, in place of refusing them
   * @throws when a recording has another sampling rate, is empty, or is too long
   */
  extract(
    recordings: Waveform | readonly Waveform[],
    options: { truncation?: boolean } = {},
  ): { input_features: FloatTensor } {
    const list = Array.isArray(recordings) ? (recordings as readonly Waveform[]) : [recordings as Waveform]
    const { featureSize, frames } = this
    const data = new Float32Array(list.length * featureSize * frames)
    for (const [i, recording] of list.entries()) {
      this.#check(recording, list.length > 1 ? `recording ${i}` : 'the recording', options.truncation ?? false)
      this.#spectrogram(recording.samples, data.subarray(i * featureSize * frames, (i + 1) * featureSize * frames))
    }
    return { input_features: { dtype: 'float32', dims: [list.length, featureSize, frames], data } }
  }

  #check({ samples, samplingRate }: Waveform, name: string, truncation: boolean): void {
    if (samplingRate !== this.samplingRate) {
      throw new Error(
        `Could not make a spectrogram: ${name} has ${samplingRate} samples a second, the model was made for ` +
          `${this.samplingRate}, and recordings are not resampled here. Convert it once, for example with: ` +
          `ffmpeg -i input -ac 1 -ar ${this.samplingRate} -c:a pcm_s16le output.wav`,
      )
    }
    if (samples.length === 0) throw new Error(`Could not make a spectrogram: ${name} is empty.`)
    const seconds = samples.length / samplingRate
    if (truncation || seconds <= this.chunkLength) return
    throw new Error(
      `Could not make a spectrogram: ${name} lasts ${seconds.toFixed(2)} seconds, the model hears ${this.chunkLength} at ` +
        'once. Cut it into pieces, or give truncation: true to hear its beginning.',
    )
  }

  /** Writes the spectrogram `[bands, frames]` of one recording. */
  #spectrogram(samples: Float32Array, result: Float32Array): void {
    const { frames, hopLength, nFft } = this
    const length = this.chunkLength * this.samplingRate
    const half = Math.floor(nFft / 2)
    // Beyond both ends the signal goes on as its mirror image.
    const at = (i: number) => {
      const inside = i < 0 ? -i : i >= length ? 2 * (length - 1) - i : i
      return inside < samples.length ? samples[inside] : this.paddingValue
    }
    const spectrum = new PowerSpectrum(nFft)
    const frame = new Float64Array(nFft)
    const power = new Float64Array(half + 1)
    let loudest = Number.NEGATIVE_INFINITY
    for (let t = 0; t < frames; t++) {
      let isSilent = true
      for (let i = 0; i < nFft; i++) {
        frame[i] = at(t * hopLength + i - half) * this.#window[i]
        isSilent &&= frame[i] === 0
      }
      if (isSilent) power.fill(0)
      else spectrum.compute(frame, power)
      for (const [band, { first, weights }] of this.#bands.entries()) {
        let sum = 0
        for (let i = 0; i < weights.length; i++) sum += weights[i] * power[first + i]
        const level = Math.log10(Math.max(sum, SILENCE))
        loudest = Math.max(loudest, level)
        result[band * frames + t] = level
      }
    }
    for (let i = 0; i < result.length; i++) result[i] = (Math.max(result[i], loudest - DYNAMIC_RANGE) + 4) / 4
  }
}
