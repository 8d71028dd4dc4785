/** @file What encoders do beyond the reference: positions, answers out of reach, padding, images, errors. */
import { afterAll, describe, expect, it } from 'vitest'
import { gradients } from '../../autodiff/index.ts'
import { Graph } from '../../graph/index.ts'
import { KeyValueCache } from '../../nn/index.ts'
import { Engine, floats, NodeBackend, type TensorData, tensorData } from '../../runtime/index.ts'
import {
  AutoConfig,
  AutoModel,
  AutoModelForImageClassification,
  AutoModelForMaskedLM,
  AutoModelForQuestionAnswering,
  AutoModelForTokenClassification,
  type PreTrainedModel,
} from '../index.ts'
import type { ModelInputs, ModelOutput } from '../inputs.ts'

const engine = new Engine(new NodeBackend())
afterAll(() => engine.dispose())

const TINY = {
  vocab_size: 20,
  hidden_size: 8,
  num_hidden_layers: 1,
  num_attention_heads: 2,
  intermediate_size: 16,
  max_position_embeddings: 10,
}
const configure = (model_type: string, json: object = {}) =>
  AutoConfig.fromJSON({ model_type, ...TINY, ...json } as { model_type: string })

function initialized(model: PreTrainedModel): PreTrainedModel {
  model.initialize(1)
  return model
}

/** Runs `model` on feeds under the model's own names. */
async function run(model: PreTrainedModel, feeds: Record<string, TensorData>, pick: (output: ModelOutput) => object) {
  const graph = new Graph()
  const specs = model.inputSpecs()
  const inputs = Object.fromEntries(
    Object.keys(feeds).map(name => [name, graph.input(name, specs[name].dtype, specs[name].shape)]),
  )
  const outputs = graph.trace(() => pick(model.forward(inputs as ModelInputs)))
  await using executable = await engine.compile(outputs as never, { mode: 'small' })
  return executable.run(feeds)
}

const ids = (rows: number[][]) => tensorData('int64', rows)

describe('positions of RoBERTa', () => {
  const roberta = initialized(AutoModel.fromConfig(configure('roberta')))
  const last = ({ last_hidden_state }: ModelOutput) => ({ last_hidden_state: last_hidden_state! })

  it('are counted over the tokens from behind the number of the padding token', async () => {
    const tokens = ids([[5, 6, 1, 7]])
    const counted = await run(roberta, { input_ids: tokens }, last)
    const given = await run(roberta, { input_ids: tokens, position_ids: ids([[2, 3, 1, 4]]) }, last)
    expect([...floats(counted.last_hidden_state)]).toEqual([...floats(given.last_hidden_state)])
  })

  it('count on behind a cache, and in a row for embeddings', () => {
    const graph = new Graph()
    const inputs_embeds = graph.input('inputs_embeds', 'float32', ['batch', 3, 8])
    const entry = () => graph.input('past', 'float32', ['batch', 2, 'past', 4])
    const cache = new KeyValueCache([{ key: entry(), value: entry() }])
    const output = graph.trace(() => roberta.forward({ inputs_embeds, cache }))
    expect(output.last_hidden_state?.shape).toEqual(['batch', 3, 8])
  })

  it('end two places before the end of the table', () => {
    const forward = (length: number) => {
      const graph = new Graph()
      return graph.trace(() => roberta.forward({ input_ids: graph.input('input_ids', 'int64', [1, length]) }))
    }
    expect(forward(8)).toBeDefined()
    expect(() => forward(9)).toThrow(/9 positions, the model was made for 8/)
  })

  it('need a padding token', () => {
    expect(() => configure('roberta', { pad_token_id: null })).toThrow(/"pad_token_id" is null, expected a token/)
  })
})

