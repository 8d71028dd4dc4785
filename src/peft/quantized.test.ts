/** @file Adapters on a quantised base: the same losses and gradients as on the dequantised one, files, merging. */
import { copyFile, mkdir, mkdtemp, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { compile } from '../models/function.ts'
import { AutoConfig, AutoModelForCausalLM, type FromPretrainedOptions, type PreTrainedModel } from '../models/index.ts'
import { BitsAndBytesConfig } from '../quantization/index.ts'
import { floats, tensorData } from '../runtime/index.ts'
import { NodeBackend } from '../runtime/node/backend.ts'
import { type ValueAndGradOptions, valueAndGrad } from '../training/index.ts'
import { Checkpoint, fromFloat32, type MemoryEntry, serializeSafetensors, toFloat32 } from '../weights/index.ts'
import { getPeftModel, LoraConfig, PeftModel, prepareModelForKbitTraining } from './index.ts'

const LLAMA = {
  model_type: 'llama',
  vocab_size: 48,
  hidden_size: 64,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  intermediate_size: 96,
  tie_word_embeddings: true,
}
const GPT2 = { model_type: 'gpt2', vocab_size: 48, n_embd: 64, n_layer: 1, n_head: 2, n_positions: 16 }

const nf4 = { loadIn4bit: true, bnb4bitQuantType: 'nf4' } as const
const SCHEMES: Record<string, FromPretrainedOptions> = {
  int8: { quantize: 'int8' },
  int4: { quantize: 'int4' },
  'int4, symmetric': { quantize: { scheme: 'int4', symmetric: true, blockSize: 16 } },
  nf4: { quantize: 'nf4' },
  'nf4 with double quantisation': {
    quantizationConfig: new BitsAndBytesConfig({ ...nf4, bnb4bitUseDoubleQuant: true }),
  },
  fp4: { quantizationConfig: new BitsAndBytesConfig({ loadIn4bit: true }) },
  bfloat16: { quantize: 'bfloat16' },
  float16: { quantize: 'float16' },
  'LLM.int8()': { quantizationConfig: new BitsAndBytesConfig({ loadIn8bit: true }) },
}

const folders: Record<string, string> = {}
let root: string
let cache: string

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'peft-ts-quantized-'))
  cache = join(root, 'cache')
  for (const config of [LLAMA, GPT2]) {
    const model = AutoModelForCausalLM.fromConfig(AutoConfig.fromJSON(config))
    model.initialize(1)
    // Larger than at the start of a training, so that scores differ.
    for (const parameter of model.parameters()) {
      if (parameter.shape.length === 2) parameter.data = parameter.data.map(value => value * 4)
    }
    folders[config.model_type] = join(root, config.model_type)
    await model.savePretrained(folders[config.model_type])
  }
})

afterAll(() => rm(root, { recursive: true, force: true }))

const load = (type: string, options: FromPretrainedOptions): Promise<PreTrainedModel> =>
  AutoModelForCausalLM.fromPretrained(folders[type], { ...options, conversionCacheDir: cache })

/** The same model with its weights dequantised, in float32. */
async function dequantized(type: string, model: PreTrainedModel): Promise<PreTrainedModel> {
  const plain = await load(type, {})
  const values = new Map(model.namedParameters())
  for (const [name, parameter] of plain.namedParameters()) parameter.data = (await values.get(name)!.read()).slice()
  return plain
}

const lora = (targetModules: string[]) =>
  new LoraConfig({ r: 4, targetModules, initLoraWeights: false, taskType: 'CAUSAL_LM' })

const ids = [
  [1, 5, 9, 30, 2],
  [7, 7, 40, 3, 11],
]
const batch = { input_ids: tensorData('int64', ids), labels: tensorData('int64', ids) }

async function lossAndGradient(model: PreTrainedModel | PeftModel<PreTrainedModel>, options: ValueAndGradOptions = {}) {
  await using step = await valueAndGrad(model, (model, inputs) => model.forward(inputs).loss!, options)
  const { value, grads } = await step(batch)
  return { value, gradient: grads.data }
}

function relativeDifference(a: Float32Array, b: Float32Array): number {
  let [difference, size] = [0, 0]
  for (const [i, value] of b.entries()) {
    difference += (a[i] - value) ** 2
    size += value ** 2
  }
  return Math.sqrt(difference / size)
}

const targets = { llama: ['q_proj', 'v_proj', 'down_proj'], gpt2: ['c_attn', 'c_proj'] }
const cases = [
  ...Object.keys(SCHEMES).map(scheme => [scheme, 'llama'] as const),
  ...['int8', 'nf4', 'bfloat16'].map(scheme => [scheme, 'gpt2'] as const),
]

