/** @file Evaluation: the loss and the scores of a model over a data set. */

import { concat, type Tensor, unsqueeze } from '../graph/index.ts'
import { type CompiledFunction, compile } from '../models/function.ts'
import type { ModelOutput } from '../models/index.ts'
import type { ParameterVector } from '../nn/index.ts'
import { type CompileOptions, type Engine, floats, type TensorData } from '../runtime/index.ts'
import { type Batch, countTargets, type DataCollator, hasTargets, rowsOf } from './collate.ts'
import type { Examples } from './examples.ts'
import { classificationMetrics, perplexity } from './metrics.ts'
import { type ModelFacts, predictsTokens, skipsFirstLabel, type TrainableModel, type TrainingTask } from './model.ts'
import { answerMetrics } from './question-answering.ts'
import { tagMetrics } from './tagging.ts'

/** What a model said to each example, in the order of the data. */
export interface Predictions {
  /**
   * The scores of each example: one a class, or for token tasks `length * vocabulary` of them, row major, without those
   * of padding; for question answering `length * 2`, how well an answer starts and ends at each token.
   */
  logits: Float32Array[]
  /** The labels of each example; empty where there are none. */
  labels: (number | number[])[]
}

/** Further metrics of an evaluation, by name. */
export type ComputeMetrics = (predictions: Predictions) => Record<string, number>

/** The tasks whose metrics are made of scores. */
const MEASURED_BY_SCORES: readonly (TrainingTask | undefined)[] = ['SEQ_CLS', 'TOKEN_CLS', 'QUESTION_ANS', 'IMAGE_CLS']

/** How an {@link Evaluator} is made. */
export interface EvaluatorOptions<E> extends CompileOptions {
  model: TrainableModel
  /** The values that vary between evaluations; all others are taken as they are now. */
  vector: ParameterVector
  collate: DataCollator<E>
  batchSize: number
  task: TrainingTask | undefined
  computeMetrics: ComputeMetrics | undefined
  engine: Engine | undefined
}

/** What an evaluation is for. */
export interface EvaluationRequest {
  /** Whether scores are wanted even where no metric needs them. */
  logits?: boolean
  /** Stops between two batches. */
  signal?: AbortSignal
}

/** The result of one evaluation. */
export interface EvaluationResult extends Predictions {
  /** `loss` where there are labels, then what the task and `computeMetrics` add. */
  metrics: Record<string, number>
}

/** A model compiled for evaluation: without dropout and without gradients. */
export class Evaluator<E> implements AsyncDisposable {
  readonly #options: EvaluatorOptions<E>
  #withLogits: Promise<CompiledFunction> | undefined
  #lossOnly: Promise<CompiledFunction> | undefined

  constructor(options: EvaluatorOptions<E>) {
    this.#options = options
  }

