/** @file Encoder-decoders without the oracle: what the decoder reads, what is computed, ties, constants, and errors. */
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { temporaryFolder } from '../../test/temporary.ts'
import { Graph, reachableNodes } from '../graph/index.ts'
import { KeyValueCache, type Parameter } from '../nn/index.ts'
import { Engine, floats, NodeBackend, type TensorData, tensorData } from '../runtime/index.ts'
import { SafetensorsFile } from '../weights/index.ts'
import {
  AutoConfig,
  AutoModel,
  AutoModelForSeq2SeqLM,
  BartForConditionalGeneration,
  type ModelInputs,
  type ModelOutput,
  type PreTrainedModel,
} from './index.ts'

const engine = new Engine(new NodeBackend())
afterAll(() => engine.dispose())

const SIZES = {
  t5: { vocab_size: 20, d_model: 8, d_kv: 6, d_ff: 12, num_layers: 1, num_decoder_layers: 2, num_heads: 2 },
  bart: {
    ...{ vocab_size: 20, d_model: 8, encoder_layers: 1, encoder_ffn_dim: 12, encoder_attention_heads: 2 },
    ...{ decoder_layers: 2, decoder_ffn_dim: 10, decoder_attention_heads: 4, max_position_embeddings: 16 },
  },
} as const
type Type = keyof typeof SIZES

function build(type: Type, json: object = {}, auto = AutoModelForSeq2SeqLM): PreTrainedModel {
  const start = type === 't5' ? { decoder_start_token_id: 0 } : {}
  const config = AutoConfig.fromJSON({ model_type: type, ...SIZES[type], ...start, ...json } as { model_type: string })
  const model = auto.fromConfig(config)
  model.initialize(1)
  return model
}

/** Traces `model` on symbolic inputs of its own declaration, those named only. */
function trace(model: PreTrainedModel, names: string[], more: ModelInputs = {}, graph = new Graph()): ModelOutput {
  const inputs: ModelInputs = { ...more }
  for (const name of names) {
    const { dtype, shape } = model.inputSpecs()[name]
    Object.assign(inputs, { [name]: graph.input(name, dtype, shape) })
  }
  return graph.trace(() => model.forward(inputs))
}

/** The logits of `model` on `feeds`. */
async function logitsOf(model: PreTrainedModel, feeds: Record<string, TensorData>): Promise<number[]> {
  const { logits } = trace(model, Object.keys(feeds))
  await using executable = await engine.compile({ logits: logits! }, { mode: 'small' })
  return [...floats((await executable.run(feeds)).logits)]
}

const input_ids = tensorData('int64', [[5, 9, 2, 7]])

describe.each(['t5', 'bart'] as const)('what the decoder of %s reads', type => {
  const model = build(type)
  const start = type === 't5' ? 0 : 2
  const pad = type === 't5' ? 0 : 1

  it('is the labels one position later, with padding in the place of -100', async () => {
    const labels = tensorData('int64', [[11, 12, -100, 13]])
    const shifted = tensorData('int64', [[start, 11, 12, pad]])
    expect(await logitsOf(model, { input_ids, labels })).toEqual(
      await logitsOf(model, { input_ids, decoder_input_ids: shifted }),
    )
  })

  it('is what it is given, labels or not', async () => {
    const decoder_input_ids = tensorData('int64', [[start, 4]])
    const both = await logitsOf(model, { input_ids, decoder_input_ids, labels: tensorData('int64', [[11, 12]]) })
    expect(both).toEqual(await logitsOf(model, { input_ids, decoder_input_ids }))
  })

  it('is masked where its mask says so', async () => {
    const tokens = (second: number) => tensorData('int64', [[start, second, 6]])
    const masked = (second: number, mask: number[]) =>
      logitsOf(model, {
        input_ids,
        decoder_input_ids: tokens(second),
        decoder_attention_mask: tensorData('int64', [mask]),
      })
    const last = (logits: number[]) => logits.slice(-20)
    expect(last(await masked(4, [1, 0, 1]))).toEqual(last(await masked(8, [1, 0, 1])))
    expect(last(await masked(4, [1, 1, 1]))).not.toEqual(last(await masked(8, [1, 1, 1])))
  })
})

