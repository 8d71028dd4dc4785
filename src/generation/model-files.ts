/** @file What lies beside a model and matters to generation: its special tokens and its tokenizer. */
import { AutoTokenizer } from '../data/index.ts'
import type { GenerateOptions, GenerativeModel, TokenDecoder } from '../models/generator.ts'
import { readGenerationConfig } from './generation-config.ts'

/** The tokens that end a text, and the one that rows are filled up with. */
export interface SpecialTokens {
  eosTokenIds: readonly number[]
  padTokenId: number
}

/** As asked for, else as generation_config.json beside the model says, else the configuration. */
export async function specialTokens(
  model: GenerativeModel,
  options: Pick<GenerateOptions, 'eosTokenId' | 'padTokenId'> & { vocabSize: number },
): Promise<SpecialTokens> {
  const { config } = model
  const folder = folderOf(model)
  const file = options.eosTokenId === undefined && folder ? await readGenerationConfig(folder) : undefined
  const eos = options.eosTokenId === undefined ? (file?.eosTokenId ?? config.eos_token_id) : options.eosTokenId
  const pad = options.padTokenId ?? config.pad_token_id ?? 0
  // Published configurations hold numbers outside the vocabulary, such as -1; any token serves where it is masked.
  return { eosTokenIds: [eos ?? []].flat(), padTokenId: pad >= 0 && pad < options.vocabSize ? pad : 0 }
}

const tokenizers = new Map<string, Promise<TokenDecoder>>()

/** The tokenizer in the model's folder. Throws when the model has none. */
export async function modelTokenizer(model: GenerativeModel): Promise<TokenDecoder> {
  const folder = folderOf(model)
  if (folder === undefined) {
    throw new Error(
      'stream: the model was not loaded from a folder that could hold its tokenizer; give the option tokenizer',
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
      `stream: the model's folder gives no tokenizer (${(cause as Error).message}); give the option tokenizer`,
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
