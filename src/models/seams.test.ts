/** @file The places where methods reach into models: attention layers with prefixes, residual connections. */
import { afterAll, describe, expect, it } from 'vitest'
import { gradients } from '../autodiff/index.ts'
import { concat, expand, Graph, mul, reshape, slice, sum, type Tensor } from '../graph/index.ts'
import { Residual } from '../nn/index.ts'
import { Engine, NodeBackend, type TensorData, tensorData } from '../runtime/index.ts'
import { Random } from '../util/random.ts'
import {
  type AttentionContext,
  AttentionModule,
  AutoConfig,
  AutoModel,
  type ModelInputs,
  type PreTrainedModel,
} from './index.ts'

const engine = new Engine(new NodeBackend())
afterAll(() => engine.dispose())

const TEXT = {
  ...{ vocab_size: 20, hidden_size: 8, num_hidden_layers: 2, num_attention_heads: 2, intermediate_size: 12 },
  ...{ max_position_embeddings: 16, pad_token_id: 0, initializer_range: 0.5 },
}
const input_ids = tensorData('int64', [
  [5, 9, 2, 7],
  [4, 3, 0, 0],
])
const attention_mask = tensorData('int64', [
  [1, 1, 1, 1],
  [1, 1, 0, 0],
])
const floats = (shape: number[]) =>
  tensorData(
    'float32',
    Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => Math.sin(i * i)),
    shape,
  )

/** A model of each kind, what it reads, its result, and its sublayers. */
const SUBJECTS: Record<
  string,
  {
    json: object
    feeds: Record<string, TensorData>
    result: 'last_hidden_state' | 'logits_per_text'
    sublayers: object
  }
> = {
  'deberta-v2': {
    json: { ...TEXT, relative_attention: true, pos_att_type: ['c2p', 'p2c'], position_buckets: 4 },
    feeds: { input_ids, attention_mask },
    result: 'last_hidden_state',
    sublayers: { attention: 2, feedForward: 2 },
  },
  modernbert: {
    json: { ...TEXT, local_attention: 2 },
    feeds: { input_ids, attention_mask },
    result: 'last_hidden_state',
    sublayers: { attention: 2, feedForward: 2 },
  },
  clip: {
    json: {
      projection_dim: 6,
      initializer_factor: 4,
      text_config: { ...TEXT, eos_token_id: 2, initializer_factor: 4 },
      vision_config: { ...TEXT, image_size: 4, patch_size: 2, initializer_factor: 4 },
    },
    feeds: { input_ids, attention_mask, pixel_values: floats([2, 3, 4, 4]) },
    result: 'logits_per_text',
    sublayers: { attention: 4, feedForward: 4 },
  },
  whisper: {
    json: {
      ...{
        vocab_size: 20,
        d_model: 8,
        num_mel_bins: 4,
        max_source_positions: 3,
        max_target_positions: 8,
        init_std: 0.5,
      },
      ...{ encoder_layers: 1, encoder_attention_heads: 2, encoder_ffn_dim: 12, pad_token_id: 0 },
      ...{ decoder_layers: 2, decoder_attention_heads: 2, decoder_ffn_dim: 12, decoder_start_token_id: 1 },
    },
    feeds: { input_features: floats([2, 4, 6]), decoder_input_ids: input_ids },
    result: 'last_hidden_state',
    sublayers: { attention: 3, crossAttention: 2, feedForward: 3 },
  },
}

/** An attention layer behind a prefix of three rows, in its place. */
class Prefixed extends AttentionModule {
  readonly inner: AttentionModule
  /** The order of the rows. */
  readonly order: readonly number[]

  constructor(inner: AttentionModule, order: readonly number[]) {
    super(inner)
    this.inner = inner
    this.order = order
  }