  /**
   * Evaluates. The loss is the mean over all targets of the data, so that it does not depend on the batch size. Scores
   * are fetched only where a metric or the caller needs them.
   */
  async run(examples: Examples<E>, request: EvaluationRequest = {}): Promise<EvaluationResult> {
    const { model, task, computeMetrics, batchSize, collate } = this.#options
    const needsLogits = Boolean(request.logits || computeMetrics || MEASURED_BY_SCORES.includes(task))
    const logits: Float32Array[] = new Array(examples.items.length)
    const labels: (number | number[])[] = []
    let [lossSum, targets, labelled] = [0, 0, true]
    const order = byLength(examples.items)
    for (let start = 0; start < order.length; start += batchSize) {
      request.signal?.throwIfAborted()
      const at = order.slice(start, start + batchSize)
      const batch = collate(at.map(i => examples.items[i]))
      labelled &&= hasTargets(batch)
      const outputs = await (await this.#function(labelled, needsLogits))(batch)
      if (labelled) {
        const count = countTargets(batch, skipsFirstLabel(model, task))
        lossSum += floats(outputs.loss)[0] * count
        targets += count
      }
      at.forEach((i, row) => {
        const length = task === 'SEQ_2_SEQ_LM' ? targetLengthOf(examples.items[i]) : lengthOf(examples.items[i])
        if (needsLogits)
          logits[i] = floats(rowOf(outputs.logits, row, this.#virtualTokens(outputs.logits, batch), batch, length))
        if (labelled) labels[i] = labelOf(batch, row, length)
      })
    }
    const predictions = { logits: needsLogits ? logits : [], labels }
    if (!labelled) return { ...predictions, metrics: {} }
    const loss = lossSum / Math.max(1, targets)
    return {
      ...predictions,
      metrics: {
        loss,
        ...(predictsTokens(task) && { perplexity: perplexity(loss) }),
        ...this.#scoreMetrics(predictions, examples),
        ...computeMetrics?.(predictions),
      },
    }
  }

  /** What the task adds to the loss. */
  #scoreMetrics({ logits, labels }: Predictions, { items }: Examples<E>): Record<string, number> {
    const { model, task } = this.#options
    if (task === 'SEQ_CLS' || task === 'IMAGE_CLS') return classificationMetrics(logits, labels as number[])
    if (task === 'TOKEN_CLS') {
      const { id2label = {} } = (model.config ?? {}) as ModelFacts
      return tagMetrics(logits, labels as number[][], id2label)
    }
    if (task === 'QUESTION_ANS') {
      const contexts = items.map(item => (item as { contextTokens?: [number, number] }).contextTokens)
      return answerMetrics(logits, labels as number[][], contexts)
    }
    return {}
  }

  /** How many positions of the scores stand before those of the tokens. */
  #virtualTokens({ dims }: TensorData, { input_ids }: Batch): number {
    // The decoder of a sequence-to-sequence model has positions of its own.
    if (this.#options.task === 'SEQ_2_SEQ_LM' || !input_ids) return 0
    return dims[1] - input_ids.dims[1]
  }

  #function(labelled: boolean, withLogits: boolean): Promise<CompiledFunction> {
    if (withLogits) return (this.#withLogits ??= this.#compile(labelled, true))
    return (this.#lossOnly ??= this.#compile(labelled, false))
  }

  #compile(labelled: boolean, withLogits: boolean): Promise<CompiledFunction> {
    const { model, vector, mode, threads, keepPacked, engine } = this.#options
    return compile(
      model,
      (_, inputs) => {
        const { loss, ...outputs } = model.forward(inputs) as ModelOutput
        const logits = outputs.logits ?? spanLogits(outputs)
        if (labelled && !loss) throw new Error("The model's forward returned no loss for a batch with labels")
        if (withLogits && !logits) throw new Error("The model's forward returned no logits")
        return { ...(labelled && { loss: loss! }), ...(withLogits && { logits: logits! }) }
      },
      { inputs: model.inputSpecs(), parameters: vector, mode, threads, keepPacked, engine },
    )
  }

  /** Frees what was compiled. */
  async dispose(): Promise<void> {
    for (const compiled of [this.#withLogits, this.#lossOnly]) await (await compiled)?.dispose()
    this.#withLogits = undefined
    this.#lossOnly = undefined
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.dispose()
  }
}

/** The examples in the order of falling length, which saves padding; in their own order where they have none. */
function byLength(items: readonly unknown[]): number[] {
  return items.map((_, i) => i).sort((a, b) => (lengthOf(items[b]) ?? 0) - (lengthOf(items[a]) ?? 0))
}

/** The number of tokens of an example, where it has tokens. */
export function lengthOf(example: unknown): number | undefined {
  return (example as { inputIds?: readonly number[] }).inputIds?.length
}

/** The number of tokens of an example's target, where it has one. */
function targetLengthOf(example: unknown): number | undefined {
  const { labels } = example as { labels?: readonly number[] | number }
  return Array.isArray(labels) ? labels.length : undefined
}

/** The scores of both ends of an answer at each token, `[batch, sequence, 2]`. */
function spanLogits({ start_logits: start, end_logits: end }: ModelOutput): Tensor | undefined {
  return start && end && concat([unsqueeze(start, [2]), unsqueeze(end, [2])], 2)
}

/** The scores of one example, cut to its own tokens where each has its own: virtual ones come before, padding after. */
function rowOf(
  { dims, data }: TensorData,
  row: number,
  virtualTokens: number,
  batch: Batch,
  length: number | undefined,
): TensorData {
  const size = data.length / rowsOf(batch)
  const isTokenwise = dims.length > 2 && length !== undefined
  const width = size / dims[1]
  const start = row * size + (isTokenwise ? width * virtualTokens : 0)
  const kept = isTokenwise ? width * length : size
  return { dtype: 'float32', dims: [kept], data: (data as Float32Array).slice(start, start + kept) }
}

function labelOf(
  { labels, start_positions, end_positions }: Batch,
  row: number,
  length: number | undefined,
): number | number[] {
  if (!labels) return [start_positions, end_positions].map(({ data }) => Number(data[row]))
  const { dims, data } = labels
  if (dims.length === 1) return Number(data[row])
  const start = row * dims[1]
  return Array.from(data.slice(start, start + (length ?? dims[1])) as ArrayLike<number | bigint>, Number)
}
