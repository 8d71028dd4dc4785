/** @file Training of embeddings with the Trainer: examples, batches, the loss and the metrics. */
import { refuseTooLong } from '../data/features.ts'
import type { Dataset, Encoding, Overlong, TooLong } from '../data/index.ts'
import { list } from '../data/messages.ts'
import { resolveRoles } from '../data/roles.ts'
import { concat, type Tensor } from '../graph/index.ts'
import type { InputSpecs, SymbolicInputs } from '../models/function.ts'
import { Module, ModuleList } from '../nn/index.ts'
import { registerHost } from '../peft/hosts.ts'
import { PeftModel } from '../peft/index.ts'
import type { TensorData } from '../runtime/index.ts'
import { didYouMean } from '../util/nearest.ts'
import { EMBEDDING_LOSSES, type EmbeddingLoss } from './loss-names.ts'
import { cosentLoss, cosineSimilarityLoss, multipleNegativesRankingLoss } from './losses.ts'
import type { EmbeddingInputs, SentenceTransformer } from './sentence-transformer.ts'
import { pearsonCorrelation, retrievalMetrics, similarityMatrix, spearmanCorrelation } from './similarity.ts'

/** Options of {@link EmbeddingTask}. */
export interface EmbeddingTaskOptions {
  /** By default what the columns fit: `multiple_negatives_ranking`, or `cosent` where there are scores. */
  loss?: EmbeddingLoss
  /** Of all losses but `cosine_similarity`: what cosines are multiplied by. Default 20. */
  scale?: number
  /** The parts of a row (`anchor`, `positive`, `negative`; `sentence1`, `sentence2`, `score`) to the data set's columns. */
  columns?: Record<string, string>
}

/** One row, tokenised. */
export interface EmbeddingExample {
  /** The texts: anchor, positive and negatives, or the two of a pair. */
  texts: Encoding[]
  /** How alike a pair is. */
  score?: number
}

/** The examples of a data set, and what was done to get them. */
export interface TokenizedEmbeddings {
  features: EmbeddingExample[]
  /** `rows[i]` is the row of the data set that example i came from. */
  rows: number[]
  /** The rows with a text longer than the maximum, also those that were cut or left out. */
  tooLong: TooLong[]
  maxLength: number
  notes: string[]
}

/** What rows consist of. */
const FORMS = {
  pairs: {
    anchor: { names: ['anchor', 'query', 'question'] },
    positive: { names: ['positive', 'answer', 'passage'] },
  },
  scores: {
    sentence1: { names: ['sentence1', 'text1'] },
    sentence2: { names: ['sentence2', 'text2'] },
    score: { names: ['score', 'similarity', 'similarity_score'] },
  },
} as const

type Form = keyof typeof FORMS

const FORM_OF: Readonly<Record<EmbeddingLoss, Form>> = {
  multiple_negatives_ranking: 'pairs',
  cosent: 'scores',
  cosine_similarity: 'scores',
}

const isNegative = (name: string) => /^negative(_\d+)?$/.test(name)

/**
 * How a {@link SentenceTransformer} is trained on rows of `{ anchor, positive, negative? }` or
 * `{ sentence1, sentence2, score }`: what the Trainer needs of it.
 *
 * @example
 * const peft = getPeftModel(model.transformer, new LoraConfig({ taskType: 'FEATURE_EXTRACTION' }))
 * const task = EmbeddingTask.for(model.withTransformer(peft), dataset)
 * const trainer = new Trainer({
 *   model: task.model,
 *   trainDataset: task.examples(dataset),
 *   dataCollator: task.collate,
 *   computeMetrics: task.metrics,
 * })
 */
export class EmbeddingTask {
  /** What the Trainer trains: its parameters are those of the transformer and of the modules behind it. */
  readonly model: EmbeddingLossModel
  readonly loss: EmbeddingLoss
  /** The parts of a row to the columns that hold them. */
  readonly roles: Readonly<Record<string, string>>
  /** The columns of a row that hold texts. */
  readonly columns: readonly string[]
  readonly #embedding: SentenceTransformer

