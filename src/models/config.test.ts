import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import fc from 'fast-check'
import { afterEach, describe, expect, expectTypeOf, it } from 'vitest'
import {
  AutoConfig,
  type BertConfig,
  type ConfigTypes,
  type Gpt2Config,
  isConfig,
  type LlamaConfig,
  PretrainedConfig,
  type Qwen2Config,
  registerConfig,
  registeredConfigs,
} from './config.ts'

const read = (json: object) => AutoConfig.fromJSON(json as unknown, 'config.json')

/** As published before Transformers 5. */
const QWEN = {
  architectures: ['Qwen2ForCausalLM'],
  attention_dropout: 0.0,
  bos_token_id: 151643,
  eos_token_id: 151645,
  hidden_act: 'silu',
  hidden_size: 2048,
  initializer_range: 0.02,
  intermediate_size: 11008,
  max_position_embeddings: 32768,
  max_window_layers: 70,
  model_type: 'qwen2',
  num_attention_heads: 16,
  num_hidden_layers: 36,
  num_key_value_heads: 2,
  rms_norm_eps: 1e-6,
  rope_theta: 1000000.0,
  sliding_window: 32768,
  tie_word_embeddings: true,
  torch_dtype: 'bfloat16',
  transformers_version: '4.43.1',
  use_cache: true,
  use_sliding_window: false,
  vocab_size: 151936,
} as const

const LLAMA = {
  architectures: ['LlamaForCausalLM'],
  attention_bias: false,
  attention_dropout: 0.0,
  bos_token_id: 128000,
  eos_token_id: [128001, 128008, 128009],
  head_dim: 64,
  hidden_act: 'silu',
  hidden_size: 2048,
  initializer_range: 0.02,
  intermediate_size: 8192,
  max_position_embeddings: 131072,
  mlp_bias: false,
  model_type: 'llama',
  num_attention_heads: 32,
  num_hidden_layers: 16,
  num_key_value_heads: 8,
  pretraining_tp: 1,
  rms_norm_eps: 1e-5,
  rope_scaling: {
    factor: 32.0,
    high_freq_factor: 4.0,
    low_freq_factor: 1.0,
    original_max_position_embeddings: 8192,
    rope_type: 'llama3',
  },
  rope_theta: 500000.0,
  tie_word_embeddings: true,
  torch_dtype: 'bfloat16',
  vocab_size: 128256,
} as const

const BERT = {
  architectures: ['BertForMaskedLM'],
  attention_probs_dropout_prob: 0.1,
  gradient_checkpointing: false,
  hidden_act: 'gelu',
  hidden_dropout_prob: 0.1,
  hidden_size: 768,
  initializer_range: 0.02,
  intermediate_size: 3072,
  layer_norm_eps: 1e-12,
  max_position_embeddings: 512,
  model_type: 'bert',
  num_attention_heads: 12,
  num_hidden_layers: 12,
  pad_token_id: 0,
  position_embedding_type: 'absolute',
  type_vocab_size: 2,
  vocab_size: 30522,
} as const

describe('published configurations in the older spelling', () => {
  it('Qwen2.5-3B-Instruct', () => {
    const config = AutoConfig.fromJSON(QWEN)
    expectTypeOf(config).toEqualTypeOf<Qwen2Config>()
    expect(config).toMatchObject({
      hidden_size: 2048,
      num_key_value_heads: 2,
      head_dim: 128,
      dtype: 'bfloat16',
      tie_word_embeddings: true,
      sliding_window: null,
      rope_parameters: { rope_type: 'default', rope_theta: 1000000 },
      eos_token_id: 151645,
      warnings: [],
    })
    expect(config.layer_types).toEqual(Array(36).fill('full_attention'))
  })

  it('Llama-3.2-1B', () => {
    const config = AutoConfig.fromJSON(LLAMA)
    expect(config.rope_parameters).toEqual({ ...LLAMA.rope_scaling, rope_theta: 500000 })
    expect(config.eos_token_id).toEqual([128001, 128008, 128009])
    expect(config.warnings).toEqual([])
  })

  it('bert-base-uncased', () => {
    const config = AutoConfig.fromJSON(BERT)
    expect(config).toMatchObject({ hidden_size: 768, pad_token_id: 0, dtype: null, num_labels: 2, type_vocab_size: 2 })
    expect(config.modelType).toBe('bert')
    expect(config.classifier_dropout).toBeNull()
  })
})

