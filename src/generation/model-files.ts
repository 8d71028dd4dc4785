/** @file What lies beside a model and matters to generation: its special tokens and its tokenizer. */
import { AutoTokenizer } from '../data/index.ts'
import type { GenerateOptions, GenerativeModel, TokenDecoder } from '../models/generator.ts'
import type { PretrainedConfig, Seq2SeqTokenIds } from '../models/index.ts'
import { GenerationConfig, type GenerationTokens } from './generation-config.ts'

/** The tokens that begin and end a text, and the one that rows are filled up with. */
export interface SpecialTokens {
  eosTokenIds: readonly number[]
  padTokenId: number
  /** What a decoder behind an encoder reads first. */
  decoderStartTokenId: number | null
  /** The first new token behind an encoder, whatever is predicted. */
  forcedBosTokenId: number | null
  /** The last token of the longest text, whatever is predicted. */
  forcedEosTokenId: number | null
  /** Tokens that are never chosen. */
  suppressTokens: readonly number[]
  /** Tokens that are not chosen first. */
  beginSuppressTokens: readonly number[]
}

/** What holds where an option is not given: `generationConfig`, else what generation_config.json beside the model says. */
export async function generationDefaults(
  model: GenerativeModel,
  { generationConfig }: Pick<GenerateOptions, 'generationConfig'>,
): Promise<GenerationConfig> {
  if (generationConfig) return generationConfig
  const folder = folderOf(model)
  return folder === undefined ? {} : GenerationConfig.fromPretrained(folder)
}

/** As `options` say, which are completed by {@link generationDefaults}, else the configuration. */
export function specialTokens(
  model: GenerativeModel,
  options: GenerationTokens & { vocabSize: number },
): SpecialTokens {
  const config = model.config as PretrainedConfig & Partial<Seq2SeqTokenIds>
  const behindEncoder = model.task === 'SEQ_2_SEQ_LM'
  const choose = <T>(asked: T | undefined, inConfig: T | undefined): T | null =>
    asked === undefined ? (inConfig ?? null) : asked
  const pad = options.padTokenId ?? config.pad_token_id ?? 0
  return {
    eosTokenIds: [choose(options.eosTokenId, config.eos_token_id) ?? []].flat(),
    // Published configurations hold numbers outside the vocabulary, such as -1; any token serves where it is masked.
    padTokenId: pad >= 0 && pad < options.vocabSize ? pad : 0,
    decoderStartTokenId: choose(options.decoderStartTokenId, config.decoder_start_token_id),
    forcedBosTokenId: behindEncoder ? choose(options.forcedBosTokenId, config.forced_bos_token_id) : null,
    forcedEosTokenId: choose(options.forcedEosTokenId, config.forced_eos_token_id),
    suppressTokens: options.suppressTokens ?? [],
    beginSuppressTokens: options.beginSuppressTokens ?? [],
  }
}

const tokenizers = new Map<string, Promise<TokenDecoder>>()

/** The tokenizer in the model's folder. Throws when the model has none. */
export async function modelTokenizer(model: GenerativeModel): Promise<TokenDecoder> {
  const folder = folderOf(model)
  if (folder === undefined) {
    throw new Error(
      'generate: the model was not loaded from a folder that could hold its tokenizer; give the option tokenizer',
    )
  }
  let tokenizer = tokenizers.get(folder)
  if (!tokenizer) {
    tokenizer = AutoTokenizer.fromPretrained(folder)
    tokenizers.set(folder, tokenizer)
    tokenizer.catch(() => tokenizers.delete(folder))
  }
  try {
    return await tokenizer
  } catch (cause) {
    throw new Error(
      `generate: the model's folder gives no tokenizer (${(cause as Error).message}); give the option tokenizer`,
      {
        cause,
      },
    )
  }
}

/** The folder that the model's configuration was read from, where it was one. */
function folderOf({ config }: GenerativeModel): string | undefined {
  return /^(.*)[\\/]config\.json$/.exec(config.label)?.[1]
}
