/** @file What Whisper's decoder reads before it answers: the tokens of the start, the language and the task. */
import { didYouMean, nearest } from '../util/nearest.ts'
import { list } from './messages.ts'
import type { Tokenizer } from './tokenizer.ts'

/** What Whisper does with what it hears: write it down, or write it down in English. */
export type WhisperTask = 'transcribe' | 'translate'

/** Options of {@link whisperPrompt}. */
export interface WhisperPromptOptions {
  /** The language that is spoken: its code or its English name (`de`, `german`). Models of English alone have none. */
  language?: string | null
  /** Default 'transcribe'. */
  task?: WhisperTask | null
  /** Whether the model knows other languages than English; by default whether its tokenizer has their tokens. */
  multilingual?: boolean
}

/** The beginning of the decoder's text. */
export interface WhisperPrompt {
  /** `<|startoftranscript|>`, language, task, `<|notimestamps|>`: the `decoderInputIds` of a generation. */
  tokens: number[]
  /** The code of the language; null for a model of English alone. */
  language: string | null
  task: WhisperTask | null
}

const START = '<|startoftranscript|>'
const LANGUAGE = /^<\|([a-z]{2,3})\|>$/

/**
 * The tokens that Transformers' WhisperTokenizer puts in front of a text without timestamps.
 *
 * @throws when the tokenizer is none of Whisper's, and when the language is not told or not known
 * @example
 * const { tokens } = whisperPrompt(tokenizer, { language: 'german' })
 * await model.generate(extractor.extract(recording), { decoderInputIds: tokens })
 */
export function whisperPrompt(tokenizer: Tokenizer, options: WhisperPromptOptions = {}): WhisperPrompt {
  const token = (name: string) => tokenizer.tokenToId(name) ?? missing(tokenizer, name)
  const first = [token(START)]
  const last = [token('<|notimestamps|>')]
  const { language, task } = options
  if (!(options.multilingual ?? tokenizer.tokenToId('<|transcribe|>') !== undefined)) {
    if ((language ?? 'en').toLowerCase().replace('english', 'en') === 'en' && (task ?? 'transcribe') === 'transcribe') {
      return { tokens: [...first, ...last], language: null, task: null }
    }
    throw new Error(
      `${tokenizer.name} knows English alone; language "${language}" and task "${task}" are for other models.`,
    )
  }
  const chosen = task ?? 'transcribe'
  if (chosen !== 'transcribe' && chosen !== 'translate') {
    throw new Error(`The task is "${chosen}"; expected 'transcribe' or 'translate'.`)
  }
  const code = languageCode(tokenizer, language)
  return { tokens: [...first, token(`<|${code}|>`), token(`<|${chosen}|>`), ...last], language: code, task: chosen }
}

/**
 * The prompt of the model in a folder. What is not told is taken from its files: the language and task that it was
 * trained for (generation_config.json, tokenizer_config.json), and whether it knows several languages. Node only.
 */
export async function openWhisperPrompt(
  folder: string,
  tokenizer: Tokenizer,
  options: WhisperPromptOptions = {},
): Promise<WhisperPrompt> {
  const generation = await readJson(folder, 'generation_config.json')
  const own = await readJson(folder, 'tokenizer_config.json')
  const text = (value: unknown) => (typeof value === 'string' && value !== '' ? value : undefined)
  const flag = generation.is_multilingual
  return whisperPrompt(tokenizer, {
    multilingual: options.multilingual ?? (typeof flag === 'boolean' ? flag : undefined),
    language:
      options.language ??
      withoutMarks(text(generation.language) ?? text(own.language)) ??
      forced(generation, tokenizer, LANGUAGE),
    task:
      options.task ??
      ((withoutMarks(text(generation.task) ?? text(own.task)) ??
        forced(generation, tokenizer, /^<\|(transcribe|translate)\|>$/)) as WhisperTask | undefined),
  })
}

/** `<|de|>` is another spelling of `de`. */
const withoutMarks = (text: string | undefined) => text?.replace(/^<\||\|>$/g, '')

/** What `forced_decoder_ids` of older files say: pairs of a position and its token. */
function forced({ forced_decoder_ids: pairs }: Record<string, unknown>, tokenizer: Tokenizer, pattern: RegExp) {
  if (!Array.isArray(pairs)) return undefined
  for (const pair of pairs) {
    const id = Array.isArray(pair) ? pair[1] : undefined
    const found = typeof id === 'number' ? pattern.exec(tokenizer.idToToken(id) ?? '') : undefined
    if (found) return found[1]
  }
  return undefined
}

async function readJson(folder: string, name: string): Promise<Record<string, unknown>> {
  const { readFile } = await import('node:fs/promises')
  const { join } = await import('node:path')
  const path = join(folder, name)
  try {
    const json = JSON.parse(await readFile(path, 'utf8'))
    return typeof json === 'object' && json !== null ? json : {}
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return {}
    throw new Error(`${path} could not be read: ${(cause as Error).message}. Repair the file or fetch it again.`, {
      cause,
    })
  }
}

function languageCode(tokenizer: Tokenizer, language: string | null | undefined): string {
  const codes: string[] = []
  for (let id = 0; id < tokenizer.vocabSize; id++) {
    const found = LANGUAGE.exec(tokenizer.idToToken(id) ?? '')
    if (found) codes.push(found[1])
  }
  const shown = `${list(codes.slice(0, 8))}${codes.length > 8 ? `, ... (${codes.length} in all)` : ''}`
  if (language === undefined || language === null) {
    throw new Error(
      `${tokenizer.name} hears several languages: say with language which one is spoken, one of ${shown}.`,
    )
  }
  const wanted = language.toLowerCase()
  const english = new Intl.DisplayNames('en', { type: 'language' })
  const names = new Map(
    codes.flatMap(code => [[code, code] as const, [english.of(code)!.toLowerCase(), code] as const]),
  )
  const code = names.get(wanted)
  if (code !== undefined) return code
  const near = nearest(wanted, names.keys())
  throw new Error(
    `${tokenizer.name} does not know the language "${language}".${near.length ? didYouMean(wanted, names.keys()) : ''} It ` +
      `knows ${shown}, by their codes or English names.`,
  )
}

function missing(tokenizer: Tokenizer, name: string): never {
  throw new Error(
    `${tokenizer.name} has no token ${name}, so it is no tokenizer of Whisper; take the one that the model was published with.`,
  )
}