describe('defaults are those of Transformers 5', () => {
  it('bert', () => {
    expect(AutoConfig.fromJSON({ model_type: 'bert' })).toMatchObject({
      vocab_size: 30522,
      hidden_size: 768,
      num_hidden_layers: 12,
      num_attention_heads: 12,
      intermediate_size: 3072,
      hidden_act: 'gelu',
      hidden_dropout_prob: 0.1,
      attention_probs_dropout_prob: 0.1,
      max_position_embeddings: 512,
      layer_norm_eps: 1e-12,
      pad_token_id: 0,
      bos_token_id: null,
      tie_word_embeddings: true,
    })
  })

  it('llama', () => {
    expect(AutoConfig.fromJSON({ model_type: 'llama' })).toMatchObject({
      vocab_size: 32000,
      hidden_size: 4096,
      intermediate_size: 11008,
      num_hidden_layers: 32,
      num_key_value_heads: 32,
      head_dim: 128,
      max_position_embeddings: 2048,
      rms_norm_eps: 1e-6,
      pad_token_id: null,
      bos_token_id: 1,
      eos_token_id: 2,
      tie_word_embeddings: false,
      rope_parameters: { rope_type: 'default', rope_theta: 10000 },
      attention_bias: false,
      mlp_bias: false,
    })
  })

  it('qwen2', () => {
    expect(AutoConfig.fromJSON({ model_type: 'qwen2' })).toMatchObject({
      vocab_size: 151936,
      hidden_size: 4096,
      intermediate_size: 22016,
      num_key_value_heads: 32,
      max_position_embeddings: 32768,
      max_window_layers: 28,
      sliding_window: null,
      bos_token_id: null,
      eos_token_id: null,
      tie_word_embeddings: false,
    })
  })

  it('gpt2, also under the common names', () => {
    const config = AutoConfig.fromJSON({ model_type: 'gpt2' })
    expectTypeOf(config).toEqualTypeOf<Gpt2Config>()
    expect(config).toMatchObject({
      vocab_size: 50257,
      n_positions: 1024,
      n_embd: 768,
      n_layer: 12,
      n_head: 12,
      n_inner: null,
      activation_function: 'gelu_new',
      layer_norm_epsilon: 1e-5,
      bos_token_id: 50256,
      eos_token_id: 50256,
      hidden_size: 768,
      max_position_embeddings: 1024,
      num_attention_heads: 12,
      num_hidden_layers: 12,
      tie_word_embeddings: true,
      warnings: [],
    })
    expect(AutoConfig.fromJSON({ model_type: 'gpt2', n_embd: 32, hidden_size: 64, n_head: 4 }).n_embd).toBe(64)
  })

  it('sliding layers begin at max_window_layers', () => {
    const json = { model_type: 'qwen2', num_hidden_layers: 3, use_sliding_window: true, max_window_layers: 2 } as const
    expect(AutoConfig.fromJSON(json)).toMatchObject({
      sliding_window: 4096,
      layer_types: ['full_attention', 'full_attention', 'sliding_attention'],
    })
  })

  it('a null in num_key_value_heads and head_dim means the default', () => {
    const json = {
      model_type: 'llama',
      hidden_size: 64,
      num_attention_heads: 4,
      num_key_value_heads: null,
      head_dim: null,
    }
    expect(read(json)).toMatchObject({ num_key_value_heads: 4, head_dim: 16 })
  })
})