describe('what the decoder reads', () => {
  it("is, in BART, the encoder's tokens where nothing else is given", async () => {
    const model = build('bart')
    expect(await logitsOf(model, { input_ids })).toEqual(
      await logitsOf(model, { input_ids, decoder_input_ids: tensorData('int64', [[2, 5, 9, 2]]) }),
    )
  })

  it('must be given in T5', () => {
    expect(() => trace(build('t5'), ['input_ids'])).toThrow(/neither decoder_input_ids nor labels/)
  })

  it('cannot be made of labels without a start', () => {
    const model = build('t5', { decoder_start_token_id: null })
    expect(() => trace(model, ['input_ids', 'labels'])).toThrow(/"decoder_start_token_id" is null.*set it/)
  })
})

describe.each(['t5', 'bart'] as const)('the encoder of %s', type => {
  const model = build(type)
  const opsOf = ({ logits }: ModelOutput) => reachableNodes([logits!]).length

  it('is not computed where its result is given', () => {
    const whole = trace(model, ['input_ids', 'decoder_input_ids'])
    const decoder = trace(model, ['encoder_hidden_states', 'decoder_input_ids'])
    expect(opsOf(decoder)).toBeLessThan(opsOf(whole))
    expect(decoder.logits?.shape).toEqual(['batch', 'target', 20])
    expect(decoder.encoder_last_hidden_state?.node.op).toBe('Input')
  })

  it('leaves its keys and values in the cache, with which the next pass needs nothing of it', () => {
    const first = new KeyValueCache([])
    trace(model, ['input_ids', 'decoder_input_ids'], { cache: first })
    const heads = type === 't5' ? 2 : 4
    const width = type === 't5' ? 6 : 2
    expect(first.presentCross.map(({ key }) => key.shape)).toEqual(Array(2).fill(['batch', heads, 'sequence', width]))
    expect(first.present.map(({ key }) => key.shape)).toEqual(Array(2).fill(['batch', heads, 'target', width]))

    const graph = new Graph()
    const stored = (name: string, length: string) =>
      [0, 1].map(i => ({
        key: graph.input(`${name}.key.${i}`, 'float32', ['batch', heads, length, width]),
        value: graph.input(`${name}.value.${i}`, 'float32', ['batch', heads, length, width]),
      }))
    const cache = new KeyValueCache(stored('own', 'past'), stored('cross', 'sequence'))
    const { logits } = trace(model, ['decoder_input_ids', 'attention_mask'], { cache }, graph)
    expect(logits?.shape).toEqual(['batch', 'target', 20])
    expect(cache.presentCross).toEqual([])
  })
})

describe('ties', () => {
  const names = (model: PreTrainedModel) => [...model.namedParameters()].map(([name]) => name)

  it.each(['t5', 'bart'] as const)('of %s join the embeddings, and the output layer where the file says so', type => {
    const slots = (json: object) => {
      const all = new Map<Parameter, string[]>()
      for (const [name, parameter] of build(type, json).parameterSlots()) {
        all.set(parameter, [...(all.get(parameter) ?? []), name])
      }
      return [...all.values()].filter(group => group.length > 1)
    }
    const prefix = type === 'bart' ? 'model.' : ''
    const embeddings = ['shared', 'encoder.embed_tokens', 'decoder.embed_tokens'].map(name => `${prefix}${name}.weight`)
    expect(slots({ tie_word_embeddings: false })).toEqual([embeddings])
    expect(slots({ tie_word_embeddings: true })).toEqual([[...embeddings, 'lm_head.weight']])
    expect(names(build(type, { tie_word_embeddings: false }))).toContain('lm_head.weight')
  })

  it("decide whether T5's result is scaled, unless the file says that itself", async () => {
    const of = (json: object) => AutoConfig.fromJSON({ model_type: 't5', ...json }).scale_decoder_outputs
    expect(of({})).toBe(true)
    expect(of({ tie_word_embeddings: false })).toBe(false)
    expect(of({ tie_word_embeddings: true, scale_decoder_outputs: false })).toBe(false)
    expect(AutoConfig.fromJSON({ model_type: 'mt5', tie_word_embeddings: true }).scale_decoder_outputs).toBe(false)
    const decoder_input_ids = tensorData('int64', [[0, 4]])
    const logits = (scale_decoder_outputs: boolean) =>
      logitsOf(build('t5', { scale_decoder_outputs }), { input_ids, decoder_input_ids })
    const [scaled, plain] = [await logits(true), await logits(false)]
    for (const [i, value] of scaled.entries()) expect(value).toBeCloseTo(plain[i] / Math.sqrt(8), 4)
  })
})

