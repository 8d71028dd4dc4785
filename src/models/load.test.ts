/** @file Loading and saving: names of old and other checkpoints, missing values, ties, errors, the round trip. */
import { cp, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { temporaryFolder } from '../../test/temporary.ts'
import { fromFloat32, type MemoryEntry, SafetensorsFile, serializeSafetensors } from '../weights/index.ts'
import {
  AutoConfig,
  AutoModel,
  AutoModelForCausalLM,
  AutoModelForSequenceClassification,
  BertForSequenceClassification,
  BertModel,
  GPT2LMHeadModel,
  LlamaForCausalLM,
  LlamaForSequenceClassification,
  type PreTrainedModel,
} from './index.ts'

const BERT = {
  model_type: 'bert',
  vocab_size: 12,
  hidden_size: 4,
  num_hidden_layers: 1,
  num_attention_heads: 2,
  intermediate_size: 6,
}
const LLAMA = { ...BERT, model_type: 'llama', num_key_value_heads: 1, tie_word_embeddings: true }
const GPT2 = { model_type: 'gpt2', vocab_size: 12, n_embd: 4, n_layer: 1, n_head: 2, n_positions: 8 }

const base = (json: { model_type: string }) => AutoModel.fromConfig(AutoConfig.fromJSON(json))
const causal = (json: { model_type: string }) => AutoModelForCausalLM.fromConfig(AutoConfig.fromJSON(json))

/** The tensors of `model`, each filled with numbers of its own, under names that `rename` gives. */
function entries(model: PreTrainedModel, rename = (name: string) => name): MemoryEntry[] {
  return [...model.namedParameters()].map(([name, { shape, size }], i) => ({
    name: rename(name),
    dtype: 'F32',
    shape,
    bytes: Float32Array.from({ length: size }, (_, k) => i + k / 1024),
  }))
}

/** A folder with a configuration and a checkpoint. */
function checkpoint(json: object, tensors: MemoryEntry[]): Promise<string> {
  return temporaryFolder({
    'config.json': JSON.stringify(json),
    'model.safetensors': serializeSafetensors(tensors, { format: 'pt' }),
  })
}

const tensor = (name: string, shape: number[], value = 7): MemoryEntry => ({
  name,
  dtype: 'F32',
  shape,
  bytes: new Float32Array(shape.reduce((a, b) => a * b, 1)).fill(value),
})

/** A warning taker and what it took. */
function listener() {
  const warnings: string[] = []
  return { warnings, onWarning: (message: string) => void warnings.push(message) }
}

describe('loading', () => {
  it('reads values lazily, each parameter its own', async () => {
    const folder = await checkpoint(BERT, entries(base(BERT)))
    const { warnings, onWarning } = listener()
    const model = await BertModel.fromPretrained(folder, { onWarning })
    expect(warnings).toEqual([])
    const parameters = [...model.namedParameters()]
    expect(parameters.some(([, parameter]) => parameter.isLoaded)).toBe(false)
    for (const [i, [, parameter]] of parameters.entries()) expect((await parameter.read())[0]).toBe(i)
  })

  it('puts a base model into a model with a head, draws the head and says so', async () => {
    const folder = await checkpoint(BERT, entries(base(BERT)))
    const { warnings, onWarning } = listener()
    const model = await BertForSequenceClassification.fromPretrained(folder, { numLabels: 3, onWarning })
    expect(model.missingParameters).toEqual(['classifier.weight', 'classifier.bias'])
    expect(warnings).toEqual([
      expect.stringMatching(/2 parameters of BertForSequenceClassification.*classifier\.weight/),
    ])
    expect(model.classifier.bias?.data).toEqual(new Float32Array(3))
    const deviation = Math.hypot(...model.classifier.weight.data) / Math.sqrt(12)
    expect(deviation).toBeGreaterThan(0.005)
    expect(deviation).toBeLessThan(0.06)
    expect(model.config.num_labels).toBe(3)
  })

  it('puts a model with a head into a base model, and lists the head', async () => {
    const head = [tensor('cls.predictions.bias', [12])]
    const folder = await checkpoint(BERT, [...entries(base(BERT), name => `bert.${name}`), ...head])
    const { warnings, onWarning } = listener()
    const model = await BertModel.fromPretrained(folder, { onWarning })
    expect(model.missingParameters).toEqual([])
    expect(model.unexpectedParameters).toEqual(['cls.predictions.bias'])
    expect(warnings).toEqual([expect.stringContaining('cls.predictions.bias')])
  })

  it('draws the same values from the same seed, and others from another', async () => {
    const folder = await checkpoint(BERT, entries(base(BERT)))
    const head = async (seed: number) => {
      const model = await BertForSequenceClassification.fromPretrained(folder, { seed, onWarning: () => {} })
      return [...model.classifier.weight.data]
    }
    expect(await head(1)).toEqual(await head(1))
    expect(await head(1)).not.toEqual(await head(2))
  })

  it("reads TensorFlow's names and passes over position buffers", async () => {
    const old = (name: string) =>
      name.replace('LayerNorm.weight', 'LayerNorm.gamma').replace('LayerNorm.bias', 'LayerNorm.beta')
    const folder = await checkpoint(BERT, [...entries(base(BERT), old), tensor('embeddings.position_ids', [1, 8])])
    const { warnings, onWarning } = listener()
    const model = await BertModel.fromPretrained(folder, { onWarning })
    expect(warnings).toEqual([])
    expect((await model.embeddings.LayerNorm.weight.read())[0]).toBe(3)
  })

  it("reads GPT-2's first publication: no prefix, masks as buffers, no head", async () => {
    const masks = [tensor('h.0.attn.bias', [1, 1, 8, 8]), tensor('h.0.attn.masked_bias', [])]
    const folder = await checkpoint(GPT2, [...entries(base(GPT2)), ...masks])
    const { warnings, onWarning } = listener()
    const model = await GPT2LMHeadModel.fromPretrained(folder, { onWarning })
    expect(warnings).toEqual([])
    expect(model.lm_head.weight).toBe(model.transformer.wte.weight)
  })

  it('passes over rotary buffers', async () => {
    const folder = await checkpoint(LLAMA, [
      ...entries(causal(LLAMA)),
      tensor('model.layers.0.self_attn.rotary_emb.inv_freq', [1]),
    ])
    const { warnings, onWarning } = listener()
    await LlamaForCausalLM.fromPretrained(folder, { onWarning })
    expect(warnings).toEqual([])
  })

  it('reads half precision through a float32 copy', async () => {
    const halves = entries(base(BERT)).map(entry => ({
      ...entry,
      dtype: 'F16' as const,
      bytes: fromFloat32('F16', entry.bytes as Float32Array),
    }))
    const folder = await checkpoint(BERT, halves)
    const model = await BertModel.fromPretrained(folder, { conversionCacheDir: await temporaryFolder() })
    const { source } = model.embeddings.word_embeddings.weight
    expect(source.dtype).toBe('F32')
    expect((await model.pooler!.dense.bias!.read())[1]).toBeCloseTo([...model.namedParameters()].length - 1, 1)
  })

  describe('experts', () => {
    const MIXTRAL = { ...LLAMA, model_type: 'mixtral', num_local_experts: 2, tie_word_embeddings: false }

    /** The tensors of a model as published: each expert apart, numbered by their place. */
    const published = () =>
      entries(causal(MIXTRAL)).flatMap((entry): MemoryEntry[] => {
        const old = (name: string) => entry.name.replace('.mlp.', '.block_sparse_moe.').replace(/experts\..*$/, name)
        if (entry.name.endsWith('gate_up_proj')) {
          return [0, 1].flatMap(e => [1, 3].map((w, i) => tensor(old(`experts.${e}.w${w}.weight`), [6, 4], 2 * e + i)))
        }
        if (!entry.name.endsWith('down_proj')) return [{ ...entry, name: old(entry.name) }]
        return [0, 1].map(e => tensor(old(`experts.${e}.w2.weight`), [4, 6], 10 + e))
      })

    it('that are stored apart are put together, once for all later calls', async () => {
      const folder = await checkpoint(MIXTRAL, published())
      const conversionCacheDir = await temporaryFolder()
      const { warnings, onWarning } = listener()
      const open = async () => {
        const model = await AutoModelForCausalLM.fromPretrained(folder, { onWarning, conversionCacheDir })
        return new Map(model.namedParameters())
      }
      const parameters = await open()
      expect(warnings).toEqual([])
      const both = await parameters.get('model.layers.0.mlp.experts.gate_up_proj')!.read()
      expect([0, 24, 48, 72].map(at => both[at])).toEqual([0, 1, 2, 3])
      const down = await parameters.get('model.layers.0.mlp.experts.down_proj')!.read()
      expect([down[0], down[24]]).toEqual([10, 11])
      const again = await open()
      const pathOf = (map: typeof again) => map.get('lm_head.weight')!.source
      expect(pathOf(again)).toEqual(pathOf(parameters))
    })

    it('are refused where one is missing or of another shape', async () => {
      const without = published().filter(({ name }) => !name.endsWith('experts.0.w3.weight'))
      const folder = await checkpoint(MIXTRAL, without)
      await expect(AutoModelForCausalLM.fromPretrained(folder)).rejects.toThrow(
        /experts\.gate_up_proj" is stored in 4 parts, of which number 1 is missing/,
      )
      const odd = published().map(entry => (entry.name.endsWith('1.w2.weight') ? tensor(entry.name, [6, 4]) : entry))
      await expect(AutoModelForCausalLM.fromPretrained(await checkpoint(MIXTRAL, odd))).rejects.toThrow(
        /experts\.1\.w2\.weight" is F32 \[6, 4\], expected F32 \[4, 6\]/,
      )
    })

    it('come back as they were saved', async () => {
      const conversionCacheDir = await temporaryFolder()
      const model = await AutoModelForCausalLM.fromPretrained(await checkpoint(MIXTRAL, published()), {
        conversionCacheDir,
      })
      const folder = await temporaryFolder()
      await model.savePretrained(folder)
      const { warnings, onWarning } = listener()
      const again = await AutoModelForCausalLM.fromPretrained(folder, { onWarning })
      expect(warnings).toEqual([])
      const values = (from: PreTrainedModel) => Promise.all(from.parameters().map(parameter => parameter.read()))
      expect(await values(again)).toEqual(await values(model))
    })
  })

  it('starts a head of another size anew only when told so', async () => {
    const classifier = AutoModelForSequenceClassification.fromConfig(AutoConfig.fromJSON(BERT))
    const folder = await checkpoint(BERT, entries(classifier))
    const open = (ignoreMismatchedSizes: boolean) =>
      BertForSequenceClassification.fromPretrained(folder, { numLabels: 5, ignoreMismatchedSizes, onWarning: () => {} })
    await expect(open(false)).rejects.toThrow(
      /model\.safetensors: tensor "classifier\.(weight|bias)".*made for 2 labels and numLabels is 5.*ignoreMismatchedSizes: true/,
    )
    const model = await open(true)
    expect(model.missingParameters).toEqual(['classifier.weight', 'classifier.bias'])
  })
})

describe('tied heads', () => {
  it('are one parameter, whichever of the two names the checkpoint holds', async () => {
    const embedding = 'model.embed_tokens.weight'
    for (const held of [embedding, 'lm_head.weight']) {
      const folder = await checkpoint(
        LLAMA,
        entries(causal(LLAMA), name => (name === embedding ? held : name)),
      )
      const { warnings, onWarning } = listener()
      const model = await LlamaForCausalLM.fromPretrained(folder, { onWarning })
      expect(warnings).toEqual([])
      expect(model.lm_head.weight).toBe(model.model.embed_tokens.weight)
    }
  })

  it('stay tied when the checkpoint holds the same values twice', async () => {
    const all = entries(causal(LLAMA))
    const copy = { ...all.find(({ name }) => name === 'model.embed_tokens.weight')!, name: 'lm_head.weight' }
    const { warnings, onWarning } = listener()
    const model = await LlamaForCausalLM.fromPretrained(await checkpoint(LLAMA, [...all, copy]), { onWarning })
    expect(model.lm_head.weight).toBe(model.model.embed_tokens.weight)
    expect(warnings).toEqual([])
  })

  it('are parted when the checkpoint holds other values, with a warning', async () => {
    const folder = await checkpoint(LLAMA, [...entries(causal(LLAMA)), tensor('lm_head.weight', [12, 4])])
    const { warnings, onWarning } = listener()
    const model = await LlamaForCausalLM.fromPretrained(folder, { onWarning })
    expect(model.lm_head.weight).not.toBe(model.model.embed_tokens.weight)
    expect((await model.lm_head.weight.read())[0]).toBe(7)
    expect(warnings).toEqual([expect.stringContaining('they were not tied')])
  })

  it('are not needed by a classifier, which lists them', async () => {
    const folder = await checkpoint({ ...LLAMA, pad_token_id: 0 }, [
      ...entries(causal(LLAMA)),
      tensor('lm_head.weight', [12, 4]),
    ])
    const model = await LlamaForSequenceClassification.fromPretrained(folder, { onWarning: () => {} })
    expect(model.missingParameters).toEqual(['score.weight'])
    expect(model.unexpectedParameters).toEqual(['lm_head.weight'])
  })
})

describe('errors of loading', () => {
  it('names the tensor, both shapes and the file when a shape differs', async () => {
    const folder = await checkpoint({ ...BERT, vocab_size: 13 }, entries(base(BERT)))
    await expect(BertModel.fromPretrained(folder)).rejects.toThrow(
      /model\.safetensors: tensor "embeddings\.word_embeddings\.weight" has shape \[12, 4\].*has \[13, 4\].*same publication/,
    )
  })

  it('refuses a checkpoint of which nothing fits', async () => {
    const folder = await checkpoint(BERT, [tensor('foo.bar', [2])])
    await expect(BertModel.fromPretrained(folder)).rejects.toThrow(
      /none of its 1 tensors belongs to BertModel.*"foo\.bar"/,
    )
  })

  it('refuses weights that are quantised in a way that is not read', async () => {
    const config = { ...BERT, quantization_config: { quant_method: 'aqlm' } }
    const folder = await checkpoint(config, entries(base(BERT)))
    await expect(BertModel.fromPretrained(folder)).rejects.toThrow(/quantised by aqlm, which is not read/)
    const integers = entries(base(BERT)).map(entry => ({ ...entry, dtype: 'I32' as const }))
    await expect(BertModel.fromPretrained(await checkpoint(BERT, integers))).rejects.toThrow(/holds I32/)
  })
})

describe('saving', () => {
  it('gives the same bytes when what was saved is loaded and saved again', async () => {
    const [first, second] = [await temporaryFolder(), await temporaryFolder()]
    const model = causal(LLAMA)
    model.initialize(3)
    await model.savePretrained(first)
    const again = await AutoModelForCausalLM.fromPretrained(first)
    await again.savePretrained(second)
    for (const file of ['config.json', 'model.safetensors']) {
      expect(await readFile(join(second, file))).toEqual(await readFile(join(first, file)))
    }
  })

  it('writes tied parameters once, the class, and the metadata that Transformers asks for', async () => {
    const folder = await temporaryFolder()
    const model = causal(LLAMA)
    model.initialize(0)
    await model.savePretrained(folder)
    await using file = await SafetensorsFile.open(join(folder, 'model.safetensors'))
    expect(file.metadata).toEqual({ format: 'pt' })
    expect(file.has('model.embed_tokens.weight')).toBe(true)
    expect(file.has('lm_head.weight')).toBe(false)
    const config = JSON.parse(await readFile(join(folder, 'config.json'), 'utf8'))
    expect(config).toMatchObject({ architectures: ['LlamaForCausalLM'], dtype: 'float32', model_type: 'llama' })
  })

  it('over the folder that the model came from keeps every value readable', async () => {
    // One more tensor, so that places in the new file differ from those in the old.
    const folder = await checkpoint(BERT, [...entries(base(BERT)), tensor('another', [100])])
    const model = await BertModel.fromPretrained(folder, { onWarning: () => {} })
    await model.savePretrained(folder)
    for (const [i, [, parameter]] of [...model.namedParameters()].entries()) expect((await parameter.read())[0]).toBe(i)
  })

  it('leaves what was there when a value cannot be read', async () => {
    const source = await checkpoint(BERT, entries(base(BERT)))
    const model = await BertModel.fromPretrained(source)
    const target = await temporaryFolder()
    await cp(source, target, { recursive: true })
    const before = await readFile(join(target, 'model.safetensors'))
    await writeFile(join(source, 'model.safetensors'), '')
    await expect(model.savePretrained(target)).rejects.toThrow(/Nothing was changed/)
    expect(await readFile(join(target, 'model.safetensors'))).toEqual(before)
  })
})
