/** @file Model configurations: `AutoConfig` reads a config.json, from a folder, the hub or an object, into typed fields. */
import { BART_ATTRIBUTE_MAP, type BartConfig, parseBartConfig } from './config/bart.ts'
import { type BertConfig, parseBertConfig } from './config/bert.ts'
import { GPT2_ATTRIBUTE_MAP, type Gpt2Config, parseGpt2Config } from './config/gpt2.ts'
import { type LlamaConfig, parseLlamaConfig } from './config/llama.ts'
import { type MT5Config, parseMT5Config } from './config/mt5.ts'
import { type ConfigOverrides, createConfig, type PretrainedConfig, registerConfig } from './config/pretrained.ts'
import { parseQwen2Config, type Qwen2Config } from './config/qwen2.ts'
import { parseT5Config, T5_ATTRIBUTE_MAP, type T5Config } from './config/t5.ts'
import type { ResolveOptions } from './hub.ts'

export type { BartConfig } from './config/bart.ts'
export type { BertConfig } from './config/bert.ts'
export type { Gpt2Config } from './config/gpt2.ts'
export type { ProblemType } from './config/labels.ts'
export type { LlamaConfig } from './config/llama.ts'
export type { MT5Config } from './config/mt5.ts'
export {
  type ConfigFamilyOptions,
  type ConfigOverrides,
  type ConfigParser,
  PretrainedConfig,
  registerConfig,
  registeredConfigs,
} from './config/pretrained.ts'
export type { Qwen2Config } from './config/qwen2.ts'
export { ACTIVATIONS, ConfigReader, type JsonObject } from './config/reader.ts'
export { type RopeParameters, type RopeType, readRopeParameters } from './config/rope.ts'
export type { Seq2SeqTokenIds } from './config/seq2seq.ts'
export type { T5Config, T5FamilyConfig } from './config/t5.ts'
export { readTokenIds, type TokenIds } from './config/tokens.ts'

/** The configurations by `model_type`; extend it by declaration merging together with {@link registerConfig}. */
export interface ConfigTypes {
  bart: BartConfig
  bert: BertConfig
  gpt2: Gpt2Config
  llama: LlamaConfig
  mt5: MT5Config
  qwen2: Qwen2Config
  t5: T5Config
}

registerConfig('bart', parseBartConfig, { attributeMap: BART_ATTRIBUTE_MAP })
registerConfig('bert', parseBertConfig)
registerConfig('gpt2', parseGpt2Config, { attributeMap: GPT2_ATTRIBUTE_MAP })
registerConfig('llama', parseLlamaConfig)
registerConfig('mt5', parseMT5Config, { attributeMap: T5_ATTRIBUTE_MAP })
registerConfig('qwen2', parseQwen2Config)
registerConfig('t5', parseT5Config, { attributeMap: T5_ATTRIBUTE_MAP })

/** Whether `config` is of the architecture `modelType`; narrows its type. */
export function isConfig<K extends keyof ConfigTypes>(
  config: PretrainedConfig,
  modelType: K,
): config is ConfigTypes[K] {
  return config.model_type === modelType
}

/** Where to look, as for `resolveModelFolder`, and values to change. */
export interface AutoConfigOptions extends ResolveOptions {
  /** Values that replace those of the file, such as `{ num_labels: 3 }`. */
  overrides?: ConfigOverrides
}

/** Reads configurations of any registered architecture. */
export const AutoConfig = {
  /**
   * Reads the config.json of a model folder or of a hub id; from the hub only that file is fetched.
   *
   * @throws when there is none, when it is not JSON, or when a value is wrong; the message names the file and the key.
   * @example
   * const config = await AutoConfig.fromPretrained('Qwen/Qwen2.5-3B-Instruct', { overrides: { num_labels: 3 } })
   */
  async fromPretrained(folderOrHubId: string, options: AutoConfigOptions = {}): Promise<PretrainedConfig> {
    const { overrides, ...rest } = options
    // Loaded here and not above, so that a browser can use fromJSON without Node's modules.
    const { resolveModelFolder } = await import('./hub.ts')
    const folder = await resolveModelFolder(folderOrHubId, { allowPatterns: ['config.json'], ...rest })
    const { label, text } = await readConfigFile(folder, folderOrHubId)
    const config = createConfig(parseJson(text, label), label)
    return overrides ? config.with(overrides) : config
  },

  /**
   * Reads a parsed config.json. `label` names it in error messages.
   *
   * @example
   * const config = AutoConfig.fromJSON({ model_type: 'bert', hidden_size: 128, num_attention_heads: 2 })
   * config.intermediate_size // 3072, the default
   */
  fromJSON: fromJSON as {
    <K extends keyof ConfigTypes>(
      json: { readonly model_type: K; readonly [key: string]: unknown },
      label?: string,
    ): ConfigTypes[K]
    (json: unknown, label?: string): PretrainedConfig
  },
}

function fromJSON(json: unknown, label = 'configuration'): PretrainedConfig {
  return createConfig(json, label)
}

async function readConfigFile(folder: string, asked: string): Promise<{ label: string; text: string }> {
  const { readFile, readdir } = await import('node:fs/promises')
  const { join } = await import('node:path')
  const label = join(folder, 'config.json')
  try {
    return { label, text: await readFile(label, 'utf8') }
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== 'ENOENT') throw cause
    const files = await readdir(folder)
    const adapter = files.includes('adapter_config.json')
    throw new Error(
      `${asked}: there is no config.json in ${folder}. ` +
        (adapter
          ? 'It holds an adapter: open its base model, and the adapter with PeftModel.fromPretrained.'
          : `It holds ${files.length ? files.slice(0, 8).join(', ') : 'nothing'}. Give the folder that a model was saved to.`),
      { cause },
    )
  }
}

function parseJson(text: string, label: string): unknown {
  try {
    return JSON.parse(text)
  } catch (cause) {
    throw new SyntaxError(
      `${label} is not valid JSON: ${(cause as Error).message}. Repair the file or fetch it again.`,
      { cause },
    )
  }
}
