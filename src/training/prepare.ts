/** @file What methods look at before training: gradients of the loss over some batches. */
import type { Tensor } from '../graph/index.ts'
import type { SymbolicInputs } from '../models/function.ts'
import type { Gradients, Module, Parameter } from '../nn/index.ts'
import type { PeftModel, PreparationTools } from '../peft/index.ts'
import type { Engine, TensorData } from '../runtime/index.ts'
import { valueAndGrad } from './value-and-grad.ts'

/** A batch of data by the names of the model's inputs. */
export type PreparationBatch = Readonly<Record<string, TensorData>>

/** Options of {@link prepareAdapters}. */
export interface PrepareOptions<M extends Module> {
  /** The loss of a batch; by default the `loss` that the model's forward gives. */
  loss?: (model: M, inputs: SymbolicInputs) => Tensor
  engine?: Engine
}

/**
 * Lets the active adapters whose method wants it look at data: importance of parameters, gradients. Each adapter is
 * prepared once; later calls do nothing for it. The Trainer calls it with its own data.
 *
 * @returns the names of the adapters that were prepared
 * @example
 * const peft = getPeftModel(model, new FishMaskConfig({ keep: 0.005 }))
 * await prepareAdapters(peft, batches)
 */
export async function prepareAdapters<M extends Module>(
  peft: PeftModel<M>,
  batches: Iterable<PreparationBatch> | AsyncIterable<PreparationBatch>,
  options: PrepareOptions<PeftModel<M>> = {},
): Promise<string[]> {
  const waiting = peft.activeAdapters.filter(name => peft.needsPreparation(name))
  if (waiting.length === 0) return []
  const kept: PreparationBatch[] = []
  for await (const batch of batches) kept.push(batch)
  if (kept.length === 0) throw new Error(`prepareAdapters: there is no data for ${waiting.join(', ')}; give some batches`)
  for (const name of waiting) await peft.prepare(name, tools(peft, kept, options))
  return waiting
}

function tools<M extends Module>(
  peft: PeftModel<M>,
  batches: readonly PreparationBatch[],
  { loss = modelLoss, engine }: PrepareOptions<PeftModel<M>>,
): PreparationTools {
  return {
    async *gradients(parameters: Iterable<readonly [string, Parameter]>): AsyncIterable<{ loss: number; grads: Gradients }> {
      await using step = await valueAndGrad(peft, (model, inputs) => loss(model, inputs), {
        parameters,
        training: false,
        engine,
      })
      for (const batch of batches) {
        const { value, grads } = await step(batch)
        yield { loss: value, grads }
      }
    },
  }
}

function modelLoss(model: PeftModel, inputs: SymbolicInputs): Tensor {
  const { loss } = model.forward(inputs)
  if (!loss) throw new Error("prepareAdapters: the model's forward gave no loss; the batches need labels, or give `loss`")
  return loss
}