  private constructor(
    embedding: SentenceTransformer,
    { loss, roles, scale }: { loss: EmbeddingLoss; roles: Record<string, string>; scale: number },
  ) {
    const { score: _, ...texts } = roles
    this.#embedding = embedding
    this.loss = loss
    this.roles = roles
    this.columns = Object.values(texts)
    this.model = new EmbeddingLossModel(embedding, { loss, scale, texts: this.columns.length })
  }

  /** @throws when the columns of the rows fit no loss, or not the one that was named */
  static for(embedding: SentenceTransformer, dataset: Dataset, options: EmbeddingTaskOptions = {}): EmbeddingTask {
    const { columns: given = {}, scale = 20 } = options
    if (options.loss !== undefined && !EMBEDDING_LOSSES.includes(options.loss)) {
      throw new Error(
        `There is no loss "${options.loss}".${didYouMean(options.loss, EMBEDDING_LOSSES)} There are ${EMBEDDING_LOSSES.join(', ')}.`,
      )
    }
    const form = options.loss ? FORM_OF[options.loss] : formOf(dataset, given)
    const negatives = form === 'pairs' ? [...dataset.columns, ...Object.keys(given)].filter(isNegative) : []
    const ordered = [...new Set(negatives)].sort((a, b) => a.localeCompare(b, 'en', { numeric: true }))
    const optional = ordered.map(name => [name, { names: [name], optional: true }])
    const roles = resolveRoles(dataset, { ...FORMS[form], ...Object.fromEntries(optional) }, given)
    const loss = options.loss ?? (form === 'pairs' ? 'multiple_negatives_ranking' : 'cosent')
    return new EmbeddingTask(embedding, { loss, roles, scale })
  }

  /** Whether a row teaches nothing without others in its batch. */
  get needsOthers(): boolean {
    return this.loss === 'cosent' || (this.loss === 'multiple_negatives_ranking' && this.columns.length === 2)
  }

  /**
   * Rows as the Trainer takes them. Texts get the model's default prompt, and are cut to its longest text.
   *
   * @throws for a row whose texts are no texts, or whose score is no number (from -1 to 1 for `cosine_similarity`)
   */
  examples(rows: Dataset): EmbeddingExample[] {
    return this.tokenize(rows, { overlong: 'truncate' }).features
  }

  /**
   * The same, saying what was too long.
   *
   * @param overlong what is done about rows with a text longer than the model's longest
   */
  tokenize(dataset: Dataset, { overlong }: { overlong: Overlong }): TokenizedEmbeddings {
    const maxLength = this.#embedding.maxSeqLength
    const result: TokenizedEmbeddings = { features: [], rows: [], tooLong: [], maxLength, notes: [] }
    for (const [index, row] of [...dataset].entries()) {
      const texts = this.columns.map(column => this.#tokenize(row[column], column, index))
      const length = Math.max(...texts.map(({ inputIds }) => inputIds.length))
      if (length >= maxLength) {
        // Only now it matters whether something was cut off.
        const whole = Math.max(...this.columns.map(column => this.#wholeLength(row[column] as string)))
        if (whole > maxLength) result.tooLong.push({ index, length: whole })
        if (whole > maxLength && overlong !== 'truncate') continue
      }
      result.features.push(
        this.loss === 'multiple_negatives_ranking' ? { texts } : { texts, score: this.#score(row, index) },
      )
      result.rows.push(index)
    }
    if (overlong === 'error') refuseTooLong(result.tooLong, dataset.length, maxLength)
    return result
  }

  get #prompt(): string {
    const { prompts, defaultPromptName } = this.#embedding.settings
    return defaultPromptName === null ? '' : prompts[defaultPromptName]
  }

  #tokenize(text: unknown, column: string, index: number): Encoding {
    if (typeof text === 'string' && text !== '') return this.#embedding.tokenize(text, this.#prompt)
    throw new Error(`Row ${index}: "${column}" is ${JSON.stringify(text) ?? 'missing'}, expected a text.`)
  }

  #wholeLength(text: string): number {
    return this.#embedding.tokenizer.encode(this.#prompt + text).inputIds.length
  }

  #score(row: Readonly<Record<string, unknown>>, index: number): number {
    const column = this.roles.score
    const value = row[column]
    const isNumber = typeof value === 'number' || (typeof value === 'string' && value.trim() !== '')
    const score = isNumber ? Number(value) : Number.NaN
    const isCosine = this.loss === 'cosine_similarity'
    if (isCosine ? score >= -1 && score <= 1 : Number.isFinite(score)) return score
    const expected = isCosine
      ? 'a number from -1 to 1, as cosines are; divide scores from 0 to 5 by 5, or take the loss cosent'
      : 'a number'
    throw new Error(`Row ${index}: "${column}" is ${JSON.stringify(value) ?? 'missing'}, expected ${expected}.`)
  }