describe('an adapter on a quantised base', () => {
  it.each(cases)('%s of %s has the loss and the gradients of the dequantised model', async (scheme, type) => {
    const base = await load(type, SCHEMES[scheme])
    expect(base.isQuantized).toBe(true)
    const quantized = getPeftModel(base, lora(targets[type]))
    const plain = getPeftModel(await dequantized(type, base), lora(targets[type]))
    const [own, expected] = [await lossAndGradient(quantized), await lossAndGradient(plain)]
    expect(Math.abs(own.value - expected.value)).toBeLessThan(1e-5 * expected.value)
    expect(relativeDifference(own.gradient, expected.gradient)).toBeLessThan(1e-5)
    expect(expected.gradient.some(value => Math.abs(value) > 1e-3)).toBe(true)
  })
})

describe('an adapter on a quantised base whose weights are mapped in one form', () => {
  const HOW: Record<string, ValueAndGradOptions> = {
    mapOnce: { mapOnce: true },
    'gradient checkpointing in the small mode': { mode: 'small', gradientCheckpointing: true },
  }
  const bases = [...['int8', 'int4', 'nf4'].map(scheme => [scheme, 'llama'] as const), ['nf4', 'gpt2'] as const]

  it.each(bases)('%s of %s has the loss and the gradients of the dequantised model', async (scheme, type) => {
    const base = await load(type, SCHEMES[scheme])
    const quantized = getPeftModel(base, lora(targets[type]))
    const expected = await lossAndGradient(getPeftModel(await dequantized(type, base), lora(targets[type])))
    for (const [name, options] of Object.entries(HOW)) {
      const { value, gradient } = await lossAndGradient(quantized, options)
      expect(Math.abs(value - expected.value), name).toBeLessThan(1e-5 * expected.value)
      expect(relativeDifference(gradient, expected.gradient), name).toBeLessThan(1e-5)
    }
  })

  it('has no kernel that reads tables in another form than the backward pass', async () => {
    const quantized = getPeftModel(await load('llama', SCHEMES.nf4), lora(targets.llama))
    const loading = vi.spyOn(NodeBackend.prototype, 'load')
    for (const options of [{}, ...Object.values(HOW)]) await lossAndGradient(quantized, options)
    const kernels = loading.mock.calls.map(
      ([{ model }]) => model.graph.nodes.filter(({ op }) => op === 'MatMulBnb4').length,
    )
    loading.mockRestore()
    expect(kernels[0]).toBeGreaterThan(10)
    expect(kernels.slice(1)).toEqual([0, 0])
  })
})

async function logits(model: PreTrainedModel | PeftModel<PreTrainedModel>): Promise<Float32Array> {
  await using predict = await compile(model, (model, inputs) => ({ logits: model.forward(inputs).logits! }), {
    dequantize: true,
  })
  return floats((await predict({ input_ids: batch.input_ids })).logits)
}

describe('an adapter on an int8 base', () => {
  it('comes back from its file, on the quantised base and on the plain one', async () => {
    const model = getPeftModel(await load('llama', SCHEMES.int8), lora(targets.llama))
    await model.savePretrained(join(root, 'adapter'))
    const again = await PeftModel.fromPretrained(await load('llama', SCHEMES.int8), join(root, 'adapter'))
    const expected = await logits(model)
    expect(await logits(again)).toEqual(expected)
    const plain = await PeftModel.fromPretrained(await load('llama', {}), join(root, 'adapter'))
    expect(relativeDifference(await logits(plain), expected)).toBeLessThan(0.05)
  })

  it('is merged into float32 weights, those without adapters stay packed', async () => {
    const model = getPeftModel(await load('llama', SCHEMES.int8), lora(targets.llama))
    const expected = await logits(model)
    const merged = await model.mergeAndUnload()
    const byName = new Map(merged.namedParameters())
    expect(byName.get('model.layers.0.self_attn.q_proj.weight')!.quantized).toBeUndefined()
    expect(byName.get('model.layers.0.self_attn.k_proj.weight')!.quantized).toBeDefined()
    expect(relativeDifference(await logits(merged), expected)).toBeLessThan(1e-5)
  })

  it('leaves the weights of the base frozen, and gives a copy that trains in float32', async () => {
    const base = prepareModelForKbitTraining(await load('llama', SCHEMES.int8))
    expect(base.parameters().some(parameter => parameter.requiresGrad)).toBe(false)
    const config = new LoraConfig({
      r: 2,
      targetModules: ['q_proj'],
      modulesToSave: ['lm_head'],
      taskType: 'CAUSAL_LM',
    })
    const { gradient } = await lossAndGradient(getPeftModel(base, config))
    expect(gradient.length).toBeGreaterThan(48 * 64)
    expect(gradient.some(value => value !== 0)).toBe(true)
  })
})

