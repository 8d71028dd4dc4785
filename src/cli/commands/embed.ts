/** @file `peft embed`: the texts of a file as vectors. */
import { existsSync } from 'node:fs'
import { extname, join } from 'node:path'
import { count } from '../../data/messages.ts'
import { SentenceTransformer } from '../../embeddings/index.ts'
import { openEmbeddingAround } from '../../embeddings/load.ts'
import { PeftModel } from '../../peft/index.ts'
import { writeFileAtomic } from '../../util/files.ts'
import { didYouMean } from '../../util/nearest.ts'
import { type DataOptions, readRows } from '../data.ts'
import { UsageError } from '../exit.ts'
import { formatCount } from '../format.ts'
import { locate } from '../model.ts'
import { npyBytes } from '../npy.ts'
import type { Output } from '../output.ts'
import { startProgress } from '../progress.ts'

/** The options of `peft embed`. */
export interface EmbedOptions extends Pick<DataOptions, 'header' | 'limit'> {
  model: string
  adapter?: string
  data?: string
  text?: string[]
  column?: string
  output?: string
  overwrite: boolean
  promptName?: string
  prompt?: string
  normalize: boolean
  truncateDim?: number
  batchSize: number
  mode: 'fast' | 'small'
  threads?: number
}

/** Writes the embedding of each text. */
export async function embed(options: EmbedOptions, output: Output, signal?: AbortSignal): Promise<void> {
  checkOptions(options)
  const texts = options.text ?? (await readTexts(options))
  const model = await openEmbedding(options, output)
  signal?.throwIfAborted()
  const cut = texts.filter(text => model.tokenizer.encode(text).inputIds.length > model.maxSeqLength).length
  if (cut > 0) output.warn(`${count(cut, 'text')} longer than ${model.maxSeqLength} tokens: only the beginning is read`)
  const started = performance.now()
  const bar = startProgress(output, { total: texts.length, unit: 'texts' })
  let embeddings: Float32Array[]
  try {
    embeddings = await model.encode(texts, {
      batchSize: options.batchSize,
      normalizeEmbeddings: options.normalize,
      ...{ promptName: options.promptName, prompt: options.prompt, truncateDim: options.truncateDim },
      ...{ mode: options.mode, threads: options.threads, signal },
      onProgress: done => bar.update(done),
    })
  } finally {
    bar.stop()
  }
  const seconds = (performance.now() - started) / 1000
  const width = embeddings[0]?.length ?? options.truncateDim ?? model.embeddingDimension
  const rows = embeddings.map((embedding, index) => ({ index, embedding: [...embedding] }))
  if (options.output === undefined) for (const row of rows) output.partial('row', row, `${JSON.stringify(row)}\n`)
  else if (extname(options.output) === '.npy') await writeFileAtomic(options.output, npyBytes(embeddings, width))
  else await writeFileAtomic(options.output, rows.map(row => `${JSON.stringify(row)}\n`).join(''))
  output.result(
    { command: 'embed', texts: texts.length, width, seconds, ...(options.output && { output: options.output }) },
    options.output === undefined
      ? []
      : [`${formatCount(texts.length)} embeddings of width ${width} in ${options.output}`],
  )
}

/** The embedding model, with its adapter where there is one. */
async function openEmbedding({ model: name, adapter }: EmbedOptions, output: Output): Promise<SentenceTransformer> {
  const folder = await locate(name, output)
  const model = await SentenceTransformer.fromPretrained(folder, { onWarning: message => output.note(message) })
  if (adapter === undefined) return model
  const { transformer, tokenizer } = model
  if (transformer instanceof PeftModel) {
    throw new UsageError(`${name} holds an adapter already; give its base model with --model, and --adapter ${name}`)
  }
  const adapterFolder = await locate(adapter, output)
  const onWarning = (message: string) => output.warn(message)
  const adapted = await PeftModel.fromPretrained(transformer, adapterFolder, { onWarning })
  if (!existsSync(join(adapterFolder, 'modules.json'))) return model.withTransformer(adapted)
  // What was trained with the adapter stands beside it: dense layers, the longest text.
  const around = { transformer: adapted, tokenizer, name: adapter, onWarning }
  return new SentenceTransformer(await openEmbeddingAround(adapterFolder, around))
}

function checkOptions({ data, text, output, overwrite, prompt, promptName, column }: EmbedOptions): void {
  if ((data === undefined) === (text === undefined)) throw new UsageError('give --data or --text, one of them')
  if (column !== undefined && data === undefined) throw new UsageError('--column belongs to --data')
  if (prompt !== undefined && promptName !== undefined) throw new UsageError('give --prompt or --prompt-name, not both')
  if (output === undefined) return
  if (!['.npy', '.jsonl'].includes(extname(output))) {
    throw new UsageError(`--output is ${output}; expected a file that ends in .jsonl or .npy`)
  }
  if (existsSync(output) && !overwrite) throw new UsageError(`${output} exists; give another name, or --overwrite`)
}

async function readTexts(options: EmbedOptions): Promise<string[]> {
  const { rows } = await readRows(options.data!, options)
  const { columns } = rows
  const named =
    options.column ?? (columns.length === 1 ? columns[0] : ['text', 'sentence'].find(name => columns.includes(name)))
  if (named === undefined || !columns.includes(named)) {
    const which =
      options.column === undefined
        ? 'which column holds the texts is not clear'
        : `there is no column "${named}".${didYouMean(named!, columns)}`
    throw new UsageError(`${options.data}: ${which}; say it with --column. The columns are ${columns.join(', ')}.`)
  }
  return [...rows].map((row, index) => {
    const text = row[named]
    if (typeof text === 'string') return text
    throw new Error(`${options.data}: row ${index} has ${JSON.stringify(text)} in "${named}", expected a text`)
  })
}
