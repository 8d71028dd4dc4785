/** @file `peft predict`. */
import { Dataset, type Feature, type Tokenizer } from '../../data/index.ts'
import { Trainer } from '../../training/index.ts'
import {
  classificationColumns,
  columnRoles,
  describeColumns,
  longestInput,
  readRows,
  tokenizeLabelled,
} from '../data.ts'
import { UsageError } from '../exit.ts'
import { checkMediaOptions, mediumOf } from '../media.ts'
import { classNamesOf, type LocatedModel, locateModel, openModel, openTokenizer } from '../model.ts'
import type { Output } from '../output.ts'
import { namedScores, writeRows } from '../prediction-rows.ts'
import { answerable, taggable, wordRows } from '../predictions.ts'
import type { TunedModel } from '../tuning.ts'
import type { RunModelOptions } from './evaluate.ts'
import { predictImages, predictSpeech, predictTexts } from './predict-media.ts'

/** The options of `peft predict`. */
export interface PredictOptions extends RunModelOptions {
  text?: string[]
  data?: string
  out?: string
  /** The longest answer or transcript, in tokens. */
  maxNewTokens?: number
}

/** What a classifier says to one text. */
export interface Prediction {
  /** The row in the data file, or the position among the texts. */
  index: number
  text: string
  pair?: string
  label: string
  probability: number
  probabilities: Record<string, number>
}

/** Prints the class of texts, or writes one JSON line for each row of a file. */
export async function predict(options: PredictOptions, output: Output, signal?: AbortSignal): Promise<void> {
  if ((options.text === undefined) === (options.data === undefined)) {
    throw new UsageError('peft predict takes --text "..." or --data FILE, one of the two')
  }
  if (options.out !== undefined && options.data === undefined) throw new UsageError('--out belongs to --data')
  const located = await locateModel(options, output)
  if (located.task === 'TOKEN_CLS') return predictTags(options, located, output, signal)
  if (located.task === 'QUESTION_ANS') return predictAnswers(options, located, output, signal)
  const medium = mediumOf(located)
  checkMediaOptions(medium, options)
  if (medium === 'image') return predictImages(options, located, output, signal)
  if (medium === 'speech') return predictSpeech(options, located, output, signal)
  if (located.task === 'SEQ_2_SEQ_LM') return predictTexts(options, located, output, signal)
  if (located.task === 'FEATURE_EXTRACTION') {
    throw new UsageError('This model makes embeddings: peft embed writes them, peft evaluate measures them')
  }
  if (located.task !== 'SEQ_CLS') {
    throw new UsageError(
      'peft predict is for --task seq_cls, token_cls and question_ans, seq_2_seq_lm and image_cls; to continue a text ' +
        'take peft generate',
    )
  }
  const labels = await classNamesOf(located, options.labels)
  const tokenizer = await openTokenizer(located)
  const texts = await readTexts(options, located, labels, tokenizer, output)
  const model = await openModel(located, { labels, seed: options.seed }, output)
  const logits = await scoresOf(texts.features, model, tokenizer, options, signal)
  const predictions = logits.map((scores, i) => ({
    index: texts.rows[i],
    ...texts.source(texts.rows[i]),
    ...namedScores(scores, labels),
  }))
  if (options.data === undefined) printTexts(predictions, output)
  else await writeRows(predictions, options, output)
}

/** The scores of each example. */
async function scoresOf(
  features: Feature[],
  model: TunedModel,
  tokenizer: Tokenizer,
  { batchSize, mode, threads, keepPacked, seed }: PredictOptions,
  signal: AbortSignal | undefined,
): Promise<Float32Array[]> {
  const args = { perDeviceEvalBatchSize: batchSize, mode, threads, keepPacked, seed }
  const trainer = new Trainer({ model, tokenizer, args })
  // What is predicted needs no labels, and those that tokenising put there are no answers.
  const unlabelled = features.map(({ labels: _, ...feature }) => feature as Feature)
  const { logits } = await trainer.predict(unlabelled, { signal })
  if (logits.every(scores => scores.every(Number.isFinite))) return logits
  throw new Error("The scores are not finite: the model's or the adapter's weights hold NaN or infinity.")
}

