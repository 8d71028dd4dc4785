/** @file Images and recordings as data of the commands: found, read, and prepared for the model. */
import { extname } from 'node:path'
import {
  hasEvaluationPart,
  IMAGE_EXTENSIONS,
  ImageProcessor,
  loadImageDataset,
  loadSpeechDataset,
  type MediaPart,
  openWhisperPrompt,
  type PreparedImages,
  type PreparedMedia,
  type PreparedSpeech,
  prepareImages,
  prepareSpeech,
  type Tokenizer,
  WhisperFeatureExtractor,
  type WhisperPrompt,
  type WhisperTask,
} from '../data/index.ts'
import type { PretrainedConfig } from '../models/index.ts'
import type { MediaFeature } from '../training/index.ts'
import type { DataFile, DataOptions } from './data.ts'
import { within } from './data.ts'
import { UsageError } from './exit.ts'
import { formatCount } from './format.ts'
import type { LocatedModel } from './model.ts'
import type { Output } from './output.ts'
import { startProgress } from './progress.ts'

/** What a model takes that is no text. */
export type Medium = 'image' | 'speech'

/** The options that images and recordings have. */
export interface MediaCommandOptions extends DataOptions {
  skipBad?: boolean
  /** Mirror images of the training at random. */
  flip?: boolean
  language?: string
  speechTask?: WhisperTask
}

/** What a model takes, by its task and configuration; undefined for text. */
export function mediumOf({ task, config }: Pick<LocatedModel, 'task' | 'config'>): Medium | undefined {
  if (task === 'IMAGE_CLS') return 'image'
  return task === 'SEQ_2_SEQ_LM' && hears(config) ? 'speech' : undefined
}

/** Whether a model takes spectrograms. */
export function hears(config: PretrainedConfig): boolean {
  return 'num_mel_bins' in config
}

/** Refuses options that say something about other data than the model takes. */
export function checkMediaOptions(
  medium: Medium | undefined,
  options: MediaCommandOptions & { format?: string; batchSize?: number },
): void {
  const belongs = (name: string, value: unknown, is: boolean, to: string) => {
    if (value !== undefined && value !== false && !is) throw new UsageError(`${name} belongs to ${to}`)
  }
  belongs('--skip-bad', options.skipBad, medium !== undefined, 'images and recordings')
  belongs('--flip', options.flip, medium === 'image', 'models of images')
  if (options.flip && options.batchSize === 1) {
    throw new UsageError('--flip draws anew for each batch of several images; take --batch-size 2 or more')
  }
  belongs('--language', options.language, medium === 'speech', 'models of speech')
  belongs('--speech-task', options.speechTask, medium === 'speech', 'models of speech')
  belongs('--max-length', options.maxLength, medium !== 'image', 'texts; images have none')
  belongs('--format', options.format, medium === undefined, 'language models')
}

/** Where evaluation data comes from: what was told, else the evaluation part of a folder of images or recordings. */
export async function evaluationPart(options: { data: string; evalData?: string; evalSplit?: number }) {
  if (options.evalData !== undefined || options.evalSplit !== undefined) return options.evalData
  // What is wrong with the path is told when it is read.
  return (await hasEvaluationPart(options.data).catch(() => false)) ? options.data : undefined
}

/** Finds the files of a data set. Rows are `{ image, label }` or `{ audio, text }`. */
export async function readMedia(
  path: string,
  medium: Medium,
  { columns, header, limit }: MediaCommandOptions,
  { part, hasTargets = true, recorded }: { part: MediaPart; hasTargets?: boolean; recorded?: Record<string, string> },
  output: Output,
): Promise<DataFile & { columns: Record<string, string> }> {
  const read = medium === 'image' ? loadImageDataset : loadSpeechDataset
  refuseText(path, medium)
  const how = { columns, usualColumns: recorded, hasHeader: header, limit, part, hasTargets }
  const found = await read(path, how).catch(error => {
    throw within(path, () => {
      throw error
    })
  })
  for (const note of found.notes) output.note(`data: ${note}`)
  if (found.rows.length === 0) throw new Error(`${found.path} holds no rows.`)
  return { path: found.path, rows: found.rows, columns: found.columns }
}