describe('rope_parameters', () => {
  const rope = (extra: object) => (read({ model_type: 'llama', ...extra }) as LlamaConfig).rope_parameters

  it.each([
    [{ rope_theta: 5 }, { rope_type: 'default', rope_theta: 5 }],
    [
      { rope_theta: 5, rope_scaling: null },
      { rope_type: 'default', rope_theta: 5 },
    ],
    [{ rope_scaling: { type: 'linear', factor: 2 } }, { rope_type: 'linear', factor: 2, rope_theta: 10000 }],
    [
      { rope_parameters: { rope_type: 'default', rope_theta: 7 }, rope_theta: 5 },
      { rope_type: 'default', rope_theta: 7 },
    ],
    [
      { rope_scaling: { rope_type: 'linear', factor: 2 }, rope_parameters: { rope_theta: 7 }, rope_theta: 5 },
      { rope_type: 'linear', factor: 2, rope_theta: 5 },
    ],
    [
      { rope_scaling: { type: 'yarn', factor: 4 }, max_position_embeddings: 99 },
      { rope_type: 'yarn', factor: 4, rope_theta: 10000, original_max_position_embeddings: 99 },
    ],
  ])('%j is read as %j', (json, expected) => {
    expect(rope(json)).toEqual(expected)
  })

  it.each([
    [
      { rope_scaling: { type: 'linaer' } },
      /config\.json: "rope_scaling\.rope_type" is "linaer".*Did you mean "linear"/,
    ],
    [{ rope_scaling: { type: 'linear' } }, /lacks "factor"/],
    [{ rope_parameters: { rope_type: 'llama3', factor: 8 } }, /lacks "low_freq_factor", "high_freq_factor"/],
    [
      { rope_parameters: { rope_theta: '10000' } },
      /"rope_parameters\.rope_theta" is "10000" \(string\).*positive number/,
    ],
    [{ rope_scaling: 'linear' }, /"rope_scaling" is "linear".*an object or null/],
    [{ rope_parameters: { full_attention: { rope_theta: 1 }, rope_type: 'full' } }, /by layer type \(full_attention\)/],
  ])('%j is refused', (json, message) => {
    expect(() => rope(json)).toThrow(message)
  })
})

describe('classes', () => {
  it('come from id2label, whose keys are numbers', () => {
    const config = read({ model_type: 'bert', id2label: { '0': 'no', '1': 'yes', '2': 'perhaps' } })
    expect(config).toMatchObject({ num_labels: 3, id2label: { 0: 'no', 2: 'perhaps' }, label2id: { perhaps: 2 } })
  })

  it('come from num_labels where there is no id2label, and are two by default', () => {
    expect(read({ model_type: 'bert', num_labels: 4 }).id2label[3]).toBe('LABEL_3')
    expect(read({ model_type: 'bert' }).label2id).toEqual({ LABEL_0: 0, LABEL_1: 1 })
  })

  it('that contradict each other give a warning and follow id2label, as in Transformers', () => {
    const config = read({ model_type: 'bert', num_labels: 4, id2label: { '0': 'a' }, label2id: { b: '0' } })
    expect(config.num_labels).toBe(1)
    expect(config.warnings).toEqual([
      '"num_labels" is 4 and "id2label" names 1 classes; "id2label" was taken.',
      '"label2id" lacks "a" of "id2label".',
    ])
  })

  it.each([
    [{ id2label: { zero: 'a' } }, /"id2label" is .*the entry "zero" is not/],
    [{ id2label: {} }, /at least one class/],
    [{ id2label: { '0': 'a' }, label2id: { a: 'x' } }, /"label2id".*the entry "a"/],
    [{ problem_type: 'single_label_classification', num_labels: 1 }, /"problem_type".*more than one label.*regression/],
    [{ problem_type: 'regresion' }, /"problem_type" is "regresion".*Did you mean "regression"/],
  ])('%j is refused', (json, message) => {
    expect(() => read({ model_type: 'bert', ...json })).toThrow(message)
  })
})

