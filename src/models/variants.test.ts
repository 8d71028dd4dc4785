/** @file Kinds of models for which there is no reference checkpoint, against losses and gradients of Transformers. */
import { afterAll, expect, it } from 'vitest'
import { gradients } from '../autodiff/index.ts'
import { add, Graph, mul, sqrt, sum } from '../graph/index.ts'
import { Engine, NodeBackend, type TensorData, tensorData } from '../runtime/index.ts'
import { AutoConfig, type ModelInputs, type PreTrainedModel } from './index.ts'
import { AUTO_CLASSES } from './testing/oracle.ts'

const engine = new Engine(new NodeBackend())
afterAll(() => engine.dispose())

const LAYERS = { hidden_size: 16, intermediate_size: 24, num_attention_heads: 2 }
const TEXT = { ...LAYERS, vocab_size: 40, max_position_embeddings: 32, pad_token_id: 0 }
const DEBERTA = {
  ...{ model_type: 'deberta-v2', ...TEXT, num_hidden_layers: 2, relative_attention: true },
  ...{ hidden_dropout_prob: 0, attention_probs_dropout_prob: 0 },
}
const MODERNBERT = {
  ...{ model_type: 'modernbert', ...TEXT, num_hidden_layers: 4, local_attention: 4, bos_token_id: 1, eos_token_id: 2 },
  ...{ norm_bias: true, attention_bias: true, mlp_bias: true, classifier_bias: true },
}

interface Variant {
  name: string
  kind: string
  json: { model_type: string; [key: string]: unknown }
  loss: number
  /** The norm of the gradient of all parameters. */
  norm: number
}

/** Made with transformers 5.23 and torch 2.15, parameters and inputs as below. */
const VARIANTS: Variant[] = [
  {
    name: 'DeBERTa with a convolution, segments and shared projections',
    kind: 'seqcls',
    json: {
      ...{ ...DEBERTA, position_buckets: 8, share_att_key: true, pos_att_type: 'p2c|c2p', norm_rel_ebd: 'layer_norm' },
      ...{ position_biased_input: false, conv_kernel_size: 3, conv_act: 'gelu', type_vocab_size: 2 },
    },
    loss: 1.227441,
    norm: 2.6661191,
  },
  {
    name: 'DeBERTa with projections of distances that widen',
    kind: 'tokcls',
    json: { ...DEBERTA, position_buckets: 4, max_relative_positions: 7, pos_att_type: ['c2p', 'p2c'] },
    loss: 1.205029,
    norm: 1.28935086,
  },
  {
    name: 'DeBERTa with narrow embeddings, and a loss that reads padding',
    kind: 'qa',
    json: { ...DEBERTA, max_relative_positions: 5, pos_att_type: ['c2p', 'p2c'], embedding_size: 8 },
    loss: 2.55985,
    norm: 3.11076713,
  },
  {
    name: 'DeBERTa with the first head for masked tokens',
    kind: 'mlm',
    json: {
      ...{ ...DEBERTA, position_buckets: 16, share_att_key: true, pos_att_type: ['p2c'], norm_rel_ebd: 'layer_norm' },
    },
    loss: 4.416418,
    norm: 2.54371441,
  },
  {
    name: "DeBERTa with its authors' head for masked tokens",
    kind: 'mlm',
    json: { ...DEBERTA, position_buckets: 4, pos_att_type: ['c2p'], norm_rel_ebd: 'layer_norm', legacy: false },
    loss: 4.033813,
    norm: 2.79478527,
  },
  {
    name: 'ModernBERT that classifies the mean',
    kind: 'seqcls',
    json: { ...MODERNBERT, classifier_pooling: 'mean' },
    loss: 1.501379,
    norm: 4.76850347,
  },
  {
    name: 'ModernBERT that classifies the first token',
    kind: 'seqcls',
    json: MODERNBERT,
    loss: 1.412909,
    norm: 3.94645587,
  },
  {
    name: 'ModernBERT that classifies tokens, every second layer local',
    kind: 'tokcls',
    json: { ...MODERNBERT, global_attn_every_n_layers: 2 },
    loss: 1.356755,
    norm: 2.18179304,
  },
  {
    name: 'CLIP that knows its end token, with images that patches do not fill',
    kind: 'clip',
    json: {
      ...{ model_type: 'clip', projection_dim: 8 },
      text_config: { ...TEXT, num_hidden_layers: 1, eos_token_id: 7, pad_token_id: 7, bos_token_id: 1 },
      vision_config: { ...LAYERS, num_hidden_layers: 1, image_size: 9, patch_size: 4 },
    },
    loss: 1.091034,
    norm: 0.17493526,
  },
]