describe("BART's constant on the logits", () => {
  it('is no parameter, is added, and is saved and loaded', async () => {
    const model = build('bart') as BartForConditionalGeneration
    expect([...model.namedParameters()].map(([name]) => name)).not.toContain('final_logits_bias')
    expect(model.final_logits_bias.requiresGrad).toBe(false)
    expect([...model.clone().namedTensors()].map(([name]) => name)).toContain('final_logits_bias')
    const before = await logitsOf(model, { input_ids })
    model.final_logits_bias.data = Float32Array.from({ length: 20 }, (_, i) => i)
    const after = await logitsOf(model, { input_ids })
    for (const [i, value] of after.entries()) expect(value).toBeCloseTo(before[i] + (i % 20), 4)

    const folder = await temporaryFolder()
    await model.savePretrained(folder)
    const again = await BartForConditionalGeneration.fromPretrained(folder)
    expect(await logitsOf(again, { input_ids })).toEqual(after)
    await using file = await SafetensorsFile.open(join(folder, 'model.safetensors'))
    expect(file.names).toContain('final_logits_bias')
  })

  it('is zero, and not told as missing, where a checkpoint lacks it', async () => {
    const folder = await temporaryFolder()
    const bare = build('bart', {}, AutoModel)
    await bare.savePretrained(folder)
    const warnings: string[] = []
    const model = await BartForConditionalGeneration.fromPretrained(folder, { onWarning: text => warnings.push(text) })
    expect(warnings).toEqual([])
    expect([...model.final_logits_bias.data]).toEqual(Array(20).fill(0))
  })
})

describe('configurations', () => {
  it('of T5 tell the gate and the activation from one word', () => {
    const of = (feed_forward_proj: string) => {
      const { is_gated_act, dense_act_fn } = AutoConfig.fromJSON({ model_type: 't5', feed_forward_proj })
      return [is_gated_act, dense_act_fn]
    }
    expect(of('relu')).toEqual([false, 'relu'])
    expect(of('gated-gelu')).toEqual([true, 'gelu_new'])
    expect(of('gated-silu')).toEqual([true, 'silu'])
    expect(() => of('gated-gelo')).toThrow(/"feed_forward_proj" is "gated-gelo".*Did you mean "gated-gelu"/)
  })

  it('take common names, and refuse a start outside the vocabulary', () => {
    const config = AutoConfig.fromJSON({ model_type: 'bart', hidden_size: 64, num_attention_heads: 4 })
    expect([config.d_model, config.encoder_attention_heads]).toEqual([64, 4])
    expect(() => AutoConfig.fromJSON({ model_type: 'bart', vocab_size: 10, decoder_start_token_id: 10 })).toThrow(
      /"decoder_start_token_id" is 10.*at most 9/,
    )
  })

  it('of BART refuse sequences longer than its tables', () => {
    const graph = new Graph()
    const long = graph.input('input_ids', 'int64', [1, 17])
    expect(() => build('bart').forward({ input_ids: long })).toThrow(/17 positions.*16/)
  })
})