describe('question answering', () => {
  const model = initialized(AutoModelForQuestionAnswering.fromConfig(configure('bert')))
  const loss = ({ loss: value }: ModelOutput) => ({ loss: value! })
  const at = async (start: number, end: number) => {
    const feeds = {
      input_ids: ids([
        [3, 4, 5],
        [6, 7, 8],
      ]),
      start_positions: tensorData('int64', [0, start]),
    } // prettier-ignore
    return floats((await run(model, { ...feeds, end_positions: tensorData('int64', [1, end]) }, loss)).loss)[0]
  }

  it('does not count answers behind the end of the text, and puts those before it at its start', async () => {
    expect(await at(3, 1)).toBe(await at(99, 1))
    expect(await at(3, 1)).not.toBe(await at(2, 1))
    expect(await at(-100, 1)).toBe(await at(0, 1))
  })

  it('scores without giving a loss where there are no answers', async () => {
    const scores = ({ start_logits, end_logits, ...rest }: ModelOutput) => {
      expect(rest.loss).toBeUndefined()
      return { start_logits: start_logits!, end_logits: end_logits! }
    }
    expect((await run(model, { input_ids: ids([[3, 4, 5]]) }, scores)).start_logits.dims).toEqual([1, 3])
  })

  it('wants two labels', () => {
    const config = configure('bert', { id2label: { 0: 'a', 1: 'b', 2: 'c' } })
    expect(() => AutoModelForQuestionAnswering.fromConfig(config)).toThrow(/num_labels must be 2, not 3/)
  })
})

describe('padding', () => {
  it('gets no gradient in the table of tokens, but does as an output of the tied head', async () => {
    const graph = new Graph()
    const table = (auto: typeof AutoModelForTokenClassification) => {
      const model = initialized(auto.fromConfig(configure('bert')))
      const input_ids = graph.input('input_ids', 'int64', ['batch', 'sequence'])
      const labels = graph.input('labels', 'int64', ['batch', 'sequence'])
      const { loss } = graph.trace(() => model.forward({ input_ids, labels }))
      const [weight] = model.getInputEmbeddings().parameters()
      return gradients(loss!, [weight.trace(graph)])[0]
    }
    const outputs = { lookedUp: table(AutoModelForTokenClassification), tied: table(AutoModelForMaskedLM) }
    await using executable = await engine.compile(outputs, { mode: 'small' })
    const found = await executable.run({ input_ids: ids([[3, 0, 4]]), labels: ids([[1, 1, 0]]) })
    const rowOf = (name: string, row: number) => floats(found[name]).slice(row * 8, row * 8 + 8)
    expect([...rowOf('lookedUp', 0)]).toEqual(new Array(8).fill(0))
    expect([...rowOf('lookedUp', 3)].some(x => x !== 0)).toBe(true)
    expect([...rowOf('tied', 0)].some(x => x !== 0)).toBe(true)
  })
})

describe('images', () => {
  const config = configure('vit', { image_size: [8, 4], patch_size: 4, num_channels: 1 })

  it('are asked for, of the size that the model was made for', () => {
    const model = AutoModelForImageClassification.fromConfig(config)
    expect(model.inputSpecs().pixel_values.shape).toEqual(['batch', 1, 8, 4])
    expect(() => model.forward({})).toThrow(/got no pixel_values/)
    const graph = new Graph()
    const pixel_values = graph.input('pixel_values', 'float32', ['batch', 1, 4, 4])
    expect(() => model.forward({ pixel_values })).toThrow(/shape \[batch, 1, 4, 4\].*resize the images to 8 x 4/)
  })

  it('refuse patches that are larger than they', () => {
    expect(() => configure('vit', { image_size: 4, patch_size: 8 })).toThrow(/patches no larger than the images/)
    expect(() => configure('vit', { image_size: '4' })).toThrow(/"image_size" is "4".*number of pixels or two/)
  })
})

describe('an encoder', () => {
  it('is refused as a decoder', () => {
    expect(() => AutoModel.fromConfig(configure('bert', { is_decoder: true }))).toThrow(/"is_decoder" is true/)
  })
})
