/** @file Trees, names, counts and shapes of the architectures, without running them. */
import { describe, expect, it } from 'vitest'
import { Graph, reachableNodes } from '../graph/index.ts'
import { KeyValueCache } from '../nn/index.ts'
import { SafetensorsFile } from '../weights/index.ts'
import { findJoined } from './checkpoint-names.ts'
import {
  AutoConfig,
  AutoModelForCausalLM,
  AutoModelForSequenceClassification,
  BertForSequenceClassification,
  LlamaForCausalLM,
  type PreTrainedModel,
  Qwen2ForCausalLM,
} from './index.ts'
import type { ModelInputs } from './inputs.ts'
import { AUTO_CLASSES, describeOracleModels } from './testing/oracle.ts'

const TINY = { vocab_size: 20, hidden_size: 8, num_hidden_layers: 2, num_attention_heads: 2, intermediate_size: 16 }

function build(model_type: string, json: object = {}): PreTrainedModel {
  const config = AutoConfig.fromJSON({ model_type, ...TINY, ...json } as { model_type: string })
  return (model_type === 'bert' ? AutoModelForSequenceClassification : AutoModelForCausalLM).fromConfig(config)
}

/** Traces `model` on symbolic inputs of its own declaration, those named only. */
function trace(model: PreTrainedModel, names: string[], more: ModelInputs = {}, graph = new Graph()) {
  const inputs: ModelInputs = { ...more }
  for (const name of names) {
    const { dtype, shape } = model.inputSpecs()[name]
    Object.assign(inputs, { [name]: graph.input(name, dtype, shape) })
  }
  return model.forward(inputs)
}

describeOracleModels((_name, folder, golden) => {
  const open = async () => AUTO_CLASSES[golden.kind].fromConfig(await AutoConfig.fromPretrained(folder))

  it('builds the class that the checkpoint was saved from, with its number of parameters', async () => {
    const model = await open()
    expect(model.constructor.name).toBe(golden.cls)
    expect(model.numParameters()).toBe(golden.parameters)
  })

  it("has exactly the checkpoint's names and shapes", async () => {
    await using file = await SafetensorsFile.open(`${folder}/model.safetensors`)
    const model = await open()
    const joined = findJoined(model, file)
    const parts = new Set([...joined.values()].flatMap(tensor => tensor.parts))
    const inFile = [
      ...file.names.filter(name => !parts.has(name)).map(name => `${model.currentName(name)} ${file.info(name).shape}`),
      ...[...joined].map(([name, { shape }]) => `${name} ${shape}`),
    ]
    const inModel = [...model.namedTensors()].map(([name, { shape }]) => `${name} ${shape}`)
    expect(inModel.sort()).toEqual(inFile.sort())
  })
})

describe('counting', () => {
  it('counts Qwen2.5-3B without memory for its values', () => {
    const config = AutoConfig.fromJSON({
      model_type: 'qwen2',
      hidden_size: 2048,
      intermediate_size: 11008,
      num_hidden_layers: 36,
      num_attention_heads: 16,
      num_key_value_heads: 2,
      tie_word_embeddings: true,
      vocab_size: 151936,
    })
    const model = Qwen2ForCausalLM.fromConfig(config)
    expect(model.numParameters()).toBe(3_085_938_688)
    expect(model.parameters().some(parameter => parameter.hasValue)).toBe(false)
  })

  it('gives a bias to the projections that the configuration says', () => {
    const names = (json: object) =>
      [...build('llama', json).namedParameters()].map(([name]) => name).filter(n => n.endsWith('bias'))
    expect(names({})).toEqual([])
    expect(names({ attention_bias: true, num_hidden_layers: 1 })).toEqual(
      ['q', 'k', 'v', 'o'].map(p => `model.layers.0.self_attn.${p}_proj.bias`),
    )
    expect(names({ mlp_bias: true, num_hidden_layers: 1 })).toHaveLength(3)
  })
})

describe('outputs', () => {
  it('names every hidden state, and shapes logits by batch, sequence and vocabulary', () => {
    const output = trace(build('llama'), ['input_ids', 'attention_mask', 'labels'])
    expect(output.logits?.shape).toEqual(['batch', 'sequence', 20])
    expect(output.loss?.shape).toEqual([])
    expect(output.hidden_states).toHaveLength(3)
    expect(output.hidden_states?.at(-1)).toBe(output.last_hidden_state)
  })

  it('gives a classifier one row of logits a sequence', () => {
    const output = trace(build('bert', { id2label: { 0: 'a', 1: 'b', 2: 'c' } }), [
      'input_ids',
      'token_type_ids',
      'labels',
    ])
    expect(output.logits?.shape).toEqual(['batch', 3])
    expect(output.pooler_output?.shape).toEqual(['batch', 8])
  })

  it('feeds the head its rows and the loss the very product, so that both can be differentiated as one', () => {
    const { loss } = trace(build('llama'), ['input_ids', 'labels'])
    const entropy = reachableNodes([loss!]).find(node => node.op === 'CrossEntropy')!
    expect(entropy.inputs[0].node.op).toBe('Linear')
    expect(entropy.inputs[0].shape).toEqual(['batch*sequence', 20])
  })

  it('takes embeddings in place of tokens', () => {
    for (const type of ['bert', 'llama', 'gpt2']) {
      const json = type === 'gpt2' ? { n_embd: 8, n_layer: 1, n_head: 2 } : {}
      expect(trace(build(type, json), ['inputs_embeds', 'attention_mask']).logits).toBeDefined()
    }
  })

  it('computes the last logits only when told so', () => {
    const output = trace(build('llama'), ['input_ids'], { num_logits_to_keep: 1 })
    expect(output.logits?.shape).toEqual(['batch', 1, 20])
    expect(() => trace(build('llama'), ['input_ids', 'labels'], { num_logits_to_keep: 1 })).toThrow(/leave one out/)
    expect(() => trace(build('llama'), ['input_ids'], { num_logits_to_keep: 0 })).toThrow(/at least 1/)
  })

  it('computes masks and rotary tables once, whatever the number of layers', () => {
    const count = (num_hidden_layers: number, op: string) => {
      const { logits } = trace(build('llama', { num_hidden_layers }), ['input_ids', 'attention_mask'])
      return reachableNodes([logits!]).filter(node => node.op === op).length
    }
    for (const op of ['Cos', 'Sin', 'Where', 'LessOrEqual']) expect(count(4, op)).toBe(count(1, op))
  })
})

