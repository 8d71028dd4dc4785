/** @file Rows of recordings and transcripts into features of Whisper. */
import { readWav, type Waveform } from './audio.ts'
import { ByteStore } from './byte-store.ts'
import { Dataset, type Row } from './dataset.ts'
import { readBytes } from './decode-image.ts'
import { checkOverlong, type Overlong, type TooLong, textCell } from './features.ts'
import { type BadRow, inParallel, type MediaOptions, type PreparedMedia, refuseBad } from './media.ts'
import { count } from './messages.ts'
import { resample } from './resample.ts'
import type { Tokenizer } from './tokenizer.ts'
import type { WhisperFeatureExtractor } from './whisper-features.ts'

/** The spectrogram of a recording, without the silence that fills it up. */
export interface PreparedSpectrogram {
  bands: number
  /** Frames with the silence. */
  frames: number
  /** The value of silence. */
  silence: number
  /** `[bands, frames]`, with fewer frames: those before the silence. It must not be changed. */
  read(): Float32Array
}

/** One recording to write down. */
export interface SpeechFeature {
  spectrogram: PreparedSpectrogram
  /** What the decoder shall say: the prompt without its start, the text, the token that ends it. */
  labels?: number[]
}

/** Options of {@link prepareSpeech}. */
export interface SpeechOptions extends MediaOptions {
  /** Column of the recording: the path of a WAV file, its bytes, or a `Waveform`. Default 'audio'. */
  audioColumn?: string
  /** Column of the transcript. Default 'text'. */
  textColumn?: string
  /** What the decoder reads first; see {@link whisperPrompt}. Needed for transcripts, and so is `tokenizer`. */
  prompt?: readonly number[]
  tokenizer?: Tokenizer
  /** The most tokens that the decoder says: Whisper's `max_target_positions`. */
  maxLength?: number
  /**
   * What happens to recordings longer than the model hears at once, and to texts of more tokens than `maxLength`: refuse
   * the data set, leave them out, or cut them. A cut recording keeps its whole text. Default 'error'.
   */
  overlong?: Overlong
}

/** Recordings ready for Whisper. */
export interface PreparedSpeech extends PreparedMedia<SpeechFeature> {
  /** How many recordings had another sampling rate than the model's, and were resampled. */
  resampled: number
}

/** What is too long of a row. */
interface Excess extends TooLong {
  what: string
}

/**
 * Reads recordings, brings them to the model's sampling rate and one channel, and makes their spectrograms. These are kept
 * without silence in memory, or (from `memoryLimit` on) in a temporary file.
 *
 * @param source rows of `{ audio, text }`
 * @throws when recordings cannot be read (unless `skipBad`), are too long (unless `overlong` says otherwise), or have no
 * text
 * @example
 * const extractor = await WhisperFeatureExtractor.fromPretrained('./whisper')
 * const { tokens } = await openWhisperPrompt('./whisper', tokenizer, { language: 'en' })
 * const trainDataset = await prepareSpeech(rows, extractor, { tokenizer, prompt: tokens })
 */
export async function prepareSpeech(
  source: Dataset | readonly Row[],
  extractor: WhisperFeatureExtractor,
  options: SpeechOptions = {},
): Promise<PreparedSpeech> {
  const { audioColumn = 'audio', hasTargets = true, skipBad = false, overlong = 'error' } = options
  checkOverlong(overlong)
  const rows = [...(source instanceof Dataset ? source : new Dataset(source))]
  const excess: Excess[] = []
  const labels = rows.map((row, i) => (hasTargets ? labelsOf(row, i, options, excess) : undefined))
  const store = await ByteStore.create(options.memoryLimit)
  const bad: BadRow[] = []
  let resampled = 0
  const features: (SpeechFeature | undefined)[] = await inParallel(rows, options, async (row, i) => {
    const value = row[audioColumn]
    const name = typeof value === 'string' ? value : `row ${i}`
    try {
      const recording = await recordingOf(value, i, audioColumn)
      if (recording.samplingRate !== extractor.samplingRate) resampled++
      const ready = resample(recording, extractor.samplingRate)
      const seconds = ready.samples.length / ready.samplingRate
      if (seconds > extractor.chunkLength) {
        excess.push({ index: i, length: seconds, what: `${name} lasts ${seconds.toFixed(1)} seconds` })
        if (overlong !== 'truncate') return undefined
      }
      const spectrogram = spectrogramOf(ready, extractor, store)
      return { spectrogram, ...(labels[i] && { labels: labels[i] }) }
    } catch (cause) {
      const { message } = cause as Error
      bad.push({ row: i, name, reason: message.includes(name) ? message : `${name}: ${message}` })
      return undefined
    }
  })
  excess.sort((a, b) => a.index - b.index)
  if (overlong === 'error') refuseExcess(excess, rows.length, extractor, options)
  const left = overlong === 'skip' ? new Set(excess.map(({ index }) => index)) : undefined
  refuseBad(bad, rows.length, 'recording', skipBad)
  const kept = features.flatMap((feature, row) => (feature && !left?.has(row) ? [{ feature, row }] : []))
  return {
    features: kept.map(({ feature }) => feature),
    rows: kept.map(({ row }) => row),
    bad,
    tooLong: excess.map(({ index, length }) => ({ index, length })),
    resampled,
  }
}

