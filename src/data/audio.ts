/** @file Recordings: WAV files as samples. */

/** A recording of one channel. */
export interface Waveform {
  /** From -1 to 1; of several channels the mean. */
  samples: Float32Array
  /** Samples a second. */
  samplingRate: number
  /** How many channels the file had. */
  channels: number
}

/** How the samples of a file are stored. */
interface WaveFormat {
  encoding: number
  channels: number
  samplingRate: number
  bitsPerSample: number
}

const PCM = 1
const FLOAT = 3
const EXTENSIBLE = 0xfffe

/** Encodings that are met and not read. */
const OTHERS: Readonly<Record<number, string>> = {
  2: 'Microsoft ADPCM',
  6: 'A-law',
  7: 'µ-law',
  17: 'IMA ADPCM',
  49: 'GSM 6.10',
  85: 'MP3',
  255: 'AAC',
}

/** The length that programs write which do not know it yet. */
const UNKNOWN_LENGTH = 0xffffffff

const WAY_OUT = 'Convert it once, for example with: ffmpeg -i input -ac 1 -ar 16000 -c:a pcm_s16le output.wav'

/**
 * Reads a WAV file of integers of 8, 16, 24 or 32 bits, or of floating-point numbers of 32 or 64 bits. The sampling rate
 * stays what it is; {@link resample} gives another.
 *
 * @throws when the bytes are no WAV file, end too early, or hold samples of another kind
 * @example
 * const recording = readWav(await readFile('speech.wav'))
 */
export function readWav(bytes: Uint8Array): Waveform {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const name = (at: number) => String.fromCharCode(...bytes.subarray(at, at + 4))
  if (bytes.length < 12 || name(0) !== 'RIFF' || name(8) !== 'WAVE') {
    throw new Error(`Could not read a recording: the bytes are no WAV file ("RIFF" ... "WAVE"). ${WAY_OUT}`)
  }
  let format: WaveFormat | undefined
  for (let at = 12; at + 8 <= bytes.length; ) {
    const [chunk, told] = [name(at), view.getUint32(at + 4, true)]
    const start = at + 8
    const length = chunk === 'data' && told === UNKNOWN_LENGTH ? bytes.length - start : told
    if (start + length > bytes.length) {
      throw new Error(
        `Could not read a recording: its part "${chunk.trim()}" has ${length} bytes, of which ` +
          `${bytes.length - start} are there. The file is not complete.`,
      )
    }
    if (chunk === 'fmt ') format = readFormat(view, start, length)
    if (chunk === 'data') return readSamples(view, start, length, format)
    // Parts begin at even places.
    at = start + length + (length % 2)
  }
  throw new Error('Could not read a recording: the WAV file has no samples (no part "data").')
}

function readFormat(view: DataView, at: number, length: number): WaveFormat {
  if (length < 16) throw new Error(`Could not read a recording: its format has ${length} bytes, expected 16 or more.`)
  const encoding = view.getUint16(at, true)
  return {
    encoding: encoding === EXTENSIBLE && length >= 26 ? view.getUint16(at + 24, true) : encoding,
    channels: view.getUint16(at + 2, true),
    samplingRate: view.getUint32(at + 4, true),
    bitsPerSample: view.getUint16(at + 14, true),
  }
}

function readSamples(view: DataView, start: number, length: number, format: WaveFormat | undefined): Waveform {
  if (!format) throw new Error('Could not read a recording: its samples come before their format.')
  const { bitsPerSample, channels, encoding, samplingRate } = format
  const read = sampleReader(view, encoding, bitsPerSample)
  if (!read || channels === 0 || samplingRate === 0) {
    const other = `${OTHERS[encoding] ?? 'an unknown encoding'} (encoding ${encoding})`
    const kind = encoding === PCM ? 'integers' : encoding === FLOAT ? 'floating-point numbers' : other
    throw new Error(
      `Could not read a recording: ${channels} channels of ${bitsPerSample}-bit ${kind} at ${samplingRate} Hz; expected ` +
        `integers of 8, 16, 24 or 32 bits, or floating-point numbers of 32 or 64 bits. ${WAY_OUT}`,
    )
  }
  const width = bitsPerSample / 8
  const samples = new Float32Array(Math.floor(length / (width * channels)))
  for (let i = 0; i < samples.length; i++) {
    let sum = 0
    for (let channel = 0; channel < channels; channel++) sum += read(start + (i * channels + channel) * width)
    samples[i] = sum / channels
  }
  return { samples, samplingRate, channels }
}

function sampleReader(view: DataView, encoding: number, bits: number): ((at: number) => number) | undefined {
  // Integers of 8 bits have no sign: silence is 128.
  if (encoding === PCM && bits === 8) return at => (view.getUint8(at) - 128) / 128
  if (encoding === PCM && bits === 16) return at => view.getInt16(at, true) / 32768
  if (encoding === PCM && bits === 24) return at => (view.getInt8(at + 2) * 65536 + view.getUint16(at, true)) / 8388608
  if (encoding === PCM && bits === 32) return at => view.getInt32(at, true) / 2147483648
  if (encoding === FLOAT && bits === 32) return at => view.getFloat32(at, true)
  if (encoding === FLOAT && bits === 64) return at => view.getFloat64(at, true)
  return undefined
}