describe('the cache', () => {
  it('takes past keys and values and leaves the new ones, layer by layer', () => {
    const model = build('llama', { num_key_value_heads: 1 })
    const graph = new Graph()
    const past = [0, 1].map(i => ({
      key: graph.input(`key.${i}`, 'float32', ['batch', 1, 'past', 4]),
      value: graph.input(`value.${i}`, 'float32', ['batch', 1, 'past', 4]),
    }))
    const cache = new KeyValueCache(past)
    const attention_mask = graph.input('attention_mask', 'int64', ['batch', 'past+sequence'])
    const output = trace(model, ['input_ids'], { cache, attention_mask }, graph)
    expect(output.logits?.shape).toEqual(['batch', 'sequence', 20])
    expect(cache.present.map(({ key }) => key.shape)).toEqual([
      ['batch', 1, 'sequence', 4],
      ['batch', 1, 'sequence', 4],
    ])
  })
})

describe('dropout', () => {
  const sites = (model: PreTrainedModel, training: boolean) => {
    const graph = new Graph()
    graph.training = training
    const { loss } = trace(model, ['input_ids', 'attention_mask', 'labels'], {}, graph)
    return reachableNodes([loss!]).flatMap(({ op, attributes }) =>
      op === 'DropoutMask' ? [1 - (attributes.keep as number)] : [],
    )
  }

  it('acts while training, where and as strongly as the configuration says', () => {
    const probabilities = { hidden_dropout_prob: 0.25, attention_probs_dropout_prob: 0.5, classifier_dropout: 0.75 }
    const model = build('bert', { num_hidden_layers: 1, ...probabilities })
    expect(sites(model, true).sort()).toEqual([0.25, 0.25, 0.25, 0.5, 0.75])
    expect(sites(model, false)).toEqual([])
    expect(sites(build('llama', { attention_dropout: 0.5 }), true)).toEqual([0.5, 0.5])
  })
})

describe('sliding windows', () => {
  const masks = (json: object) => {
    const { logits } = trace(build('qwen2', { num_key_value_heads: 2, ...json }), ['input_ids'])
    return reachableNodes([logits!]).filter(node => node.op === 'Min').length
  }

  it('limits only the layers that slide, and only when the configuration says so', () => {
    expect(masks({ use_sliding_window: true, sliding_window: 4, max_window_layers: 1 })).toBe(1)
    expect(masks({ use_sliding_window: false, sliding_window: 4, max_window_layers: 1 })).toBe(0)
  })
})

describe('errors', () => {
  it('asks for exactly one of tokens and embeddings', () => {
    expect(() => trace(build('llama'), ['input_ids', 'inputs_embeds'])).toThrow(/both input_ids and inputs_embeds/)
    expect(() => new Graph().trace(() => build('llama').forward({}))).toThrow(/neither input_ids nor inputs_embeds/)
  })

  it('refuses a configuration of another architecture', () => {
    const config = AutoConfig.fromJSON({ model_type: 'bert', ...TINY })
    expect(() => LlamaForCausalLM.fromConfig(config)).toThrow(/model_type "bert", expected "llama"/)
  })

  it('lists what is known when an architecture has no model for a task', () => {
    const config = AutoConfig.fromJSON({ model_type: 'bert', ...TINY })
    expect(() => AutoModelForCausalLM.fromConfig(config)).toThrow(
      /"bert" has no model for CAUSAL_LM.*gpt2, .*llama, .*qwen2/,
    )
  })

  it('refuses a sequence longer than the table of positions', () => {
    const graph = new Graph()
    const input_ids = graph.input('input_ids', 'int64', [1, 9])
    expect(() => build('bert', { max_position_embeddings: 8 }).forward({ input_ids })).toThrow(/9 positions.*8/)
  })

  it('does not guess the loss of a regression', () => {
    const model = build('bert', { id2label: { 0: 'score' } })
    expect(() => trace(model, ['input_ids', 'labels'])).toThrow(/problem_type "regression"/)
    expect(trace(model, ['input_ids']).loss).toBeUndefined()
  })

  it('does not guess where a sequence ends', () => {
    const config = AutoConfig.fromJSON({ model_type: 'llama', ...TINY })
    const model = AutoModelForSequenceClassification.fromConfig(config)
    expect(() => trace(model, ['input_ids'])).toThrow(/no pad_token_id and no attention_mask/)
    expect(trace(model, ['input_ids', 'attention_mask']).logits?.shape).toEqual(['batch', 2])
  })

  it('refuses decoders under the name of BERT', () => {
    expect(() =>
      BertForSequenceClassification.fromConfig(AutoConfig.fromJSON({ model_type: 'bert', is_decoder: true })),
    ).toThrow(/"is_decoder" is true/)
  })
})
