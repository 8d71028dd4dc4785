/** @file Small models and data for the tests of training. */
import type { Feature } from '../../data/index.ts'
import { add, cast, crossEntropy, mean, mul, relu, reshape, sum, type Tensor, unsqueeze } from '../../graph/index.ts'
import { causalLMOutput } from '../../models/causal-lm.ts'
import type { InputSpecs } from '../../models/function.ts'
import { Dropout, Embedding, LayerNorm, Linear, Module } from '../../nn/index.ts'
import { Random } from '../../util/random.ts'
import { saveFile } from '../../weights/index.ts'

const TOKENS = { dtype: 'int64', shape: ['batch', 'sequence'] } as const

async function save(model: Module, folder: string): Promise<void> {
  const entries = [...model.namedParameters()].map(([name, parameter]) => ({
    name,
    dtype: 'F32' as const,
    shape: parameter.shape,
    read: () => parameter.read(),
  }))
  await saveFile(`${folder}/model.safetensors`, entries, { format: 'pt' })
}

/** A classifier of bags of tokens: embeddings, a norm, dropout, a hidden layer and a head. */
export class BagClassifier extends Module {
  readonly task = 'SEQ_CLS'
  readonly baseModelPrefix = 'body'
  readonly config: { num_labels: number; vocab_size: number; pad_token_id: number; max_position_embeddings: number }
  body: BagBody
  classifier: Linear

  constructor(options: { classes?: number; vocabulary?: number; dropout?: number } = {}) {
    super()
    const { classes = 2, vocabulary = 12, dropout = 0 } = options
    this.config = { num_labels: classes, vocab_size: vocabulary, pad_token_id: 0, max_position_embeddings: 16 }
    this.body = new BagBody(vocabulary, dropout)
    this.classifier = new Linear(8, classes)
  }

  inputSpecs(): InputSpecs {
    return { input_ids: TOKENS, attention_mask: TOKENS, labels: { dtype: 'int64', shape: ['batch'] } }
  }

  forward(inputs: { input_ids: Tensor; attention_mask: Tensor; labels?: Tensor }) {
    const logits = this.classifier.forward(this.body.forward(inputs.input_ids, inputs.attention_mask))
    return { logits, ...(inputs.labels && { loss: crossEntropy(logits, inputs.labels) }) }
  }

  async savePretrained(folder: string): Promise<void> {
    await save(this, folder)
  }
}

class BagBody extends Module {
  embeddings: Embedding
  norm = new LayerNorm(8)
  dropout: Dropout
  dense = new Linear(8, 8)

  constructor(vocabulary: number, dropout: number) {
    super()
    this.embeddings = new Embedding(vocabulary, 8)
    this.dropout = new Dropout(dropout)
  }

  forward(ids: Tensor, mask: Tensor): Tensor {
    const attended = mul(this.embeddings.forward(ids), unsqueeze(cast(mask, 'float32'), [2]))
    const bag = this.dropout.forward(this.norm.forward(sum(attended, [1])))
    return add(bag, relu(this.dense.forward(bag)))
  }
}

/** A language model that sees only the last token. */
export class BigramModel extends Module {
  readonly task = 'CAUSAL_LM'
  readonly config = { vocab_size: 12, pad_token_id: 0 }
  embed = new Embedding(12, 8)
  head = new Linear(8, 12, { bias: false })

  inputSpecs(): InputSpecs {
    return { input_ids: TOKENS, attention_mask: TOKENS, labels: TOKENS }
  }

  forward(inputs: { input_ids: Tensor; labels?: Tensor }) {
    return causalLMOutput(this.head, { last_hidden_state: this.embed.forward(inputs.input_ids) }, inputs)
  }

  async savePretrained(folder: string): Promise<void> {
    await save(this, folder)
  }
}

/** A regression on numbers, with inputs of its own. */
export class LineModel extends Module {
  line = new Linear(1, 1)

  inputSpecs(): InputSpecs {
    return { x: { dtype: 'float32', shape: ['batch', 1] }, y: { dtype: 'float32', shape: ['batch', 1] } }
  }

  forward({ x, y }: { x: Tensor; y: Tensor }) {
    const error = add(this.line.forward(x), mul(y, -1))
    return { loss: mean(reshape(mul(error, error), [-1])), logits: this.line.forward(x) }
  }

  async savePretrained(folder: string): Promise<void> {
    await save(this, folder)
  }
}

/** Bags of tokens 2 to 11 of different lengths; class 1 where more of them are above 6 than not. */
export function bags(count: number, seed = 0, equalLength?: number): Feature[] {
  const random = new Random(seed)
  return Array.from({ length: count }, () => {
    const length = equalLength ?? 3 + 2 * random.integer(3)
    const inputIds = Array.from({ length }, () => 2 + random.integer(10))
    return { inputIds, labels: inputIds.filter(id => id > 6).length * 2 > length ? 1 : 0 }
  })
}

/** Sequences in which each token is followed by the next number, from 2 to 11 and round; the first label never counts. */
export function countingSequences(count: number, seed = 0): Feature[] {
  const random = new Random(seed)
  return Array.from({ length: count }, () => {
    const start = random.integer(10)
    const length = 3 + random.integer(6)
    const inputIds = Array.from({ length }, (_, i) => 2 + ((start + i) % 10))
    return { inputIds, labels: inputIds.map((id, i) => (i < 1 + (start % 2) ? -100 : id)) }
  })
}

/** All values of a module, by name, copied. */
export function valuesOf(module: Module): Record<string, number[]> {
  return Object.fromEntries([...module.namedParameters()].map(([name, { data }]) => [name, Array.from(data)]))
}
