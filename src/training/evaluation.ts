/** @file Evaluation: the loss and the scores of a model over a data set. */
import { type CompiledFunction, compile } from '../models/function.ts'
import type { ParameterVector } from '../nn/index.ts'
import { type CompileOptions, type Engine, floats, type TensorData } from '../runtime/index.ts'
import { type Batch, countTargets, type DataCollator, rowsOf } from './collate.ts'
import type { Examples } from './examples.ts'
import { classificationMetrics, perplexity } from './metrics.ts'
import { skipsFirstLabel, type TrainableModel, type TrainingTask } from './model.ts'

/** What a model said to each example, in the order of the data. */
export interface Predictions {
  /**
   * The scores of each example: one a class, or for token tasks `length * vocabulary` of them, row major, without those
   * of padding.
   */
  logits: Float32Array[]
  /** The labels of each example; empty where there are none. */
  labels: (number | number[])[]
}

/** Further metrics of an evaluation, by name. */
export type ComputeMetrics = (predictions: Predictions) => Record<string, number>

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
    const needsLogits = Boolean(request.logits || computeMetrics || task === 'SEQ_CLS')
    const logits: Float32Array[] = new Array(examples.items.length)
    const labels: (number | number[])[] = []
    let [lossSum, targets, labelled] = [0, 0, true]
    const order = byLength(examples.items)
    for (let start = 0; start < order.length; start += batchSize) {
      request.signal?.throwIfAborted()
      const at = order.slice(start, start + batchSize)
      const batch = collate(at.map(i => examples.items[i]))
      labelled &&= batch.labels !== undefined
      const outputs = await (await this.#function(labelled, needsLogits))(batch)
      if (labelled) {
        const count = countTargets(batch, skipsFirstLabel(model, task))
        lossSum += floats(outputs.loss)[0] * count
        targets += count
      }
      at.forEach((i, row) => {
        const length = lengthOf(examples.items[i])
        if (needsLogits) logits[i] = floats(rowOf(outputs.logits, row, batch, length))
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
        ...(task === 'CAUSAL_LM' && { perplexity: perplexity(loss) }),
        ...(task === 'SEQ_CLS' && classificationMetrics(logits, labels as number[])),
        ...computeMetrics?.(predictions),
      },
    }
  }

  #function(labelled: boolean, withLogits: boolean): Promise<CompiledFunction> {
    if (withLogits) return (this.#withLogits ??= this.#compile(labelled, true))
    return (this.#lossOnly ??= this.#compile(labelled, false))
  }

  #compile(labelled: boolean, withLogits: boolean): Promise<CompiledFunction> {
    const { model, vector, mode, threads, engine } = this.#options
    return compile(
      model,
      (_, inputs) => {
        const { loss, logits } = model.forward(inputs)
        if (labelled && !loss) throw new Error("The model's forward returned no loss for a batch with labels")
        if (withLogits && !logits) throw new Error("The model's forward returned no logits")
        return { ...(labelled && { loss: loss! }), ...(withLogits && { logits: logits! }) }
      },
      { inputs: model.inputSpecs(), parameters: vector, mode, threads, engine },
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

/** The scores of one example, cut to its own tokens where each has its own: virtual ones come before, padding after. */
function rowOf({ dims, data }: TensorData, row: number, batch: Batch, length: number | undefined): TensorData {
  const size = data.length / rowsOf(batch)
  const isTokenwise = dims.length > 2 && length !== undefined
  const width = size / dims[1]
  const start = row * size + (isTokenwise ? width * (dims[1] - (batch.input_ids?.dims[1] ?? dims[1])) : 0)
  const kept = isTokenwise ? width * length : size
  return { dtype: 'float32', dims: [kept], data: (data as Float32Array).slice(start, start + kept) }
}

function labelOf({ labels }: Batch, row: number, length: number | undefined): number | number[] {
  const { dims, data } = labels
  if (dims.length === 1) return Number(data[row])
  const start = row * dims[1]
  return Array.from(data.slice(start, start + (length ?? dims[1])) as ArrayLike<number | bigint>, Number)
}