describe('overrides', () => {
  const config = AutoConfig.fromJSON(BERT, 'config.json')

  it('num_labels gives new names, unless the number is the same', () => {
    expect(config.with({ num_labels: 3 }).id2label).toEqual({ 0: 'LABEL_0', 1: 'LABEL_1', 2: 'LABEL_2' })
    const named = config.with({ id2label: ['no', 'yes'] })
    expect(named.label2id).toEqual({ no: 0, yes: 1 })
    expect(named.with({ num_labels: 2 }).id2label).toEqual({ 0: 'no', 1: 'yes' })
    expect(config.with({ label2id: { no: 0, yes: 1 } }).id2label).toEqual({ 0: 'no', 1: 'yes' })
  })

  it('are written by toJSON beside what was read, and leave the original as it was', () => {
    const saved = config.with({ num_labels: 3, problem_type: 'regression', hidden_dropout_prob: 0 }).toJSON()
    expect(saved).toEqual({
      ...BERT,
      hidden_dropout_prob: 0,
      problem_type: 'regression',
      id2label: { '0': 'LABEL_0', '1': 'LABEL_1', '2': 'LABEL_2' },
      label2id: { LABEL_0: 0, LABEL_1: 1, LABEL_2: 2 },
    })
    expect(config.toJSON()).toEqual(BERT)
    expect(JSON.parse(JSON.stringify(config))).toEqual(BERT)
  })

  it('keep the type, take the common names, and replace num_labels of the file', () => {
    const gpt2 = AutoConfig.fromJSON({ model_type: 'gpt2', num_labels: 5, n_embd: 64, n_head: 4 })
    const wider = gpt2.with({ hidden_size: 128, num_labels: 6 })
    expectTypeOf(wider).toEqualTypeOf<Gpt2Config>()
    expect(wider.n_embd).toBe(128)
    expect(wider.toJSON()).toMatchObject({ n_embd: 128 })
    expect(wider.toJSON()).not.toHaveProperty('num_labels')
    expect(wider.toJSON()).not.toHaveProperty('hidden_size')
  })

  it.each([
    [{ num_label: 3 }, /"num_label" was to be set.*no such key.*Did you mean "num_labels"/],
    [{ num_labels: 3, id2label: ['a', 'b'] }, /num_labels was set to 3 and id2label names 2/],
    [{ num_labels: 0 }, /num_labels was set to 0/],
    [{ hidden_size: 770 }, /"hidden_size" is 770, which "num_attention_heads" \(12\) does not divide/],
  ])('%j is refused', (overrides, message) => {
    expect(() => config.with(overrides)).toThrow(message)
  })

  it('the object is frozen', () => {
    expect(() => Object.assign(config, { num_labels: 7 })).toThrow(TypeError)
    expect(() => Object.assign(config.raw, { hidden_size: 7 })).toThrow(TypeError)
  })
})