/** Prints the tags of the words of texts, or writes one JSON line for each row of a file. */
async function predictTags(
  options: PredictOptions,
  located: LocatedModel,
  output: Output,
  signal: AbortSignal | undefined,
): Promise<void> {
  const labels = await classNamesOf(located, options.labels)
  const tokenizer = await openTokenizer(located)
  const file = options.text ? wordRows(options.text) : await readRows(options.data!, options)
  const rows = taggable(file, located, labels, tokenizer, options, output)
  const model = await openModel(located, { labels, seed: options.seed }, output)
  const logits = await scoresOf(rows.features, model, tokenizer, options, signal)
  const predictions = logits.map((scores, i) => rows.prediction(scores, i))
  if (options.data !== undefined) return writeRows(predictions, options, output)
  output.result(
    { command: 'predict', predictions },
    predictions.map(({ tokens, tags }) => tokens.map((token, i) => `${token}/${tags[i]}`).join(' ')),
  )
}

/** Writes one JSON line with the answer for each row of a file. */
async function predictAnswers(
  options: PredictOptions,
  located: LocatedModel,
  output: Output,
  signal: AbortSignal | undefined,
): Promise<void> {
  if (options.data === undefined) {
    throw new UsageError('Questions come with their contexts: give --data FILE with the columns question and context')
  }
  const tokenizer = await openTokenizer(located)
  const rows = answerable(await readRows(options.data, options), located, tokenizer, options, output)
  const model = await openModel(located, { seed: options.seed }, output)
  const logits = await scoresOf(rows.features, model, tokenizer, options, signal)
  await writeRows(
    logits.map((scores, i) => rows.prediction(scores, i)),
    options,
    output,
  )
}

interface Texts {
  features: Feature[]
  rows: number[]
  source(row: number): { text: string; pair?: string }
}

async function readTexts(
  options: PredictOptions,
  { config, record }: LocatedModel,
  labels: readonly string[],
  tokenizer: Tokenizer,
  output: Output,
): Promise<Texts> {
  const file =
    options.data === undefined
      ? { path: '--text', rows: new Dataset(options.text!.map(text => ({ text }))) }
      : await readRows(options.data, options)
  const reading = { recorded: options.data === undefined ? { text: 'text' } : record?.columns, needsLabel: false }
  const columns = classificationColumns(file, options.data === undefined ? {} : options, reading)
  if (options.data !== undefined) {
    const { label: _, ...shown } = columnRoles(columns)
    output.note(`data: ${describeColumns(shown)}`)
  }
  const { textColumn, pairColumn } = columns
  const unlabelled = { path: file.path, rows: file.rows.map(row => ({ ...row, [UNLABELLED]: labels[0] })) }
  const maxLength = longestInput(options.maxLength ?? record?.max_length ?? undefined, tokenizer, config)
  const how = { textColumn, pairColumn, labelColumn: UNLABELLED, labels, maxLength, overlong: options.overlong }
  const { features, rows } = tokenizeLabelled(unlabelled, tokenizer, how, output)
  return {
    features,
    rows,
    source: row => {
      const values = file.rows.at(row) as Record<string, unknown>
      return {
        text: String(values[textColumn]),
        ...(pairColumn !== undefined && { pair: String(values[pairColumn]) }),
      }
    },
  }
}

/** A column that no file has: what is predicted needs no label, and tokenising asks for one. */
const UNLABELLED = '\u0000label'

function printTexts(predictions: readonly Prediction[], output: Output): void {
  const { bold, dim } = output.style
  const several = predictions.length > 1
  output.result(
    { command: 'predict', predictions },
    predictions.map(
      ({ text, label, probability }) => `${bold(label)}  ${probability.toFixed(4)}${several ? `  ${dim(text)}` : ''}`,
    ),
  )
}