/** A file of the other kind is a mistake that its ending shows. */
function refuseText(path: string, medium: Medium): void {
  const ending = extname(path).toLowerCase()
  const isImage = IMAGE_EXTENSIONS.includes(ending)
  if (isImage === (medium === 'image') || !(isImage || ending === '.wav')) return
  const got = isImage ? 'an image' : 'a recording'
  throw new UsageError(`${path} is ${got}, and the model takes ${medium === 'image' ? 'images' : 'recordings'}`)
}

/** How files are prepared for a model. */
export interface MediaPreparation {
  /** Whether rows have what is to be learnt (true). */
  hasTargets?: boolean
  labels?: readonly string[]
  flipSeed?: number
  tokenizer?: Tokenizer
  /** What the decoder of a model of speech reads first. */
  prompt?: WhisperPrompt
}

/** Decodes a data set for the model, with notes on what was done. */
export async function prepareMedia(
  medium: Medium,
  { path, rows }: DataFile,
  { folder, config }: LocatedModel,
  options: MediaCommandOptions,
  { hasTargets = true, labels, flipSeed, tokenizer, prompt }: MediaPreparation,
  output: Output,
  signal: AbortSignal | undefined,
): Promise<PreparedMedia<MediaFeature>> {
  const unit = medium === 'image' ? 'images' : 'recordings'
  const bar = startProgress(output, { total: rows.length, unit })
  const { skipBad = false, overlong } = options
  const how = { hasTargets, skipBad, signal, onProgress: (done: number) => bar.update(done, `reading ${path}`) }
  let prepared: PreparedImages | PreparedSpeech
  try {
    if (medium === 'image') {
      const processor = await ImageProcessor.fromPretrained(folder)
      prepared = await prepareImages(rows, processor, { ...how, labels, flipSeed })
    } else {
      const extractor = await WhisperFeatureExtractor.fromPretrained(folder)
      const maxLength = longestText(options.maxLength, config)
      prepared = await prepareSpeech(rows, extractor, {
        ...how,
        tokenizer,
        prompt: prompt?.tokens,
        overlong,
        maxLength,
      })
    }
  } catch (error) {
    throw within(path, () => {
      throw error
    })
  } finally {
    bar.stop()
  }
  report(path, unit, prepared, overlong, output)
  return prepared
}

/** The most tokens that a model of speech says: `--max-length`, else what it was made for. */
export function longestText(given: number | undefined, config: PretrainedConfig): number {
  const { max_target_positions: limit } = config as PretrainedConfig & { max_target_positions: number }
  if (given !== undefined && given > limit) {
    throw new UsageError(`--max-length is ${given}, and the model says at most ${limit} tokens`)
  }
  return given ?? limit
}

function report(
  path: string,
  unit: string,
  prepared: PreparedImages | PreparedSpeech,
  overlong: string | undefined,
  output: Output,
): void {
  const { bad, tooLong, features } = prepared
  for (const { row, reason } of bad) output.warn(`left out row ${row}: ${reason}`)
  if (tooLong.length) {
    const done = overlong === 'truncate' ? 'cut' : 'left out'
    output.warn(`${path}: ${formatCount(tooLong.length)} ${unit} are too long for the model and were ${done}`)
  }
  if ('resampled' in prepared && prepared.resampled) {
    output.note(`${path}: ${formatCount(prepared.resampled)} ${unit} had another sampling rate and were resampled`)
  }
  if (features.length === 0) throw new Error(`${path}: no example is left; take --overlong truncate, or other ${unit}.`)
}

/** What the decoder of a model of speech reads first: as told, as in the training, as the model's files say. */
export async function speechPrompt(
  { folder, record }: LocatedModel,
  { language, speechTask }: MediaCommandOptions,
  tokenizer: Tokenizer,
): Promise<WhisperPrompt> {
  const own = record?.speech
  return openWhisperPrompt(folder, tokenizer, {
    language: language ?? own?.language,
    task: speechTask ?? own?.task,
  })
}
