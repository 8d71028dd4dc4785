/** @file `peft predict` for images, for recordings, and for texts that are answered with texts. */
import type { Feature, SpeechFeature } from '../../data/index.ts'
import { type MediaFeature, Trainer } from '../../training/index.ts'
import { longestInput, readRows } from '../data.ts'
import { UsageError } from '../exit.ts'
import { writeTexts } from '../generated.ts'
import { longestText, type Medium, prepareMedia, readMedia, speechPrompt } from '../media.ts'
import { classNamesOf, type LocatedModel, openModel, openTokenizer } from '../model.ts'
import type { Output } from '../output.ts'
import { namedScores, writeRows } from '../prediction-rows.ts'
import { chosenColumns } from '../task-data.ts'
import type { PredictOptions } from './predict.ts'

/** The longest answer to a text, where nothing is told. */
const LONGEST_ANSWER = 128

function dataOf({ data }: PredictOptions, what: string): string {
  if (data !== undefined) return data
  throw new UsageError(`Give --data FILE, ${what}`)
}

/** Writes the class of each image. */
export async function predictImages(
  options: PredictOptions,
  located: LocatedModel,
  output: Output,
  signal: AbortSignal | undefined,
): Promise<void> {
  const data = dataOf(options, 'an image, a folder of images, or a table with a column of paths')
  const labels = await classNamesOf(located, options.labels)
  const { files: images, paths } = await filesOf('image', data, options, located, output, signal)
  const model = await openModel(located, { labels, seed: options.seed }, output)
  const { batchSize, mode, threads, keepPacked, seed } = options
  const args = { perDeviceEvalBatchSize: batchSize, mode, threads, keepPacked, seed }
  const trainer = new Trainer<MediaFeature>({ model, args })
  const { logits } = await trainer.predict(images.features, { signal })
  if (!logits.every(scores => scores.every(Number.isFinite))) {
    throw new Error("The scores are not finite: the model's or the adapter's weights hold NaN or infinity.")
  }
  const rows = logits.map((scores, i) => ({
    index: images.rows[i],
    image: paths[images.rows[i]],
    ...namedScores(scores, labels),
  }))
  await writeRows(rows, options, output)
}

/** Writes what is said in each recording. */
export async function predictSpeech(
  options: PredictOptions,
  located: LocatedModel,
  output: Output,
  signal: AbortSignal | undefined,
): Promise<void> {
  const data = dataOf(options, 'a WAV file, a folder of them, or a table with a column of paths')
  const tokenizer = await openTokenizer(located)
  const prompt = await speechPrompt(located, options, tokenizer)
  const { files: recordings, paths } = await filesOf('speech', data, options, located, output, signal)
  const model = await openModel(located, { seed: options.seed }, output)
  const texts = await writeTexts(
    model,
    recordings.features as SpeechFeature[],
    {
      ...writing(options),
      maxNewTokens: options.maxNewTokens ?? longestText(options.maxLength, located.config) - prompt.tokens.length,
      prompt: prompt.tokens,
      decode: ids => tokenizer.decode(ids, { skipSpecialTokens: true }).trim(),
    },
    output,
    signal,
  )
  const rows = texts.map((text, i) => ({ index: recordings.rows[i], audio: paths[recordings.rows[i]], text }))
  await writeRows(rows, options, output)
}

/** Writes an answer to each text. */
export async function predictTexts(
  options: PredictOptions,
  located: LocatedModel,
  output: Output,
  signal: AbortSignal | undefined,
): Promise<void> {
  const tokenizer = await openTokenizer(located)
  const sources = options.text ?? (await sourcesOf(options, located))
  const maxLength = longestInput(
    options.maxLength ?? located.record?.max_length ?? undefined,
    tokenizer,
    located.config,
  )
  const features = sources.map((source, index): Feature => {
    const encoding = tokenizer.encode(source)
    const { length } = encoding.inputIds
    if (length <= maxLength || options.overlong === 'truncate') {
      return { ...(length > maxLength ? tokenizer.encode(source, { truncateTo: maxLength }) : encoding), labels: [] }
    }
    throw new Error(
      `Row ${index} has ${length} tokens, and ${maxLength} are the most; take --overlong truncate to cut it.`,
    )
  })
  const model = await openModel(located, { seed: options.seed }, output)
  const answers = await writeTexts(
    model,
    features,
    {
      ...writing(options),
      maxNewTokens: options.maxNewTokens ?? LONGEST_ANSWER,
      decode: ids => tokenizer.decode(ids, { skipSpecialTokens: true }).trim(),
    },
    output,
    signal,
  )
  const predictions = answers.map((answer, index) => ({ index, source: sources[index], answer }))
  if (options.data !== undefined) return writeRows(predictions, options, output)
  output.result({ command: 'predict', predictions }, answers)
}

const writing = ({ batchSize, mode, threads, keepPacked }: PredictOptions) => ({ batchSize, mode, threads, keepPacked })

/** The texts of a file, in the column that is named, or was the source in the training, or is called so. */
async function sourcesOf(options: PredictOptions, { record }: LocatedModel): Promise<string[]> {
  const file = await readRows(options.data!, options)
  const recorded = record?.columns.source === undefined ? undefined : { source: record.columns.source }
  const named = chosenColumns(file, options.columns, recorded)?.source
  const usual = ['source', 'prompt', 'input', 'question', 'document', 'article', 'text']
  const column = named ?? file.rows.columns.find(name => usual.includes(name.toLowerCase()))
  if (column === undefined) {
    throw new UsageError(
      `Which column of ${file.path} holds the texts is not told by its columns ${file.rows.columns.join(', ')}; name it with --columns source=…`,
    )
  }
  return file.rows.column(column).map((value, i) => {
    if (typeof value === 'string') return value
    throw new Error(`${file.path}, row ${i}: column "${column}" holds ${JSON.stringify(value)}, expected a text.`)
  })
}

async function filesOf(
  medium: Medium,
  data: string,
  options: PredictOptions,
  located: LocatedModel,
  output: Output,
  signal: AbortSignal | undefined,
) {
  const file = await readMedia(
    data,
    medium,
    options,
    { part: 'evaluation', hasTargets: false, recorded: located.record?.columns },
    output,
  )
  const files = await prepareMedia(medium, file, located, options, { hasTargets: false }, output, signal)
  const paths = file.rows.column(medium === 'image' ? 'image' : 'audio').map(String)
  return { files, paths }
}
