/** @file A small classifier with data, for the tests of methods that train chosen entries. */
import { AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification } from '../../../models/index.ts'
import type { Parameter } from '../../../nn/index.ts'
import { tensorData } from '../../../runtime/index.ts'
import { type Optimizer, type StepFunction, valueAndGrad } from '../../../training/index.ts'
import { Random } from '../../../util/random.ts'
import type { PeftModel } from '../../index.ts'

const DIMENSIONS = {
  vocab_size: 24,
  hidden_size: 16,
  intermediate_size: 32,
  num_hidden_layers: 2,
  num_attention_heads: 2,
  max_position_embeddings: 16,
  initializer_range: 0.2,
}

/** A BERT with two classes, its values drawn from a seed. */
export function classifier() {
  const config = { model_type: 'bert', ...DIMENSIONS, num_labels: 2, hidden_dropout_prob: 0 }
  const model = AutoModelForSequenceClassification.fromConfig(AutoConfig.fromJSON(config))
  model.initialize(3)
  return model
}

/** A Llama whose head is its table of tokens. */
export function languageModel() {
  const config = { model_type: 'llama', ...DIMENSIONS, num_key_value_heads: 2, tie_word_embeddings: true }
  const model = AutoModelForCausalLM.fromConfig(AutoConfig.fromJSON(config))
  model.initialize(3)
  return model
}

/** Three batches of four texts with labels. */
export const BATCHES = [0, 1, 2].map(seed => {
  const random = new Random(seed)
  const ids = Array.from({ length: 4 * 6 }, () => 1 + random.integer(23))
  return {
    input_ids: tensorData('int64', ids, [4, 6]),
    attention_mask: tensorData('int64', Array(24).fill(1), [4, 6]),
    labels: tensorData('int64', [0, 1, 1, 0]),
  }
})

/** The loss and its gradients, compiled. */
export function stepOf(peft: PeftModel): Promise<StepFunction> {
  return valueAndGrad(peft, (model, inputs) => model.forward(inputs).loss!, { training: false })
}

/** Takes some steps over the batches. @returns the losses */
export async function train(
  peft: PeftModel,
  make: (parameters: Iterable<readonly [string, Parameter]>) => Optimizer,
  steps: number,
): Promise<number[]> {
  await using step = await stepOf(peft)
  const losses: number[] = []
  let optimizer: Optimizer | undefined
  for (let i = 0; i < steps; i++) {
    const { value, grads } = await step(BATCHES[i % BATCHES.length])
    optimizer ??= make(grads.parameters)
    optimizer.step(grads)
    losses.push(value)
  }
  return losses
}