describe('a wrong value names the file, the key, what it is and what was expected', () => {
  it.each([
    [
      { model_type: 'bert', hidden_size: '768' },
      /^config\.json: "hidden_size" is "768" \(string\), expected a whole number/,
    ],
    [{ model_type: 'bert', hidden_size: null }, /"hidden_size" is null/],
    [{ model_type: 'bert', hidden_size: 0 }, /"hidden_size" is 0 \(number\), expected a whole number of at least 1/],
    [{ model_type: 'bert', num_hidden_layers: 1.5 }, /"num_hidden_layers" is 1\.5/],
    [{ model_type: 'bert', hidden_size: true }, /"hidden_size" is true \(boolean\)/],
    [{ model_type: 'bert', hidden_dropout_prob: 2 }, /"hidden_dropout_prob" is 2 .*a number from 0 to 1/],
    [{ model_type: 'bert', hidden_size: 30, num_attention_heads: 4 }, /"num_attention_heads" \(4\) does not divide/],
    [{ model_type: 'bert', hidden_act: 'gleu' }, /"hidden_act" is "gleu".*Did you mean "gelu"/],
    [{ model_type: 'bert', position_embedding_type: 'relative_key' }, /"position_embedding_type".*absolute/],
    [{ model_type: 'bert', use_cache: 1 }, /"use_cache" is 1 \(number\), expected true or false/],
    [{ model_type: 'bert', architectures: 'BertModel' }, /"architectures".*a list of strings/],
    [{ model_type: 'bert', eos_token_id: [1, 'x'] }, /"eos_token_id".*the entry "x"/],
    [{ model_type: 'bert', torch_dtype: 'bfloat61' }, /"torch_dtype" is "bfloat61".*Did you mean "bfloat16"/],
    [
      { model_type: 'llama', num_attention_heads: 4, num_key_value_heads: 3 },
      /"num_key_value_heads" \(3\) does not divide/,
    ],
    [{ model_type: 'gpt2', n_head: 5 }, /"n_embd" is 768, which "n_head" \(5\)/],
    [{ model_type: 'gpt2', activation_function: 7 }, /"activation_function" is 7/],
    [{ model_type: 'qwen2', num_hidden_layers: 2, layer_types: ['full_attention'] }, /2 entries.*and has 1/],
    [{ model_type: 'qwen2', num_hidden_layers: 1, layer_types: ['half'] }, /entries among full_attention/],
    [{ hidden_size: 768 }, /"model_type" is nothing.*bert, .*gpt2, .*llama, .*qwen2/],
    [{ model_type: 'lama' }, /"model_type" is "lama".*Known: .*Did you mean "llama".*registerConfig/],
    [[], /is \[\] \(a list\), expected a JSON object/],
    [null, /is null, expected a JSON object/],
  ])('%j', (json, message) => {
    expect(() => read(json as object)).toThrow(message)
  })

  it('whatever JSON is given: an error that names the file, or a configuration that holds', () => {
    const keys = [
      'hidden_size',
      'num_attention_heads',
      'num_key_value_heads',
      'head_dim',
      'rope_theta',
      'hidden_act',
      'id2label',
    ]
    const json = fc.dictionary(fc.constantFrom(...keys), fc.oneof(fc.jsonValue(), fc.integer({ min: 1, max: 64 })))
    fc.assert(
      fc.property(json, values => {
        let config: LlamaConfig
        try {
          config = read({ ...values, model_type: 'llama' }) as LlamaConfig
        } catch (error) {
          expect((error as Error).message).toMatch(/^config\.json: "/)
          return
        }
        expect(config.hidden_size % config.num_attention_heads).toBe(0)
        expect(config.num_attention_heads % config.num_key_value_heads).toBe(0)
        expect(config.num_labels).toBe(Object.keys(config.id2label).length)
        expect(config.rope_parameters.rope_theta).toBeGreaterThan(0)
        expect(config.toJSON()).toEqual({ ...values, model_type: 'llama' })
      }),
    )
  })
})

it('a special token outside the vocabulary is a warning', () => {
  expect(read({ model_type: 'llama', pad_token_id: -1, vocab_size: 10, eos_token_id: [2, 11] }).warnings).toEqual([
    '"pad_token_id" is -1, outside the vocabulary of 10 tokens.',
    '"eos_token_id" is 11, outside the vocabulary of 10 tokens.',
  ])
})

it('dtype wins over torch_dtype, and "torch." is dropped', () => {
  expect(read({ model_type: 'bert', dtype: 'float16', torch_dtype: 'float32' }).dtype).toBe('float16')
  expect(read({ model_type: 'bert', torch_dtype: 'torch.bfloat16' }).dtype).toBe('bfloat16')
})

it('an architecture of one’s own is read once it is registered', () => {
  registerConfig('toy', reader => ({ width: reader.integer('width', 16) }), { attributeMap: { hidden_size: 'width' } })
  expect(registeredConfigs()).toContain('toy')
  expect(read({ model_type: 'toy', hidden_size: 8 })).toMatchObject({ width: 8, hidden_size: 8, num_labels: 2 })
})

it('isConfig narrows the type', () => {
  const config = read(BERT)
  expect(isConfig(config, 'llama')).toBe(false)
  if (!isConfig(config, 'bert')) throw new Error('it is a BERT')
  expectTypeOf(config).toExtend<BertConfig>()
  expectTypeOf<ConfigTypes['gpt2']>().toEqualTypeOf<Gpt2Config>()
})

describe('toJSONString', () => {
  it('writes floats with a decimal point, as Transformers demands, and sorts the keys', () => {
    const text = read({
      vocab_size: 9,
      model_type: 'llama',
      initializer_range: 1,
      rope_theta: 500000,
      rms_norm_eps: 1e-6,
    })
    expect(text.toJSONString()).toBe(
      '{\n  "initializer_range": 1.0,\n  "model_type": "llama",\n  "rms_norm_eps": 1e-06,\n' +
        '  "rope_theta": 500000.0,\n  "vocab_size": 9\n}\n',
    )
  })

  it('is read back as the same JSON', () => {
    for (const json of [QWEN, LLAMA, BERT]) expect(JSON.parse(read(json).toJSONString())).toEqual(json)
  })
})

describe('fromPretrained', () => {
  let folder = ''
  const write = async (files: Record<string, string>) => {
    folder = await mkdtemp(join(tmpdir(), 'config-test-'))
    for (const [name, text] of Object.entries(files)) await writeFile(join(folder, name), text)
    return folder
  }
  afterEach(async () => folder && rm(folder, { recursive: true, force: true }))

  it('reads a folder and applies overrides', async () => {
    await write({ 'config.json': JSON.stringify(BERT) })
    const config = await AutoConfig.fromPretrained(folder, { overrides: { num_labels: 5 } })
    expect(config).toBeInstanceOf(PretrainedConfig)
    expect(config.num_labels).toBe(5)
  })

  it('keeps whole numbers floats that are floats in the file, wherever they stand', async () => {
    const text = `{
  "a \\"key\\" with 1.0": [0, 1.0, 2e0, "3.0", -4.00],
  "embd_pdrop": 0.0,
  "model_type": "bert",
  "task_specific_params": {"summarization": {"length_penalty": 2.0, "num_beams": 4}}
}`
    await write({ 'config.json': text })
    const config = await AutoConfig.fromPretrained(folder)
    const saved = config.with({ vocab_size: 9, embd_pdrop: 1 }).toJSONString()
    expect(saved).toContain('[\n    0,\n    1.0,\n    2.0,\n    "3.0",\n    -4.0\n  ]')
    expect(saved).toContain('"embd_pdrop": 1.0')
    expect(saved).toContain('"length_penalty": 2.0,\n      "num_beams": 4')
    expect(saved).toContain('"vocab_size": 9')
    const without = config.without('task_specific_params').toJSONString()
    expect([without.includes('length_penalty'), without.includes('"embd_pdrop": 0.0')]).toEqual([false, true])
  })

  it('names the file of broken JSON and of a wrong value', async () => {
    await write({ 'config.json': '{"model_type": "bert",' })
    await expect(AutoConfig.fromPretrained(folder)).rejects.toThrow(/config\.json is not valid JSON: .*Repair/)
    await writeFile(join(folder, 'config.json'), '{"model_type": "bert", "hidden_size": "x"}')
    await expect(AutoConfig.fromPretrained(folder)).rejects.toThrow(/config-test-.*config\.json: "hidden_size" is "x"/)
  })

  it('says what a folder without config.json holds', async () => {
    await write({ 'notes.txt': '' })
    await expect(AutoConfig.fromPretrained(folder)).rejects.toThrow(/no config\.json in .*It holds notes\.txt/)
    await writeFile(join(folder, 'adapter_config.json'), '{}')
    await expect(AutoConfig.fromPretrained(folder)).rejects.toThrow(/holds an adapter.*PeftModel\.fromPretrained/)
  })
})

const shared = resolve(import.meta.dirname, '../../../shared')
const reference = ['oracle/models', 'models'].flatMap(name => {
  const folder = join(shared, name)
  if (!existsSync(folder)) return []
  return readdirSync(folder)
    .filter(model => /^(mini-)?(bert|llama|qwen2|gpt2)/.test(model))
    .map(model => join(folder, model, 'config.json'))
    .filter(existsSync)
})

describe.skipIf(!reference.length)('configurations written by Python', () => {
  it.each(reference)('%s: every key of the file has the same value in the object', async path => {
    const json = JSON.parse(readFileSync(path, 'utf8')) as Record<string, unknown>
    const config = await AutoConfig.fromPretrained(resolve(path, '..'))
    const { pretraining_tp: _, ...expected } = json
    expect(config).toMatchObject(expected)
    expect(config.toJSON()).toEqual(json)
    // One of them was saved with GPT-2's end token and a vocabulary of 120.
    expect(config.warnings.every(warning => json.eos_token_id === 50256 && warning.includes('is 50256, outside'))).toBe(
      true,
    )
    if (path.includes('oracle')) expect(config.toJSONString().trim()).toBe(readFileSync(path, 'utf8').trim())
  })
})
