/** @file `peft generate`. */
import type { ChatMessage, Tokenizer } from '../../data/index.ts'
import { stream } from '../../generation/index.ts'
import { UsageError } from '../exit.ts'
import { formatCount } from '../format.ts'
import { locateModel, type ModelOptions, openModel, openTokenizer } from '../model.ts'
import type { Output } from '../output.ts'

/** The options of `peft generate`. */
export interface GenerateTextOptions extends ModelOptions {
  prompt: string
  chat: boolean
  system?: string
  maxNewTokens: number
  temperature?: number
  topK?: number
  topP?: number
  seed: number
  mode: 'fast' | 'small'
  threads?: number
}

/** Prints the continuation of a prompt while it comes. */
export async function generateText(options: GenerateTextOptions, output: Output, signal?: AbortSignal): Promise<void> {
  const { temperature, topK, topP, maxNewTokens, seed, mode, threads } = options
  const samples = temperature !== undefined || topK !== undefined || topP !== undefined
  if (options.system !== undefined && !options.chat) throw new UsageError('--system belongs to --chat')
  const found = await locateModel(options, output, 'CAUSAL_LM')
  const isSeq2Seq = found.task === 'SEQ_2_SEQ_LM'
  const located = isSeq2Seq ? found : { ...found, task: 'CAUSAL_LM' as const }
  if (isSeq2Seq && options.chat) throw new UsageError('--chat is for decoders; this model has an encoder too')
  const tokenizer = await openTokenizer(located)
  const prompt = isSeq2Seq ? tokenizer.encode(options.prompt).inputIds : promptTokens(options, tokenizer)
  const model = await openModel(located, { seed }, output)
  signal?.throwIfAborted()

  const started = performance.now()
  let [text, newTokens] = ['', 0]
  const sampling = samples && { doSample: true, temperature, topK: topK ?? 0, topP, seed }
  const pieces = stream(model, prompt, {
    maxNewTokens,
    ...sampling,
    mode,
    threads,
    tokenizer,
    signal,
    onToken: () => void newTokens++,
  })
  for await (const piece of pieces) {
    text += piece
    output.partial('text', { text: piece }, piece)
  }
  const seconds = (performance.now() - started) / 1000
  const speed = newTokens / seconds
  output.result(
    {
      command: 'generate',
      text,
      prompt_tokens: prompt.length,
      new_tokens: newTokens,
      seconds,
      tokens_per_second: speed,
    },
    [''],
  )
  if (!output.json) output.note(`${formatCount(newTokens)} tokens, ${speed.toFixed(1)} a second`)
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