describe('a quantised model', () => {
  async function rounded(model: PreTrainedModel): Promise<Float32Array> {
    await using predict = await compile(model, (model, inputs) => ({ logits: model.forward(inputs).logits! }))
    return floats((await predict({ input_ids: batch.input_ids })).logits)
  }

  it.each(['nf4', 'fp4'])('%s computes what the dequantised model does', async scheme => {
    const model = await load('llama', { quantize: { scheme: scheme as 'nf4', embeddings: false } })
    const expected = await logits(await dequantized('llama', model))
    expect(relativeDifference(await rounded(model), expected)).toBeLessThan(1e-5)
  })

  it.each(['int8', 'int4', 'LLM.int8()'])('%s rounds activations to 8 bits, no more', async scheme => {
    const model = await load('llama', SCHEMES[scheme])
    const expected = await logits(await dequantized('llama', model))
    const difference = relativeDifference(await rounded(model), expected)
    expect(difference).toBeLessThan(0.03)
    expect(difference).toBeGreaterThan(0)
  })

  it('takes less than a third of the memory, and a second start reads the copy of the first', async () => {
    const before = await readdir(join(cache, 'quantized'))
    const model = await load('llama', SCHEMES.int8)
    expect(model.getMemoryFootprint()).toBeLessThan((await load('llama', {})).getMemoryFootprint() / 3)
    expect(await readdir(join(cache, 'quantized'))).toEqual(before)
  })

  it('is made anew where the copy in the cache is broken', async () => {
    const own = join(root, 'own-cache')
    const open = () => AutoModelForCausalLM.fromPretrained(folders.llama, { quantize: 'int8', conversionCacheDir: own })
    const expected = await logits(await open())
    const [file] = (await readdir(join(own, 'quantized'))).filter(name => name.endsWith('.safetensors'))
    await truncate(join(own, 'quantized', file), 500)
    expect(await logits(await open())).toEqual(expected)
  })

  it('is saved dequantised, in float32', async () => {
    const model = await load('llama', SCHEMES.nf4)
    await model.savePretrained(join(root, 'saved'))
    const saved = await AutoModelForCausalLM.fromPretrained(join(root, 'saved'))
    expect(saved.isQuantized).toBe(false)
    expect(relativeDifference(await logits(saved), await logits(model))).toBeLessThan(1e-5)
  })

  it('leaves out what is to be skipped', async () => {
    const skip = new BitsAndBytesConfig({ ...nf4, llmInt8SkipModules: ['down_proj', 'layers.1'] })
    const model = await load('llama', { quantizationConfig: skip })
    const packed = [...model.namedParameters()].flatMap(([name, { quantized }]) => (quantized ? [name] : []))
    expect(packed.filter(name => !name.startsWith('model.layers.0.'))).toEqual([])
    expect(packed.filter(name => name.includes('down_proj'))).toEqual([])
    expect(packed).toHaveLength(6)
  })

  it.each([
    [
      'both ways at once',
      { quantize: 'int8', quantizationConfig: new BitsAndBytesConfig({ loadIn8bit: true }) },
      'give one of them',
    ],
    ['a scheme that is not known', { quantize: 'int9' }, 'quantize is "int9", expected one of'],
    [
      'a module that does not exist',
      { quantize: { scheme: 'int8', skipModules: ['down_prj'] } },
      'Did you mean "down_proj"',
    ],
    ['blocks of 24', { quantize: { scheme: 'int8', blockSize: 24 } }, 'blockSize is 24'],
  ])('is refused with %s', async (_, options, message) => {
    await expect(load('llama', options as FromPretrainedOptions)).rejects.toThrow(message)
  })

  it('of GPTQ is opened as it is, and not quantised again', async () => {
    const folder = join(root, 'gptq')
    const values = await gptqCopy(folders.llama, folder)
    const model = await AutoModelForCausalLM.fromPretrained(folder, { conversionCacheDir: cache })
    const byName = new Map(model.namedParameters())
    for (const [name, expected] of values) {
      expect(byName.get(name)!.quantized?.layout.scheme).toBe('int4')
      expect(await byName.get(name)!.read()).toEqual(expected)
    }
    expect(values.size).toBe(14)
    expect((await lossAndGradient(getPeftModel(model, lora(targets.llama)))).value).toBeGreaterThan(0)
    await expect(AutoModelForCausalLM.fromPretrained(folder, { quantize: 'int8' })).rejects.toThrow(
      'quantised by gptq already',
    )
    await model.savePretrained(join(root, 'gptq-saved'))
    expect(await readFile(join(root, 'gptq-saved', 'config.json'), 'utf8')).not.toContain('quantization_config')
  })
})

