/** @file Model configurations: `AutoConfig` reads a config.json, from a folder, the hub or an object, into typed fields. */

import { type AlbertConfig, parseAlbertConfig } from './config/albert.ts'
import { BART_ATTRIBUTE_MAP, type BartConfig, parseBartConfig } from './config/bart.ts'
import { type BertConfig, parseBertConfig } from './config/bert.ts'
import { BLOOM_ATTRIBUTE_MAP, type BloomConfig, parseBloomConfig } from './config/bloom.ts'
import {
  type CLIPConfig,
  type CLIPTextConfig,
  type CLIPVisionConfig,
  parseCLIPConfig,
  parseCLIPTextConfig,
  parseCLIPVisionConfig,
} from './config/clip.ts'
import { type DebertaV2Config, parseDebertaV2Config } from './config/deberta-v2.ts'
import { type Dinov2Config, parseDinov2Config } from './config/dinov2.ts'
import { DISTILBERT_ATTRIBUTE_MAP, type DistilBertConfig, parseDistilBertConfig } from './config/distilbert.ts'
import { type ElectraConfig, parseElectraConfig } from './config/electra.ts'
import {
  EXPERTS_ATTRIBUTE_MAP,
  type MixtralConfig,
  parseMixtralConfig,
  parseQwen3MoeConfig,
  type Qwen3MoeConfig,
} from './config/experts.ts'
import { type FalconConfig, parseFalconConfig } from './config/falcon.ts'
import { floatPlaces } from './config/float-places.ts'
import {
  type Gemma2Config,
  type Gemma3Config,
  type GemmaConfig,
  parseGemma2Config,
  parseGemma3Config,
  parseGemmaConfig,
} from './config/gemma.ts'
import { type GPTNeoXConfig, parseGPTNeoXConfig } from './config/gpt-neox.ts'
import { GPT2_ATTRIBUTE_MAP, type Gpt2Config, parseGpt2Config } from './config/gpt2.ts'
import { type LlamaConfig, parseLlamaConfig } from './config/llama.ts'
import { type MistralConfig, parseMistralConfig } from './config/mistral.ts'
import { type ModernBertConfig, parseModernBertConfig } from './config/modernbert.ts'
import { type MT5Config, parseMT5Config } from './config/mt5.ts'
import { type Olmo2Config, parseOlmo2Config } from './config/olmo2.ts'
import { OPT_ATTRIBUTE_MAP, type OPTConfig, parseOPTConfig } from './config/opt.ts'
import { type Phi3Config, type PhiConfig, parsePhi3Config, parsePhiConfig } from './config/phi.ts'
import { type ConfigOverrides, createConfig, type PretrainedConfig, registerConfig } from './config/pretrained.ts'
import { parseQwen2Config, parseQwen3Config, type Qwen2Config, type Qwen3Config } from './config/qwen2.ts'
import {
  parseRobertaConfig,
  parseXLMRobertaConfig,
  type RobertaConfig,
  type XLMRobertaConfig,
} from './config/roberta.ts'
import { parseSmolLM3Config, type SmolLM3Config } from './config/smollm3.ts'
import { parseT5Config, T5_ATTRIBUTE_MAP, type T5Config } from './config/t5.ts'
import { parseViTConfig, type ViTConfig } from './config/vit.ts'
import { parseWhisperConfig, WHISPER_ATTRIBUTE_MAP, type WhisperConfig } from './config/whisper.ts'
import type { ResolveOptions } from './hub.ts'

export type { AlbertConfig } from './config/albert.ts'
export type { BartConfig } from './config/bart.ts'
export type { BertConfig, BertFamilyConfig } from './config/bert.ts'
export type { BloomConfig } from './config/bloom.ts'
export type { CLIPConfig, CLIPTextConfig, CLIPVisionConfig } from './config/clip.ts'
export type { DebertaV2Config } from './config/deberta-v2.ts'
export type { Dinov2Config } from './config/dinov2.ts'
export type { DistilBertConfig } from './config/distilbert.ts'
export type { ElectraConfig } from './config/electra.ts'
export type { MixtralConfig, Qwen3MoeConfig } from './config/experts.ts'
export type { FalconConfig } from './config/falcon.ts'
export type { Gemma2Config, Gemma2FamilyConfig, Gemma3Config, GemmaConfig } from './config/gemma.ts'
export type { GPTNeoXConfig } from './config/gpt-neox.ts'
export type { Gpt2Config } from './config/gpt2.ts'
export type { ProblemType } from './config/labels.ts'
export type { LlamaConfig } from './config/llama.ts'
export type { MistralConfig } from './config/mistral.ts'
export type { ModernBertConfig } from './config/modernbert.ts'
export type { MT5Config } from './config/mt5.ts'
export type { Olmo2Config } from './config/olmo2.ts'
export type { OPTConfig } from './config/opt.ts'
export type { Phi3Config, PhiConfig } from './config/phi.ts'
export {
  type ConfigFamilyOptions,
  type ConfigOverrides,
  type ConfigParser,
  PretrainedConfig,
  registerConfig,
  registeredConfigs,
} from './config/pretrained.ts'
export type { Qwen2Config, Qwen3Config } from './config/qwen2.ts'
export { ACTIVATIONS, ConfigReader, type JsonObject } from './config/reader.ts'
export type { RobertaConfig, RobertaFamilyConfig, XLMRobertaConfig } from './config/roberta.ts'
export { type RopeParameters, type RopeType, readRopeParameters } from './config/rope.ts'
export type { Seq2SeqTokenIds } from './config/seq2seq.ts'
export type { SmolLM3Config } from './config/smollm3.ts'
export type { T5Config, T5FamilyConfig } from './config/t5.ts'
export { readTokenIds, type TokenIds } from './config/tokens.ts'
export type { ViTConfig } from './config/vit.ts'
export type { WhisperConfig } from './config/whisper.ts'

