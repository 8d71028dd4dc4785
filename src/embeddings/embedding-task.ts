/** @file Training of embeddings with the Trainer: examples, batches, the loss and the metrics. */
import type { Dataset, Encoding, Row } from '../data/index.ts'
import { concat, type Tensor } from '../graph/index.ts'
import type { InputSpecs, SymbolicInputs } from '../models/function.ts'
import { Module, ModuleList } from '../nn/index.ts'
import type { TensorData } from '../runtime/index.ts'
import { cosineSimilarityLoss, multipleNegativesRankingLoss } from './losses.ts'
import type { EmbeddingInputs, SentenceTransformer } from './sentence-transformer.ts'
import { recallAt1, similarityMatrix, spearmanCorrelation } from './similarity.ts'

/** What embeddings are trained by. */
export type EmbeddingLoss = 'multiple_negatives_ranking' | 'cosine_similarity'

/** Options of {@link EmbeddingTask}. */
export interface EmbeddingTaskOptions {
  /** What the rows are: texts that belong together, or pairs with a score. By default their columns tell. */
  loss?: EmbeddingLoss
  /** Of the ranking loss: what cosines are multiplied by. Default 20. */
  scale?: number
}

/** One row, tokenised. */
export interface EmbeddingExample {
  /** The texts: anchor, positive and negatives, or the two of a pair. */
  texts: Encoding[]
  /** How alike a pair is. */
  score?: number
}

const COLUMNS: Readonly<Record<EmbeddingLoss, readonly string[]>> = {
  multiple_negatives_ranking: ['anchor', 'positive'],
  cosine_similarity: ['sentence1', 'sentence2', 'score'],
}

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
  /** The columns of a row that hold texts. */
  readonly columns: readonly string[]
  readonly #embedding: SentenceTransformer

  private constructor(embedding: SentenceTransformer, loss: EmbeddingLoss, columns: readonly string[], scale: number) {
    this.#embedding = embedding
    this.loss = loss
    this.columns = columns
    this.model = new EmbeddingLossModel(embedding, { loss, scale, texts: columns.length })
  }

  /** @throws when the columns of the rows fit no loss, or not the one that was named */
  static for(embedding: SentenceTransformer, { columns }: Dataset, options: EmbeddingTaskOptions = {}): EmbeddingTask {
    const losses = Object.keys(COLUMNS) as EmbeddingLoss[]
    const fitting = losses.filter(loss => COLUMNS[loss].every(column => columns.includes(column)))
    const loss = options.loss ?? (fitting.length === 1 ? fitting[0] : undefined)
    if (loss === undefined || !fitting.includes(loss)) {
      const expected = losses.map(name => `${COLUMNS[name].join(', ')} (${name})`).join(' or ')
      throw new Error(
        `The data has the columns ${columns.join(', ')}; expected ${options.loss ? COLUMNS[options.loss].join(', ') : expected}` +
          `${fitting.length > 1 ? ', and not both: say which loss' : ''}.`,
      )
    }
    const negatives = columns.filter(column => /^negative(_\d+)?$/.test(column)).sort()
    const texts = loss === 'cosine_similarity' ? ['sentence1', 'sentence2'] : ['anchor', 'positive', ...negatives]
    return new EmbeddingTask(embedding, loss, texts, options.scale ?? 20)
  }

  /**
   * Rows as the Trainer takes them. Texts get the model's default prompt, and are cut to its longest text.
   *
   * @throws for a row whose texts are no texts, or whose score is no number from -1 to 1
   */
  examples(rows: Dataset): EmbeddingExample[] {
    const { prompts, defaultPromptName } = this.#embedding.settings
    const prompt = defaultPromptName === null ? '' : prompts[defaultPromptName]
    const tokenize = (row: Row, index: number, column: string) => {
      const text = row[column]
      if (typeof text === 'string' && text !== '') return this.#embedding.tokenize(text, prompt)
      throw new Error(`Row ${index}: "${column}" is ${JSON.stringify(text)}, expected a text.`)
    }
    return [...rows].map((row, index) => {
      const texts = this.columns.map(column => tokenize(row, index, column))
      if (this.loss !== 'cosine_similarity') return { texts }
      const score = Number(row.score)
      if (row.score === '' || row.score === null || !(score >= -1 && score <= 1)) {
        throw new Error(
          `Row ${index}: "score" is ${JSON.stringify(row.score)}, expected a number from -1 to 1, as cosines are; ` +
            'divide scores from 0 to 5 by 5.',
        )
      }
      return { texts, score }
    })
  }

  /** Examples as the inputs of {@link EmbeddingTask.model}. */
  readonly collate = (examples: readonly EmbeddingExample[]): Record<string, TensorData> => {
    const { prompts, defaultPromptName } = this.#embedding.settings
    const prompt = defaultPromptName === null ? '' : prompts[defaultPromptName]
    const columns = this.columns.map((_, i) => {
      const batch = this.#embedding.batch(
        examples.map(({ texts }) => texts[i]),
        prompt,
      )
      return Object.entries(batch).map(([name, data]) => [`${name}_${i}`, data])
    })
    const labels: TensorData =
      this.loss === 'cosine_similarity'
        ? { dtype: 'float32', dims: [examples.length], data: Float32Array.from(examples, ({ score }) => score!) }
        : { dtype: 'int64', dims: [examples.length], data: BigInt64Array.from(examples, (_, i) => BigInt(i)) }
    return { ...Object.fromEntries(columns.flat()), labels }
  }

  /** Of pairs with scores Spearman's correlation of cosines and scores, else the share of anchors nearest to their own. */
  readonly metrics = ({
    logits,
    labels,
  }: {
    logits: readonly Float32Array[]
    labels: readonly (number | number[])[]
  }): Record<string, number> => {
    const width = this.#embedding.embeddingDimension
    const columns = this.columns.map((_, i) => logits.map(row => row.subarray(i * width, (i + 1) * width)))
    const [first, second, ...rest] = columns
    if (this.loss === 'multiple_negatives_ranking')
      return { recall_at_1: recallAt1(first, [...second, ...rest.flat()]) }
    if (logits.length < 2) return {}
    const cosines = first.map((row, i) => similarityMatrix([row], [second[i]])[0][0])
    return { spearman_cosine: spearmanCorrelation(cosines, labels as number[]) }
  }
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

  constructor(embedding: SentenceTransformer, options: LossModelOptions) {
    super()
    this.transformer = embedding.transformer
    this.modules = new ModuleList(embedding.modules)
    this.config = embedding.transformer.config
    this.embedding = embedding
    this.options = options
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
    const dtype = loss === 'cosine_similarity' ? 'float32' : 'int64'
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
    return {
      loss:
        loss === 'cosine_similarity'
          ? cosineSimilarityLoss(first, second, labels)
          : multipleNegativesRankingLoss(first, second, rest, { scale, labels }),
      logits: concat(embeddings, 1),
    }
  }

  /** Writes the embedding model, or the adapter on its transformer, as {@link SentenceTransformer.savePretrained} does. */
  async savePretrained(folder: string): Promise<void> {
    await this.embedding.savePretrained(folder)
  }
}