/** Gives every parameter values by its place and the length of its name; those of normalisations lie around 1. */
function fill(model: PreTrainedModel): void {
  for (const [name, parameter] of model.namedParameters()) {
    const isScale = name.toLowerCase().includes('norm') && name.endsWith('.weight')
    const value = (i: number) => Math.sin(((i * i) % 1009) * 0.7 + name.length) * 0.3 + (isScale ? 1 : 0)
    parameter.data = Float32Array.from({ length: parameter.size }, (_, i) => value(i))
  }
}

const LENGTHS = [12, 7, 3]

/** Three texts of different lengths, cell by cell. */
const grid = (cell: (row: number, position: number, length: number) => number) =>
  tensorData(
    'int64',
    LENGTHS.map((length, row) => Array.from({ length: LENGTHS[0] }, (_, s) => cell(row, s, length))),
  )

const token = (row: number, s: number) => 8 + ((row * 13 + s * s * 5) % 32)

function feedsOf({ kind, json }: Variant): Record<string, TensorData> {
  const input_ids = grid((row, s, length) => (s < length ? token(row, s) : 0))
  const attention_mask = grid((_, s, length) => (s < length ? 1 : 0))
  const labels: Record<string, () => Record<string, TensorData>> = {
    seqcls: () => ({ labels: tensorData('int64', [0, 2, 1]) }),
    tokcls: () => ({ labels: grid((row, s, length) => (s < length ? (row + s) % 3 : -100)) }),
    qa: () => ({ start_positions: tensorData('int64', [1, 3, 0]), end_positions: tensorData('int64', [4, 5, 2]) }),
    mlm: () => ({ labels: grid((row, s, length) => (s < length && s % 2 === 0 ? 8 + ((row + s) % 30) : -100)) }),
    clip: () => {
      const pixels = Float32Array.from({ length: 3 * 3 * 81 }, (_, i) => Math.sin(((i * i) % 997) * 0.37))
      return {
        input_ids: grid((row, s, length) => (s >= length - 1 ? 7 : token(row, s))),
        pixel_values: tensorData('float32', pixels, [3, 3, 9, 9]),
      }
    },
  }
  const segments: Record<string, TensorData> = json.type_vocab_size ? { token_type_ids: grid((_, s) => s % 2) } : {}
  return { input_ids, attention_mask, ...segments, ...labels[kind]() }
}

it.each(VARIANTS)('the loss and the gradients are those of Transformers: $name', async variant => {
  const { json, kind, loss: expectedLoss, norm: expectedNorm } = variant
  const classes = kind === 'qa' ? 2 : 3
  const config = AutoConfig.fromJSON(kind === 'clip' ? json : { ...json, num_labels: classes })
  const model = AUTO_CLASSES[kind].fromConfig(config)
  fill(model)
  const feeds = feedsOf(variant)
  const graph = new Graph()
  const inputs: ModelInputs = {}
  for (const [name, { dtype, shape }] of Object.entries(model.inputSpecs())) {
    if (feeds[name]) Object.assign(inputs, { [name]: graph.input(name, dtype, shape) })
  }
  const loss = model.forward(inputs).loss!
  const grads = gradients(
    loss,
    model.parameters().map(parameter => parameter.trace(graph)),
  )
  const norm = sqrt(grads.map(grad => sum(mul(grad, grad))).reduce((total, square) => add(total, square)))
  await using executable = await engine.compile({ loss, norm }, { mode: 'small' })
  const results = await executable.run(feeds)
  expect(results.loss.data[0]).toBeCloseTo(expectedLoss, 5)
  expect(Math.abs(Number(results.norm.data[0]) / expectedNorm - 1)).toBeLessThan(2e-5)
})
