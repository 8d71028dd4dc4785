/** @file The folder of a sentence-transformers model: its modules, their settings and weights. Node only. */
import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { writeFileAtomic } from '../util/files.ts'
import { readSourceFloat32, SafetensorsFile, saveFile } from '../weights/index.ts'
import { Dense, type EmbeddingModule, Normalize } from './modules.ts'
import { POOLING_MODES, Pooling, type PoolingMode } from './pooling.ts'

type Json = Record<string, unknown>

/** What stands beside the modules. */
export interface SentenceSettings {
  /** Texts that are put in front of others, by name. */
  prompts: Record<string, string>
  defaultPromptName: string | null
  similarityFnName: string | null
  /** The longest text in tokens; null where the model and tokenizer decide. */
  maxSeqLength: number | null
  doLowerCase: boolean
}

/** What a folder holds beside the transformer. */
export interface SentenceLayout {
  /** The folder of the transformer. */
  transformer: string
  pooling: Pooling
  modules: EmbeddingModule[]
  settings: SentenceSettings
  /** The files of settings as they were read, whose other fields are kept. */
  raw: RawSettings
}

/** Settings as they stand in files. */
export interface RawSettings {
  sentence: Json
  model: Json
}

const MODULES = 'modules.json'
const SENTENCE = 'sentence_bert_config.json'
const MODEL = 'config_sentence_transformers.json'
const KINDS = ['Transformer', 'Pooling', 'Dense', 'Normalize'] as const

/** The keys of old versions, which all versions read. */
const FLAGS: Readonly<Record<PoolingMode, string>> = {
  cls: 'pooling_mode_cls_token',
  max: 'pooling_mode_max_tokens',
  mean: 'pooling_mode_mean_tokens',
  mean_sqrt_len_tokens: 'pooling_mode_mean_sqrt_len_tokens',
  weightedmean: 'pooling_mode_weightedmean_tokens',
  lasttoken: 'pooling_mode_lasttoken',
}

/** Activations by PyTorch's names. */
const ACTIVATIONS: Readonly<Record<string, string>> = {
  'torch.nn.modules.activation.Tanh': 'tanh',
  'torch.nn.modules.activation.ReLU': 'relu',
  'torch.nn.modules.activation.GELU': 'gelu',
  'torch.nn.modules.activation.SiLU': 'silu',
  'torch.nn.modules.activation.Sigmoid': 'sigmoid',
  'torch.nn.modules.linear.Identity': 'identity',
}

/**
 * Reads the modules of a folder; undefined where it has no modules.json.
 *
 * @throws for modules that are not computed here, and files that are not valid
 */
export async function readLayout(folder: string): Promise<SentenceLayout | undefined> {
  const list = await readJson(join(folder, MODULES))
  if (list === undefined) return undefined
  const where = join(folder, MODULES)
  if (!Array.isArray(list)) throw new Error(`${where} is not a list of modules`)
  const entries = list.map((entry: Json, i) => {
    const kind = KINDS.find(name => name === String(entry.type).split('.').at(-1))
    if (kind) return { kind, path: join(folder, String(entry.path ?? '')) }
    throw new Error(
      `${where}: module ${i} is a ${entry.type}, which is not computed here; there are ${KINDS.join(', ')}.`,
    )
  })
  const [first, second, ...rest] = entries
  if (first?.kind !== 'Transformer' || second?.kind !== 'Pooling' || rest.some(({ kind }) => !isLater(kind))) {
    throw new Error(
      `${where}: the modules are ${entries.map(({ kind }) => kind).join(', ')}; expected Transformer and Pooling, then ` +
        'any of Dense and Normalize.',
    )
  }
  const modules: EmbeddingModule[] = []
  for (const { kind, path } of rest) modules.push(kind === 'Dense' ? await readDense(path) : new Normalize())
  const pooling = await readPooling(second.path)
  const settings = await readSettings(folder, first.path)
  return { transformer: first.path, pooling, modules, ...settings }
}

const isLater = (kind: string) => kind === 'Dense' || kind === 'Normalize'

async function readSettings(folder: string, transformer: string): Promise<Pick<SentenceLayout, 'settings' | 'raw'>> {
  const sentence = ((await readJson(join(transformer, SENTENCE))) ?? {}) as Json
  const model = ((await readJson(join(folder, MODEL))) ?? {}) as Json
  const prompts = Object.entries((model.prompts ?? {}) as Json).map(([name, text]) => [name, text ?? ''])
  const settings: SentenceSettings = {
    prompts: Object.fromEntries(prompts),
    defaultPromptName: (model.default_prompt_name as string | undefined) ?? null,
    similarityFnName: (model.similarity_fn_name as string | undefined) ?? null,
    maxSeqLength: (sentence.max_seq_length as number | undefined) ?? null,
    doLowerCase: sentence.do_lower_case === true,
  }
  const { defaultPromptName: name } = settings
  if (name !== null && !(name in settings.prompts)) {
    throw new Error(
      `${join(folder, MODEL)}: default_prompt_name is "${name}", and the prompts are ${Object.keys(settings.prompts).join(', ') || 'none'}.`,
    )
  }
  return { settings, raw: { sentence, model } }
}