/** Rewrites a model's dense layers as GPTQ of 4 bits in groups of 32; gives the values that they stand for. */
async function gptqCopy(from: string, to: string): Promise<Map<string, Float32Array>> {
  const model = await AutoModelForCausalLM.fromPretrained(from)
  const values = new Map<string, Float32Array>()
  const tensors: MemoryEntry[] = []
  for (const [name, parameter] of model.namedParameters()) {
    if (!name.includes('_proj')) {
      tensors.push({ name, dtype: 'F32', shape: parameter.shape, bytes: await parameter.read() })
      continue
    }
    const [rows, columns] = parameter.shape
    const codes = Uint8Array.from({ length: rows * columns }, (_, i) => (i * 7 + (i >> 4)) & 15)
    const words = new Int32Array((rows * columns) / 8)
    codes.forEach((code, i) => {
      const [row, column] = [Math.floor(i / columns), i % columns]
      words[(column >> 3) * rows + row] |= code << (4 * (column & 7))
    })
    const groups = columns / 32
    const scales = Float32Array.from({ length: groups * rows }, (_, i) => 2 ** -(3 + (i % 4)))
    const part = name.slice(0, -'weight'.length)
    tensors.push({ name: `${part}qweight`, dtype: 'I32', shape: [columns / 8, rows], bytes: words })
    tensors.push({ name: `${part}scales`, dtype: 'F32', shape: [groups, rows], bytes: scales })
    const zeros = new Int32Array((groups * rows) / 8).fill(0x77777777)
    tensors.push({ name: `${part}qzeros`, dtype: 'I32', shape: [groups, rows / 8], bytes: zeros })
    const valueAt = (code: number, i: number) =>
      (code - 8) * scales[Math.floor((i % columns) / 32) * rows + Math.floor(i / columns)]
    values.set(name, Float32Array.from(codes, valueAt))
  }
  await mkdir(to)
  await writeFile(join(to, 'model.safetensors'), serializeSafetensors(tensors))
  const config = { ...LLAMA, quantization_config: { quant_method: 'gptq', bits: 4, group_size: 32 } }
  await writeFile(join(to, 'config.json'), JSON.stringify(config))
  return values
}

describe('a checkpoint in bfloat16 whose weights are held in bfloat16', () => {
  it('has the values that it has in float32, read from its own file', async () => {
    const source = await Checkpoint.open(folders.llama)
    const folder = join(root, 'llama-bf16')
    await mkdir(folder)
    const entries = await Promise.all(
      source.names.map(async (name): Promise<MemoryEntry> => {
        const values = toFloat32('F32', await source.read(name))
        return { name, dtype: 'BF16', shape: source.info(name).shape, bytes: fromFloat32('BF16', values) }
      }),
    )
    await source.close()
    await writeFile(join(folder, 'model.safetensors'), serializeSafetensors(entries))
    await copyFile(join(folders.llama, 'config.json'), join(folder, 'config.json'))
    const [held, plain] = await Promise.all(
      [{ quantize: 'bfloat16' } as const, {}].map(options =>
        AutoModelForCausalLM.fromPretrained(folder, { ...options, conversionCacheDir: cache }),
      ),
    )
    const inFile = held.parameters().filter(({ quantized }) => {
      const from = quantized?.packed.source
      return from?.kind === 'file' && from.path === join(folder, 'model.safetensors')
    })
    expect(inFile).toHaveLength(1 + 2 * 7)
    const others = new Map(plain.namedParameters())
    for (const [name, parameter] of held.namedParameters()) {
      expect(await parameter.read()).toEqual(await others.get(name)!.read())
    }
    const [a, b] = [held, plain].map(model => getPeftModel(model, lora(targets.llama)))
    const [own, expected] = [await lossAndGradient(a), await lossAndGradient(b)]
    expect(own.value).toBeCloseTo(expected.value, 6)
    expect(relativeDifference(own.gradient, expected.gradient)).toBeLessThan(1e-6)
  })

  it('has no blocks, and says so', async () => {
    await expect(load('llama', { quantize: { scheme: 'bfloat16', blockSize: 32 } })).rejects.toThrow(
      'blockSize is 32, and bfloat16 has no blocks',
    )
  })
})