/** The configurations by `model_type`; extend it by declaration merging together with {@link registerConfig}. */
export interface ConfigTypes {
  albert: AlbertConfig
  bart: BartConfig
  bert: BertConfig
  bloom: BloomConfig
  clip: CLIPConfig
  clip_text_model: CLIPTextConfig
  clip_vision_model: CLIPVisionConfig
  'deberta-v2': DebertaV2Config
  dinov2: Dinov2Config
  distilbert: DistilBertConfig
  electra: ElectraConfig
  falcon: FalconConfig
  gemma2: Gemma2Config
  gemma3_text: Gemma3Config
  gemma: GemmaConfig
  gpt2: Gpt2Config
  gpt_neox: GPTNeoXConfig
  llama: LlamaConfig
  mistral: MistralConfig
  mixtral: MixtralConfig
  modernbert: ModernBertConfig
  mt5: MT5Config
  olmo2: Olmo2Config
  opt: OPTConfig
  phi3: Phi3Config
  phi: PhiConfig
  qwen2: Qwen2Config
  qwen3: Qwen3Config
  qwen3_moe: Qwen3MoeConfig
  roberta: RobertaConfig
  smollm3: SmolLM3Config
  t5: T5Config
  vit: ViTConfig
  whisper: WhisperConfig
  'xlm-roberta': XLMRobertaConfig
}

registerConfig('albert', parseAlbertConfig)
registerConfig('bart', parseBartConfig, { attributeMap: BART_ATTRIBUTE_MAP })
registerConfig('bert', parseBertConfig)
registerConfig('bloom', parseBloomConfig, { attributeMap: BLOOM_ATTRIBUTE_MAP })
registerConfig('clip', parseCLIPConfig)
registerConfig('clip_text_model', parseCLIPTextConfig)
registerConfig('clip_vision_model', parseCLIPVisionConfig)
registerConfig('deberta-v2', parseDebertaV2Config)
registerConfig('dinov2', parseDinov2Config)
registerConfig('distilbert', parseDistilBertConfig, { attributeMap: DISTILBERT_ATTRIBUTE_MAP })
registerConfig('electra', parseElectraConfig)
registerConfig('falcon', parseFalconConfig)
registerConfig('gemma', parseGemmaConfig)
registerConfig('gemma2', parseGemma2Config)
registerConfig('gemma3_text', parseGemma3Config)
registerConfig('gpt2', parseGpt2Config, { attributeMap: GPT2_ATTRIBUTE_MAP })
registerConfig('gpt_neox', parseGPTNeoXConfig)
registerConfig('llama', parseLlamaConfig)
registerConfig('mistral', parseMistralConfig)
registerConfig('mixtral', parseMixtralConfig, { attributeMap: EXPERTS_ATTRIBUTE_MAP })
registerConfig('modernbert', parseModernBertConfig)
registerConfig('mt5', parseMT5Config, { attributeMap: T5_ATTRIBUTE_MAP })
registerConfig('olmo2', parseOlmo2Config)
registerConfig('opt', parseOPTConfig, { attributeMap: OPT_ATTRIBUTE_MAP })
registerConfig('phi', parsePhiConfig)
registerConfig('phi3', parsePhi3Config)
registerConfig('qwen2', parseQwen2Config)
registerConfig('qwen3', parseQwen3Config)
registerConfig('qwen3_moe', parseQwen3MoeConfig, { attributeMap: EXPERTS_ATTRIBUTE_MAP })
registerConfig('roberta', parseRobertaConfig)
registerConfig('smollm3', parseSmolLM3Config)
registerConfig('t5', parseT5Config, { attributeMap: T5_ATTRIBUTE_MAP })
registerConfig('vit', parseViTConfig)
registerConfig('whisper', parseWhisperConfig, { attributeMap: WHISPER_ATTRIBUTE_MAP })
registerConfig('xlm-roberta', parseXLMRobertaConfig)

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
    const config = createConfig(parseJson(text, label), label, floatPlaces(text))
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
