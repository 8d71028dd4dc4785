/** @file The base's tokenizer, built from text and written as Hugging Face's files. */
import { BYTE_CHARACTERS, learnMerges } from './bpe.ts'

export const PAD_TOKEN = '<pad>'
/** Ends an example; it also stands for the beginning where a program insists on one. */
export const EOS_TOKEN = '<eos>'

/** The contents of `tokenizer.json`, as far as this tokenizer uses it. */
export interface TokenizerJson {
  version: '1.0'
  truncation: null
  padding: null
  added_tokens: AddedToken[]
  normalizer: null
  pre_tokenizer: ByteLevel
  post_processor: null
  decoder: ByteLevel
  model: {
    type: 'BPE'
    dropout: null
    unk_token: null
    continuing_subword_prefix: null
    end_of_word_suffix: null
    fuse_unk: false
    byte_fallback: false
    ignore_merges: false
    vocab: Record<string, number>
    merges: string[]
  }
}

interface AddedToken {
  id: number
  content: string
  single_word: boolean
  lstrip: boolean
  rstrip: boolean
  normalized: boolean
  special: boolean
}

interface ByteLevel {
  type: 'ByteLevel'
  add_prefix_space: boolean
  trim_offsets: boolean
  use_regex: boolean
}

/**
 * Builds `tokenizer.json`: the special tokens, the 256 bytes, and merges learnt from `texts`, in this order. Every
 * text encodes and decodes back to itself; encoding adds no token of its own.
 * @param texts what the merges are learnt from
 * @param vocabSize the number of tokens; fewer when the texts do not hold enough repeated pairs
 */
export function buildTokenizer(texts: Iterable<string>, vocabSize: number): TokenizerJson {
  const special = [PAD_TOKEN, EOS_TOKEN]
  const least = special.length + BYTE_CHARACTERS.length
  if (vocabSize < least) {
    throw new RangeError(`A byte-level vocabulary of ${vocabSize} was asked for; it needs at least ${least} tokens.`)
  }
  const merges = learnMerges(texts, vocabSize - least)
  // Two merges can give the same token (a+bc, ab+c); it is one entry of the vocabulary.
  const tokens = new Set([...special, ...BYTE_CHARACTERS, ...merges.map(([left, right]) => left + right)])
  const byteLevel: ByteLevel = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true }
  return {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: special.map((content, id) => addedToken(id, content)),
    normalizer: null,
    pre_tokenizer: byteLevel,
    post_processor: null,
    decoder: byteLevel,
    model: {
      type: 'BPE',
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: false,
      vocab: Object.fromEntries([...tokens].map((token, id) => [token, id])),
      merges: merges.map(([left, right]) => `${left} ${right}`),
    },
  }
}

/** The contents of `tokenizer_config.json`. */
export function tokenizerConfig(maxLength: number): Record<string, unknown> {
  return {
    add_prefix_space: false,
    ...specialTokensMap(),
    clean_up_tokenization_spaces: false,
    model_max_length: maxLength,
    padding_side: 'right',
    tokenizer_class: 'PreTrainedTokenizerFast',
  }
}

/** The contents of `special_tokens_map.json`. */
export function specialTokensMap(): Record<string, string> {
  return { bos_token: EOS_TOKEN, eos_token: EOS_TOKEN, pad_token: PAD_TOKEN }
}

function addedToken(id: number, content: string): AddedToken {
  return { id, content, single_word: false, lstrip: false, rstrip: false, normalized: false, special: true }
}
