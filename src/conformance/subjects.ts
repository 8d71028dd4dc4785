/** @file The models on which the battery tries a method: small, with values from a seed, of several kinds. */
import { crossEntropy, relu, reshape, type Tensor } from '../graph/index.ts'
import { AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification } from '../models/index.ts'
import { Conv2d, Linear, Module, normalInit } from '../nn/index.ts'
import type { PeftModel } from '../peft/index.ts'
import { type TensorData, tensorData } from '../runtime/index.ts'
import { Random } from '../util/random.ts'

/** A model with data, as the battery uses it. */
export interface Subject {
  name: string
  /** Whether it is a module tree of one's own; then methods are told their targets. */
  targets?: readonly string[]
  create(): Module
  /** Two batches of different data, with labels. */
  batches: readonly Readonly<Record<string, TensorData>>[]
  /** What the model computes from a batch, without the loss. */
  output(model: Module, inputs: Record<string, Tensor>): Tensor
  /** The loss of a batch. */
  loss(model: Module, inputs: Record<string, Tensor>): Tensor
}

/** A perceptron of three layers, as a user writes it. */
class Perceptron extends Module {
  first = new Linear(12, 16)
  middle = new Linear(16, 16)
  last = new Linear(16, 3)

  forward(x: Tensor): Tensor {
    return this.last.forward(relu(this.middle.forward(relu(this.first.forward(x)))))
  }
}

/** A small convolutional net, as a user writes it. */
class ConvolutionalNet extends Module {
  first = new Conv2d(1, 4, 3, { padding: 1 })
  middle = new Conv2d(4, 4, 3, { padding: 1 })
  last = new Linear(4 * 4 * 4, 3)

  forward(x: Tensor): Tensor {
    const hidden = relu(this.middle.forward(relu(this.first.forward(x))))
    return this.last.forward(reshape(hidden, [-1, 64]))
  }
}

const integers = (seed: string, count: number, limit: number) => {
  const random = Random.forName(seed, 0)
  return Array.from({ length: count }, () => 1 + Math.floor(random.uniform() * (limit - 1)))
}
const normals = (seed: string, shape: readonly number[]) =>
  tensorData('float32', normalInit(1)(Random.forName(seed, 0), shape), shape)

const BATCH = 4
const SEQUENCE = 7
const VOCABULARY = 48

/** Tokens with padding at the end of the last row. */
function tokens(seed: string) {
  const mask = Array.from({ length: BATCH * SEQUENCE }, (_, i) => (i >= BATCH * SEQUENCE - 2 ? 0 : 1))
  return {
    input_ids: tensorData('int64', integers(seed, BATCH * SEQUENCE, VOCABULARY), [BATCH, SEQUENCE]),
    attention_mask: tensorData('int64', mask, [BATCH, SEQUENCE]),
  }
}

const classes = tensorData('int64', [0, 1, 2, 1])

/** What all kinds of models of text have in common here. */
const pretrained = (name: string, create: () => Module, batches: Subject['batches']): Subject => ({
  name,
  create,
  batches,
  output: (model, inputs) => {
    const { labels: _, ...others } = inputs
    return (model as PeftModel).forward(others).logits!
  },
  loss: (model, inputs) => (model as PeftModel).forward(inputs).loss!,
})

const DIMENSIONS = {
  vocab_size: VOCABULARY,
  hidden_size: 32,
  intermediate_size: 64,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  // Drawn wider than usual, so that every part of the model has an effect that can be seen.
  initializer_range: 0.2,
}

const bert = () =>
  AutoModelForSequenceClassification.fromConfig(
    AutoConfig.fromJSON({
      model_type: 'bert',
      ...DIMENSIONS,
      max_position_embeddings: 32,
      num_labels: 3,
      hidden_dropout_prob: 0,
      attention_probs_dropout_prob: 0,
    }),
  )

const llama = () =>
  AutoModelForCausalLM.fromConfig(
    AutoConfig.fromJSON({
      model_type: 'llama',
      ...DIMENSIONS,
      num_key_value_heads: 2,
      max_position_embeddings: 64,
      tie_word_embeddings: false,
    }),
  )

const initialized = (create: () => Module) => () => {
  const model = create()
  model.initialize(1)
  return model
}

const own = (name: string, create: () => Module, targets: readonly string[], shape: readonly number[]): Subject => ({
  name,
  targets,
  create: initialized(create),
  batches: ['a', 'b'].map(seed => ({ x: normals(`${name}.${seed}`, [BATCH, ...shape]), labels: classes })),
  output: (model, { x }) => (model as Perceptron).forward(x),
  loss: (model, { x, labels }) => crossEntropy((model as Perceptron).forward(x), labels),
})

/** The models of the battery. */
export const SUBJECTS: readonly Subject[] = [
  pretrained(
    'a BERT classifier',
    initialized(bert),
    ['a', 'b'].map(seed => ({ ...tokens(seed), labels: classes })),
  ),
  pretrained(
    'a Llama',
    initialized(llama),
    ['a', 'b'].map(seed => ({ ...tokens(seed), labels: tokens(seed).input_ids })),
  ),
  own('a perceptron of one’s own', () => new Perceptron(), ['middle'], [12]),
  own('a convolutional net of one’s own', () => new ConvolutionalNet(), ['middle'], [1, 4, 4]),
]