async function readPooling(folder: string): Promise<Pooling> {
  const path = join(folder, 'config.json')
  const config = await requireJson(path)
  const width = config.embedding_dimension ?? config.word_embedding_dimension
  if (!Number.isInteger(width))
    throw new Error(`${path}: word_embedding_dimension is ${width}, expected a whole number`)
  const flagged = POOLING_MODES.filter(mode => config[FLAGS[mode]] === true)
  const modes = (config.pooling_mode as PoolingMode | PoolingMode[] | undefined) ?? (flagged.length ? flagged : 'mean')
  try {
    return new Pooling({
      embeddingDimension: width as number,
      poolingMode: modes,
      includePrompt: config.include_prompt !== false,
    })
  } catch (cause) {
    throw new Error(`${path}: ${(cause as Error).message}`, { cause })
  }
}

async function readDense(folder: string): Promise<Dense> {
  const path = join(folder, 'config.json')
  const config = await requireJson(path)
  const name = String(config.activation_function ?? 'torch.nn.modules.activation.Tanh')
  const activation = ACTIVATIONS[name]
  if (activation === undefined) {
    throw new Error(`${path}: the activation ${name} is not known; known are ${Object.keys(ACTIVATIONS).join(', ')}.`)
  }
  for (const key of ['module_input_name', 'module_output_name']) {
    if ((config[key] ?? 'sentence_embedding') === 'sentence_embedding') continue
    throw new Error(
      `${path}: ${key} is ${config[key]}, expected sentence_embedding: other dense layers are not computed.`,
    )
  }
  const dense = new Dense({
    inFeatures: config.in_features as number,
    outFeatures: config.out_features as number,
    bias: config.bias !== false,
    activation,
    useResidual: config.use_residual === true,
  })
  const weights = join(folder, 'model.safetensors')
  if (!existsSync(weights)) {
    throw new Error(
      `${folder} has no model.safetensors; a pytorch_model.bin is not read: save the model once with ` +
        'sentence-transformers, which writes safetensors.',
    )
  }
  await using file = await SafetensorsFile.open(weights)
  for (const [key, parameter] of dense.namedParameters()) parameter.data = await readSourceFloat32(file.source(key))
  return dense
}

/** Writes everything but the transformer and the tokenizer. */
export async function writeLayout(
  folder: string,
  { pooling, modules, settings, raw }: Omit<SentenceLayout, 'transformer'>,
): Promise<void> {
  const all = [pooling, ...modules]
  const entries = all.map((module, i) => ({ module, path: `${i + 1}_${module.constructor.name}` }))
  for (const { module, path } of entries) await writeModule(join(folder, path), module)
  await writeJson(join(folder, SENTENCE), {
    ...raw.sentence,
    max_seq_length: settings.maxSeqLength,
    do_lower_case: settings.doLowerCase,
  })
  await writeJson(join(folder, MODEL), {
    ...raw.model,
    prompts: settings.prompts,
    default_prompt_name: settings.defaultPromptName,
    similarity_fn_name: settings.similarityFnName,
  })
  const type = (name: string) => `sentence_transformers.models.${name}`
  const listed = entries.map(({ module, path }, i) => ({
    ...{ idx: i + 1, name: String(i + 1), path },
    type: type(module.constructor.name),
  }))
  await writeJson(join(folder, MODULES), [{ idx: 0, name: '0', path: '', type: type('Transformer') }, ...listed])
}

async function writeModule(folder: string, module: Pooling | EmbeddingModule): Promise<void> {
  const path = join(folder, 'config.json')
  if (module instanceof Pooling) return writeJson(path, poolingConfig(module))
  if (!(module instanceof Dense)) return writeJson(path, {})
  const { linear, activation, useResidual } = module
  const entries = [...module.namedParameters()].map(([name, parameter]) => ({
    ...{ name, dtype: 'F32' as const, shape: parameter.shape },
    read: () => parameter.read(),
  }))
  await saveFile(join(folder, 'model.safetensors'), entries, { format: 'pt' })
  await writeJson(path, {
    in_features: linear.inFeatures,
    out_features: linear.outFeatures,
    bias: linear.bias !== undefined,
    activation_function: Object.keys(ACTIVATIONS).find(name => ACTIVATIONS[name] === activation) ?? activation,
    ...(useResidual && { use_residual: true }),
  })
}

function poolingConfig({ embeddingDimension, poolingModes, includePrompt }: Pooling): Json {
  const usual = POOLING_MODES.filter(mode => poolingModes.includes(mode))
  const flags = Object.fromEntries(POOLING_MODES.map(mode => [FLAGS[mode], poolingModes.includes(mode)]))
  return {
    word_embedding_dimension: embeddingDimension,
    // Old versions know one order only, and not this key.
    ...(usual.join() === poolingModes.join() ? flags : { pooling_mode: poolingModes }),
    include_prompt: includePrompt,
  }
}

async function readJson(path: string): Promise<unknown> {
  if (!existsSync(path)) return undefined
  try {
    return JSON.parse(await readFile(path, 'utf8'))
  } catch (cause) {
    throw new Error(`${path} is not valid JSON: ${(cause as Error).message}`, { cause })
  }
}

async function requireJson(path: string): Promise<Json> {
  const value = await readJson(path)
  if (value === undefined) throw new Error(`${path} is missing, which modules.json names`)
  return value as Json
}

function writeJson(path: string, value: unknown): Promise<void> {
  return writeFileAtomic(path, `${JSON.stringify(value, null, 2)}\n`)
}