function labelsOf(
  row: Row,
  index: number,
  { textColumn = 'text', tokenizer, prompt, maxLength = Number.POSITIVE_INFINITY, overlong }: SpeechOptions,
  excess: Excess[],
): number[] {
  if (!tokenizer || !prompt?.length) {
    throw new Error(
      'Transcripts become tokens by a tokenizer and follow a prompt: give tokenizer and prompt (whisperPrompt), or ' +
        'hasTargets: false for recordings without texts.',
    )
  }
  const end = tokenizer.eosTokenId
  if (end === undefined) throw new Error(`${tokenizer.name} has no end-of-text token, which ends transcripts.`)
  const text = textCell(row, textColumn, index)
  if (text.trim() === '') {
    throw new Error(`Row ${index}: its text is empty, so nothing would be learnt. Fill it, or leave the row out.`)
  }
  const tokens = tokenizer.encode(text, { addSpecialTokens: false }).inputIds
  const begin = prompt.slice(1)
  const length = begin.length + tokens.length + 1
  if (length <= maxLength) return [...begin, ...tokens, end]
  if (!excess.some(other => other.index === index)) {
    excess.push({ index, length, what: `the text of row ${index} has ${length} tokens` })
  }
  return overlong === 'truncate' ? [...begin, ...tokens.slice(0, maxLength - begin.length - 1), end] : []
}

async function recordingOf(value: unknown, row: number, column: string): Promise<Waveform> {
  if (typeof value === 'string') return checked(readWav(await readBytes(value, 'a recording')))
  if (value instanceof Uint8Array) return checked(readWav(value))
  if (typeof value === 'object' && value !== null && 'samples' in value) return checked(value as Waveform)
  const got = value === undefined ? 'missing' : JSON.stringify(value)
  throw new Error(
    `Row ${row}: the recording in column "${column}" is ${got}; expected the path of a WAV file, its bytes, or a Waveform.`,
  )
}

function checked(recording: Waveform): Waveform {
  if (recording.samples.length === 0) throw new Error('The recording is empty: it has no samples.')
  if (recording.samples.every(Number.isFinite)) return recording
  throw new Error('The recording holds samples that are no finite numbers.')
}

/** The spectrogram, with the frames of silence at its end taken away. */
function spectrogramOf(recording: Waveform, extractor: WhisperFeatureExtractor, store: ByteStore): PreparedSpectrogram {
  const { data, dims } = extractor.extract(recording, { truncation: true }).input_features
  const [, bands, frames] = dims
  const silence = data[data.length - 1]
  const isSilent = (frame: number) => {
    for (let band = 0; band < bands; band++) if (data[band * frames + frame] !== silence) return false
    return true
  }
  let used = frames
  while (used > 1 && isSilent(used - 1)) used--
  const short = new Float32Array(bands * used)
  for (let band = 0; band < bands; band++) short.set(data.subarray(band * frames, band * frames + used), band * used)
  const read = store.put(new Uint8Array(short.buffer))
  return { bands, frames, silence, read: () => new Float32Array(read().buffer) }
}

function refuseExcess(
  excess: readonly Excess[],
  total: number,
  { chunkLength }: WhisperFeatureExtractor,
  { maxLength }: SpeechOptions,
): void {
  if (excess.length === 0) return
  const shown = excess.slice(0, 5).map(({ what }) => what)
  throw new Error(
    `${excess.length} of ${count(total, 'recording')} ${excess.length === 1 ? 'is' : 'are'} too long for the model, which ` +
      `hears ${chunkLength} seconds at once${maxLength === undefined ? '' : ` and says at most ${maxLength} tokens`}: ` +
      `${shown.join(', ')}${excess.length > shown.length ? ', ...' : ''}. Ways out: cut them into pieces, leave them out ` +
      `with overlong: 'skip', or take their beginnings with overlong: 'truncate'.`,
  )
}