  /** Examples as the inputs of {@link EmbeddingTask.model}. */
  readonly collate = (examples: readonly EmbeddingExample[]): Record<string, TensorData> => {
    const columns = this.columns.map((_, i) => {
      const batch = this.#embedding.batch(
        examples.map(({ texts }) => texts[i]),
        this.#prompt,
      )
      return Object.entries(batch).map(([name, data]) => [`${name}_${i}`, data])
    })
    const labels: TensorData =
      this.loss === 'multiple_negatives_ranking'
        ? { dtype: 'int64', dims: [examples.length], data: BigInt64Array.from(examples, (_, i) => BigInt(i)) }
        : { dtype: 'float32', dims: [examples.length], data: Float32Array.from(examples, ({ score }) => score!) }
    return { ...Object.fromEntries(columns.flat()), labels }
  }

  /**
   * Of pairs with scores Pearson's and Spearman's correlation of cosines and scores; else how well anchors find their own
   * among all positives and negatives: the share that has it in the first place, and the mean reciprocal place.
   */
  readonly metrics = (predictions: EmbeddingPredictions): Record<string, number> =>
    this.#measure(predictions, undefined)

  /** {@link EmbeddingTask.metrics} of known examples: texts that occur several times count as one. */
  metricsOf(examples: readonly EmbeddingExample[]): (predictions: EmbeddingPredictions) => Record<string, number> {
    return predictions => this.#measure(predictions, examples)
  }

  #measure(
    { logits, labels }: EmbeddingPredictions,
    examples: readonly EmbeddingExample[] | undefined,
  ): Record<string, number> {
    const width = this.#embedding.embeddingDimension
    const columns = this.columns.map((_, i) => logits.map(row => row.subarray(i * width, (i + 1) * width)))
    const [first, second] = columns
    if (this.loss === 'multiple_negatives_ranking') {
      const keys = columns.map((_, column) => logits.map((_, i) => keyOf(examples?.[i], column) ?? `${column} ${i}`))
      return { ...retrieval(columns, keys) }
    }
    if (logits.length < 2) return {}
    const cosines = first.map((row, i) => similarityMatrix([row], [second[i]])[0][0])
    const scores = labels as number[]
    return {
      pearson_cosine: pearsonCorrelation(cosines, scores),
      spearman_cosine: spearmanCorrelation(cosines, scores),
    }
  }
}

/** What the model says to examples. */
interface EmbeddingPredictions {
  logits: readonly Float32Array[]
  labels: readonly (number | number[])[]
}

/** What the columns are named for, or their names tell. */
function formOf({ columns }: Dataset, given: Readonly<Record<string, string>>): Form {
  const forms = Object.keys(FORMS) as Form[]
  const named = Object.keys(given)
  const has = (role: { names: readonly string[] }) => columns.some(column => role.names.includes(column.toLowerCase()))
  const isNamed = (form: Form, role: string) => role in FORMS[form] || (form === 'pairs' && isNegative(role))
  const fitting = forms.filter(form =>
    named.length
      ? named.every(role => isNamed(form, role))
      : Object.values<{ names: readonly string[] }>(FORMS[form]).every(has),
  )
  if (fitting.length === 1) return fitting[0]
  const expected = forms.map(form => Object.keys(FORMS[form]).join(', ')).join(' or ')
  const roles = [...forms.flatMap(form => Object.keys(FORMS[form])), 'negative']
  const unknown = named.find(role => !roles.includes(role) && !isNegative(role))
  throw new Error(
    unknown !== undefined
      ? `columns names "${unknown}"; the rows of embeddings have ${expected}.${didYouMean(unknown, roles)}`
      : `The data has the columns ${list(columns)}; expected ${expected}${fitting.length > 1 ? ', and not both: say which loss' : ''}. ` +
          "Where they are called otherwise, name each with columns: { anchor: '...' }.",
  )
}

