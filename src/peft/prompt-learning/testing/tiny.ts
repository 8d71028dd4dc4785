/** @file For tests: tiny models of every task, and functions of them that are run once. */
import type { Tensor } from '../../../graph/index.ts'
import { compile } from '../../../models/function.ts'
import {
  AutoConfig,
  AutoModel,
  AutoModelForCausalLM,
  AutoModelForMaskedLM,
  AutoModelForQuestionAnswering,
  AutoModelForSeq2SeqLM,
  AutoModelForSequenceClassification,
  AutoModelForTokenClassification,
  type ModelInputs,
  type ModelOutput,
  type PreTrainedModel,
} from '../../../models/index.ts'
import type { Module } from '../../../nn/index.ts'
import { floats, type TensorData } from '../../../runtime/index.ts'

const SIZES = {
  vocab_size: 40,
  hidden_size: 24,
  intermediate_size: 32,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  // Wide, so that every part of the model has an effect that can be seen.
  initializer_range: 0.3,
  max_position_embeddings: 32,
  hidden_dropout_prob: 0,
  attention_probs_dropout_prob: 0,
}
const T5 = { vocab_size: 40, d_model: 24, d_kv: 6, d_ff: 32, num_layers: 2, num_heads: 4, decoder_start_token_id: 0 }

const CLASSES = {
  causal: AutoModelForCausalLM,
  enc: AutoModel,
  mlm: AutoModelForMaskedLM,
  qa: AutoModelForQuestionAnswering,
  seq2seq: AutoModelForSeq2SeqLM,
  seqcls: AutoModelForSequenceClassification,
  tokcls: AutoModelForTokenClassification,
}

/** A tiny model with random values, always the same. */
export function tiny(kind: keyof typeof CLASSES, type: string, overrides: object = {}): PreTrainedModel {
  const sizes = type === 't5' ? T5 : { ...SIZES, ...(type === 'llama' && { num_key_value_heads: 2 }) }
  const labels = kind === 'qa' ? { num_labels: 2 } : { num_labels: 3 }
  const model = CLASSES[kind].fromConfig(AutoConfig.fromJSON({ model_type: type, ...sizes, ...labels, ...overrides }))
  model.initialize(4)
  return model
}

/** What a model gives for a batch: the outputs that are asked for, of those that there are. */
export async function outputs<K extends keyof ModelOutput>(
  model: Module,
  batch: Readonly<Record<string, TensorData>>,
  ...names: K[]
): Promise<Record<K, TensorData>> {
  await using run = await compile(model, (m, inputs) => {
    const output = (m as PreTrainedModel).forward(inputs as ModelInputs)
    return Object.fromEntries(names.flatMap(name => (output[name] ? [[name, output[name] as Tensor]] : [])))
  })
  return (await run(batch)) as Record<K, TensorData>
}

/** The largest absolute difference of two tensors; infinite where their shapes differ. */
export function difference(a: TensorData, b: TensorData): number {
  if (a.dims.join() !== b.dims.join()) return Number.POSITIVE_INFINITY
  const [x, y] = [floats(a), floats(b)]
  return x.reduce((largest, value, i) => Math.max(largest, Math.abs(value - y[i])), 0)
}

/** A part of a tensor along its second axis. */
export function columns({ dims, data }: TensorData, start: number, end = dims[1]): TensorData {
  const [rows, length, width = 1] = dims
  const size = (end - start) * width
  const result = new Float32Array(rows * size)
  for (let row = 0; row < rows; row++) {
    const at = (row * length + start) * width
    result.set((data as Float32Array).subarray(at, at + size), row * size)
  }
  return { dtype: 'float32', dims: [rows, end - start, ...dims.slice(2)], data: result }
}
