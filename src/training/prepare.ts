/** @file What methods look at before training: gradients of the loss over some batches. */
import { graphOf, type Tensor } from '../graph/index.ts'
import type { FunctionOptions, SymbolicInputs } from '../models/function.ts'
import type { Gradients, Module, Parameter } from '../nn/index.ts'
import type { GradientRequest, PeftModel, PreparationTools } from '../peft/index.ts'
import type { TensorData } from '../runtime/index.ts'
import { valueAndGrad } from './value-and-grad.ts'

/** A batch of data by the names of the model's inputs. */
export type PreparationBatch = Readonly<Record<string, TensorData>>

/** Options of {@link prepareAdapters}. */
export interface PrepareOptions<M extends Module> extends Omit<FunctionOptions, 'parameters' | 'profile'> {
  /** The loss of a batch; by default the `loss` that the model's forward gives. */
  loss?: (model: M, inputs: SymbolicInputs) => Tensor
  /** Whether the loss compares the rows of a batch: then whole batches stand for single examples. */
  comparesRows?: boolean
  /** Stops it between two gradients. */
  signal?: AbortSignal
}

/**
 * Lets the active adapters whose method wants it look at data: importance of parameters, gradients. Each adapter is
 * prepared once; later calls do nothing for it. The Trainer calls it with its own data.
 *
 * @param batches only as many are taken as the methods ask for; they are kept until the end
 * @returns the names of the adapters that were prepared
 * @example
 * const peft = getPeftModel(model, new FishMaskConfig({ keepShare: 0.005 }))
 * await prepareAdapters(peft, batches)
 */
export async function prepareAdapters<M extends Module>(
  peft: PeftModel<M>,
  batches: Iterable<PreparationBatch> | AsyncIterable<PreparationBatch>,
  options: PrepareOptions<PeftModel<M>> = {},
): Promise<string[]> {
  const waiting = peft.activeAdapters.filter(name => peft.needsPreparation(name))
  const kept = new KeptBatches(batches, options.comparesRows ?? false)
  for (const name of waiting) {
    if (!(await kept.at(0)))
      throw new Error(`prepareAdapters: there is no data for ${waiting.join(', ')}; give some batches`)
    await peft.prepare(name, tools(peft, kept, options))
  }
  return waiting
}

/** Batches that are drawn when they are first needed and can be read again. */
class KeptBatches {
  readonly #drawn: PreparationBatch[] = []
  readonly #isWhole: boolean
  readonly #source: Iterator<PreparationBatch> | AsyncIterator<PreparationBatch>

  /** @param isWhole whether batches are never cut into examples */
  constructor(batches: Iterable<PreparationBatch> | AsyncIterable<PreparationBatch>, isWhole: boolean) {
    this.#isWhole = isWhole
    this.#source =
      Symbol.asyncIterator in batches
        ? batches[Symbol.asyncIterator]()
        : (batches as Iterable<PreparationBatch>)[Symbol.iterator]()
  }

  /** The batch at a position, counted from 0; undefined behind the last. */
  async at(position: number): Promise<PreparationBatch | undefined> {
    while (this.#drawn.length <= position) {
      const { done, value } = await this.#source.next()
      if (done) return undefined
      this.#drawn.push(value)
    }
    return this.#drawn[position]
  }

  /** The batches that a method asked for, cut into examples where it wants them apart. */
  async *take({
    perExample = false,
    limit = Number.POSITIVE_INFINITY,
  }: GradientRequest): AsyncGenerator<PreparationBatch> {
    let seen = 0
    for (let i = 0; seen < limit; i++) {
      const batch = await this.at(i)
      if (!batch) return
      const size = rowsOf(batch)
      const count = Math.min(size, limit - seen)
      if (perExample && !this.#isWhole) for (let row = 0; row < count; row++) yield example(batch, row, size)
      else yield batch
      seen += size
    }
  }
}

/** The number of examples of a batch: the length of the first axis, which all tensors share. */
function rowsOf(batch: PreparationBatch): number {
  const lengths = Object.values(batch).flatMap(({ dims }) => dims.slice(0, 1))
  if (lengths.length === 0 || lengths.some(length => length !== lengths[0])) {
    throw new Error(
      `prepareAdapters: a batch has tensors whose first axes are ${lengths.join(', ') || 'missing'}; expected the same number of examples in all of them`,
    )
  }
  return lengths[0]
}

/** One row of a batch, as a batch. */
function example(batch: PreparationBatch, row: number, rows: number): PreparationBatch {
  return Object.fromEntries(
    Object.entries(batch).map(([name, { dtype, dims, data }]) => {
      const size = data.length / rows
      const part = data.slice(row * size, (row + 1) * size)
      return [
        name,
        { dtype, dims: dims.length ? [1, ...dims.slice(1)] : dims, data: dims.length ? part : data } as TensorData,
      ]
    }),
  )
}

function tools<M extends Module>(
  peft: PeftModel<M>,
  batches: KeptBatches,
  { loss = modelLoss, signal, comparesRows: _, ...options }: PrepareOptions<PeftModel<M>>,
): PreparationTools {
  return {
    async *gradients(
      parameters: Iterable<readonly [string, Parameter]>,
      request: GradientRequest = {},
    ): AsyncIterable<{ loss: number; grads: Gradients }> {
      // Others in their place are read into memory, so that weights which lie in a file stay there.
      const twins = [...parameters].map(([name, parameter]) => ({ name, parameter, twin: parameter.alias() }))
      const compute = (model: PeftModel<M>, inputs: SymbolicInputs) => {
        const graph = graphOf(Object.values(inputs))
        const bindings = twins.map(({ parameter, twin }) => [parameter, twin.trace(graph)] as const)
        return graph.rebind(bindings, () => loss(model, inputs))
      }
      await using step = await valueAndGrad(peft, compute, {
        ...options,
        parameters: twins.map(({ name, twin }) => [name, twin] as const),
        training: false,
      })
      for await (const batch of batches.take(request)) {
        const { value, grads } = await step(batch, { signal })
        yield { loss: value, grads }
      }
    },
  }
}

function modelLoss(model: PeftModel, inputs: SymbolicInputs): Tensor {
  const { loss } = model.forward(inputs)
  if (!loss)
    throw new Error("prepareAdapters: the model's forward gave no loss; the batches need labels, or give `loss`")
  return loss
}