function keyOf(example: EmbeddingExample | undefined, column: number): string | undefined {
  return example?.texts[column].inputIds.join()
}

/**
 * How well the first of several columns of embeddings finds the second one's among all others.
 *
 * @param keys what says that two of the embeddings are of the same text
 */
function retrieval(columns: readonly (readonly Float32Array[])[], keys: readonly (readonly string[])[]) {
  const places = new Map<string, number>()
  const candidates: Float32Array[] = []
  columns.slice(1).forEach((column, c) => {
    column.forEach((embedding, i) => {
      const key = keys[c + 1][i]
      if (places.has(key)) return
      places.set(key, candidates.length)
      candidates.push(embedding)
    })
  })
  const own = new Map<string, number[]>()
  keys[0].forEach((key, i) => {
    own.set(key, [...(own.get(key) ?? []), places.get(keys[1][i])!])
  })
  return retrievalMetrics(columns[0], candidates, query => own.get(keys[0][query])!)
}

/** What {@link EmbeddingLossModel} computes. */
interface LossModelOptions {
  loss: EmbeddingLoss
  scale: number
  /** How many texts a row has. */
  texts: number
}

/** The embeddings of several texts a row, and the loss of them. */
export class EmbeddingLossModel extends Module {
  transformer: Module
  modules: ModuleList
  readonly config: object
  readonly embedding: SentenceTransformer
  readonly options: LossModelOptions
  readonly comparesRows: boolean

  constructor(embedding: SentenceTransformer, options: LossModelOptions) {
    super()
    this.transformer = embedding.transformer
    this.modules = new ModuleList(embedding.modules)
    this.config = embedding.transformer.config
    this.embedding = embedding
    this.options = options
    this.comparesRows = options.loss !== 'cosine_similarity'
    // Methods that look at data before the training are found by it.
    if (embedding.transformer instanceof PeftModel) registerHost(this, embedding.transformer)
  }

  /** The inputs of {@link SentenceTransformer.embed} with the number of the text behind their names, and the labels. */
  inputSpecs(): InputSpecs {
    const { loss, texts } = this.options
    const specs = Array.from({ length: texts }, (_, i) =>
      Object.entries(this.embedding.inputSpecs()).map(([name, { dtype, shape }]) => [
        `${name}_${i}`,
        { dtype, shape: shape.map(dim => (dim === 'sequence' ? `sequence_${i}` : dim)), optional: true },
      ]),
    )
    const dtype = FORM_OF[loss] === 'scores' ? 'float32' : 'int64'
    return { ...Object.fromEntries(specs.flat()), labels: { dtype, shape: ['batch'] } }
  }

  /** @returns the loss, and the embeddings of each row's texts one behind the other, `[batch, texts * width]` */
  override forward({ labels, ...inputs }: SymbolicInputs): { loss: Tensor; logits: Tensor } {
    const { loss, scale, texts } = this.options
    const embeddings = Array.from({ length: texts }, (_, i) => {
      const own = Object.entries(inputs).filter(([name]) => name.endsWith(`_${i}`))
      const named = own.map(([name, tensor]) => [name.slice(0, -`_${i}`.length), tensor])
      return this.embedding.embed(Object.fromEntries(named) as EmbeddingInputs)
    })
    const [first, second, ...rest] = embeddings
    const losses: Record<EmbeddingLoss, () => Tensor> = {
      multiple_negatives_ranking: () => multipleNegativesRankingLoss(first, second, rest, { scale, labels }),
      cosent: () => cosentLoss(first, second, labels, { scale }),
      cosine_similarity: () => cosineSimilarityLoss(first, second, labels),
    }
    return { loss: losses[loss](), logits: concat(embeddings, 1) }
  }

  /** Writes the embedding model, or the adapter on its transformer, as {@link SentenceTransformer.savePretrained} does. */
  async savePretrained(folder: string): Promise<void> {
    await this.embedding.savePretrained(folder)
  }
}