  override forward(hidden: Tensor, context: AttentionContext): Tensor {
    const { headWidth: width, numKeyValueHeads: heads, order } = this
    const part = (name: string) => {
      const random = Random.forName(name, 1)
      const values = Array.from({ length: heads * 3 * width }, () => random.normal())
      const rows = reshape(hidden.graph.constant(values, 'float32', [values.length]), [1, heads, 3, width])
      const ordered = concat(
        order.map(i => slice(rows, 2, i, i + 1)),
        2,
      )
      return expand(ordered, [hidden.shape[0], heads, 3, width])
    }
    return this.inner.forward(hidden, { ...context, prefixes: [{ key: part('key'), value: part('value') }] })
  }
}

/** A residual connection that adds half of what the sublayer computed. */
class Halved extends Residual {
  override forward(result: Tensor, input: Tensor, norm?: { forward(x: Tensor): Tensor }): Tensor {
    return super.forward(mul(result, 0.5), input, norm)
  }
}

describe.each(Object.entries(SUBJECTS))('%s', (model_type, { feeds, json, result, sublayers }) => {
  const build = (change: (model: PreTrainedModel) => void = () => {}) => {
    const model = AutoModel.fromConfig(AutoConfig.fromJSON({ model_type, ...json }))
    model.initialize(1)
    change(model)
    return model
  }
  const replace = (model: PreTrainedModel, path: string, order: readonly number[]) =>
    model.setSubmodule(path, new Prefixed(model.getSubmodule(path) as AttentionModule, order))
  const attentions = [...build().namedModules()].filter(([, module]) => module instanceof AttentionModule)
  const residuals = [...build().namedModules()].filter(([, module]) => module instanceof Residual)

  async function compute(model: PreTrainedModel): Promise<number[]> {
    const graph = new Graph()
    const inputs: ModelInputs = {}
    for (const [name, { dtype, shape }] of Object.entries(model.inputSpecs())) {
      if (feeds[name]) Object.assign(inputs, { [name]: graph.input(name, dtype, shape) })
    }
    await using executable = await engine.compile({ result: model.forward(inputs)[result]! }, { mode: 'small' })
    return [...((await executable.run(feeds)).result.data as Float32Array)]
  }
  const distance = (a: number[], b: number[]) => Math.max(...a.map((x, i) => Math.abs(x - b[i])))

  it('sees a prefix in every attention layer, in no order', async () => {
    const base = await compute(build())
    const results = new Set<string>()
    for (const [path] of attentions) {
      const forwards = await compute(build(model => replace(model, path, [0, 1, 2])))
      const backwards = await compute(build(model => replace(model, path, [2, 0, 1])))
      expect(distance(forwards, base)).toBeGreaterThan(1e-3)
      expect(distance(forwards, backwards)).toBeLessThan(1e-5)
      results.add(forwards.join())
    }
    expect(results.size).toBe(attentions.length)
  })

  it('joins every sublayer through a residual connection', async () => {
    const counts: Record<string, number> = {}
    const base = await compute(build())
    for (const [path, module] of residuals) {
      const { sublayer, width } = module as Residual
      counts[sublayer] = (counts[sublayer] ?? 0) + 1
      expect(width).toBe(8)
      const halved = await compute(build(model => model.setSubmodule(path, new Halved(sublayer, width))))
      expect(distance(halved, base)).toBeGreaterThan(1e-4)
    }
    expect(counts).toEqual(sublayers)
  })

  it('is differentiable behind prefixes', () => {
    const model = build(built => {
      for (const [path] of attentions) replace(built, path, [0, 1, 2])
    })
    const graph = new Graph()
    const inputs: ModelInputs = {}
    for (const [name, { dtype, shape }] of Object.entries(model.inputSpecs())) {
      if (feeds[name]) Object.assign(inputs, { [name]: graph.input(name, dtype, shape) })
    }
    const output = model.forward(inputs)[result]!
    const loss = sum(output)
    const parameters = model.parameters()
    const grads = gradients(
      loss,
      parameters.map(parameter => parameter.trace(graph)),
    )
    expect(grads.map(grad => grad.shape)).toEqual(parameters.map(({ shape }) => [...shape]))
  })
})
