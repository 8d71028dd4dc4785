/** @file `peft generate`. */
import type { ChatMessage, Tokenizer } from '../../data/index.ts'
import { GenerationConfig, generate, stream } from '../../generation/index.ts'
import { StopStringFilter } from '../../generation/stop-strings.ts'
import type { GenerateOptions, GenerativeModel, TokenLogprob } from '../../models/generator.ts'
import { UsageError } from '../exit.ts'
import { formatCount } from '../format.ts'
import { mediumOf } from '../media.ts'
import { locateModel, type ModelOptions, openModel, openTokenizer } from '../model.ts'
import type { Output } from '../output.ts'

/** The options of `peft generate`. */
export interface GenerateTextOptions
  extends ModelOptions,
    Pick<
      GenerateOptions,
      | 'minNewTokens'
      | 'temperature'
      | 'topK'
      | 'topP'
      | 'minP'
      | 'typicalP'
      | 'repetitionPenalty'
      | 'presencePenalty'
      | 'frequencyPenalty'
      | 'numBeams'
      | 'numReturnSequences'
      | 'lengthPenalty'
    > {
  prompt: string
  chat: boolean
  system?: string
  maxNewTokens: number
  /** No sequence of so many tokens comes twice. */
  blockNgrams?: number
  earlyStopping?: 'true' | 'false' | 'never'
  /** Texts that end the answer. */
  stop: readonly string[]
  logprobs: boolean
  topLogprobs?: number
  seed: number
  mode: 'fast' | 'small'
  threads?: number
  keepPacked: boolean
}

/** Prints the continuation of a prompt while it comes; where there are several, all of them at the end. */
export async function generateText(options: GenerateTextOptions, output: Output, signal?: AbortSignal): Promise<void> {
  if (options.system !== undefined && !options.chat) throw new UsageError('--system belongs to --chat')
  const found = await locateModel(options, output, 'CAUSAL_LM')
  if (mediumOf(found) === 'speech') {
    throw new UsageError('This model takes recordings: peft predict --data recording.wav writes what is said in them')
  }
  const isSeq2Seq = found.task === 'SEQ_2_SEQ_LM'
  const located = isSeq2Seq ? found : { ...found, task: 'CAUSAL_LM' as const }
  if (isSeq2Seq && options.chat) throw new UsageError('--chat is for decoders; this model has an encoder too')
  const tokenizer = await openTokenizer(located)
  const prompt = isSeq2Seq ? tokenizer.encode(options.prompt).inputIds : promptTokens(options, tokenizer)
  const model = await openModel(located, { seed: options.seed }, output)
  signal?.throwIfAborted()

  const file = await GenerationConfig.fromPretrained(located.folder)
  const beams = options.numBeams ?? file.numBeams ?? 1
  const count = options.numReturnSequences ?? file.numReturnSequences ?? 1
  const writer: Writer = { model, tokenizer, prompt, settings: { ...settingsOf(options), tokenizer, signal }, output }
  const started = performance.now()
  const { texts, newTokens, scores, logprobs } = beams > 1 || count > 1 ? await writeAll(writer) : await write(writer)
  const seconds = (performance.now() - started) / 1000
  const speed = newTokens / seconds
  output.result(
    {
      command: 'generate',
      text: texts[0],
      ...(texts.length > 1 && { texts }),
      ...(scores && { scores }),
      ...(options.logprobs && { logprobs }),
      prompt_tokens: prompt.length,
      new_tokens: newTokens,
      seconds,
      tokens_per_second: speed,
    },
    [''],
  )
  if (!output.json) output.note(`${formatCount(newTokens)} tokens, ${speed.toFixed(1)} a second`)
}

/** What is needed to write. */
interface Writer {
  model: GenerativeModel
  tokenizer: Tokenizer
  prompt: readonly number[]
  settings: GenerateOptions
  output: Output
}

/** What was written. */
interface Written {
  texts: string[]
  newTokens: number
  /** Of beams. */
  scores?: number[]
  logprobs: TokenLogprob[][]
}

/** Prints one text while it comes. */
async function write({ model, prompt, settings, output }: Writer): Promise<Written> {
  const logprobs: TokenLogprob[] = []
  let [text, newTokens] = ['', 0]
  const pieces = stream(model, prompt, {
    ...settings,
    includeStopString: false,
    onToken(_, __, logprob) {
      newTokens++
      if (logprob) logprobs.push(logprob)
    },
  })
  for await (const piece of pieces) {
    text += piece
    output.partial('text', { text: piece }, piece)
  }
  return { texts: [text], newTokens, logprobs: [logprobs] }
}

/** Prints several texts, or the best of the beams, when they are known; the best first. */
async function writeAll({ model, tokenizer, prompt, settings, output }: Writer): Promise<Written> {
  const { newTokens, sequencesScores: scores, logprobs = [] } = await generate(model, prompt, settings)
  const stops = [settings.stopStrings ?? []].flat()
  const texts = newTokens.map(tokens => {
    const filter = new StopStringFilter(stops)
    return filter.push(tokenizer.decode(tokens, { skipSpecialTokens: true })) + filter.finish()
  })
  for (const [i, text] of texts.entries()) {
    output.partial('text', { index: i, text }, i === 0 ? text : `\n---\n${text}`)
  }
  return { texts, newTokens: newTokens.flat().length, scores, logprobs }
}

/** The options of generation. The likeliest token is taken unless something says how to draw. */
function settingsOf(options: GenerateTextOptions): GenerateOptions {
  const { maxNewTokens, minNewTokens, temperature, topK, topP, minP, typicalP, seed, stop, mode, threads, keepPacked } =
    options
  const { repetitionPenalty, presencePenalty, frequencyPenalty, blockNgrams: noRepeatNgramSize } = options
  const { numBeams, numReturnSequences, lengthPenalty, logprobs, topLogprobs } = options
  const earlyStopping =
    options.earlyStopping && (options.earlyStopping === 'never' ? 'never' : options.earlyStopping === 'true')
  const draws = [temperature, topK, topP, minP, typicalP].some(value => value !== undefined)
  return {
    ...{ maxNewTokens, minNewTokens, repetitionPenalty, presencePenalty, frequencyPenalty, noRepeatNgramSize },
    ...{ numBeams, numReturnSequences, lengthPenalty, earlyStopping, logprobs, topLogprobs, mode, threads, keepPacked },
    ...(draws ? { doSample: true, temperature, topK: topK ?? 0, topP, minP, typicalP, seed } : { doSample: false }),
    ...(stop.length && { stopStrings: stop }),
  }
}

/** The prompt as training writes it: a beginning-of-text token where the tokenizer has one, and no end. */
function promptTokens({ prompt, chat, system }: GenerateTextOptions, tokenizer: Tokenizer): number[] {
  if (!chat) {
    const { before } = tokenizer.surroundingTokens()
    return [...before, ...tokenizer.encode(prompt, { addSpecialTokens: false }).inputIds]
  }
  const messages: ChatMessage[] = [{ role: 'user', content: prompt }]
  if (system !== undefined) messages.unshift({ role: 'system', content: system })
  return tokenizer.applyChatTemplate(messages, { addGenerationPrompt: true })
}
