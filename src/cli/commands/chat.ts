/** @file `peft chat`: a conversation with a model in the terminal, or line by line through a pipe. */
import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import type { Tokenizer } from '../../data/index.ts'
import { GenerationConfig } from '../../generation/index.ts'
import type { QuantizeName } from '../../quantization/index.ts'
import { isCommand, runCommand } from '../chat/commands.ts'
import type { PromptForm } from '../chat/conversation.ts'
import { type InputStream, Lines } from '../chat/lines.ts'
import { ChatSession } from '../chat/session.ts'
import { messageOf, UsageError } from '../exit.ts'
import { locateModel, openBaseModel, openTokenizer } from '../model.ts'
import type { Output } from '../output.ts'

/** The options of `peft chat`. */
export interface ChatOptions {
  model: string
  adapter: string[]
  system?: string
  /** A name or a file; false for plain text. */
  template?: string | boolean
  dropOldest: boolean
  maxNewTokens: number
  temperature?: number
  topK?: number
  topP?: number
  seed: number
  mode: 'fast' | 'small'
  threads?: number
  keepPacked: boolean
  quantize?: QuantizeName
}

/** What the program gives to a chat. */
export interface ChatTerminal {
  stdin: InputStream
  stderr: Output['stderr']
  /** Has Ctrl-C call `handler` in place of ending the program; returns what takes that back. */
  takeInterrupts(handler: () => void): () => void
}

/** Talks until the input ends, or someone wants to leave. */
export async function chat(
  options: ChatOptions,
  output: Output,
  terminal: ChatTerminal,
  signal?: AbortSignal,
): Promise<void> {
  const adapters = options.adapter.map(namedAdapter)
  const located = await locateModel({ model: options.model, quantize: options.quantize }, output, 'CAUSAL_LM')
  if (located.task === 'SEQ_2_SEQ_LM') {
    throw new UsageError('peft chat is for decoders; this model has an encoder too: use peft generate')
  }
  const causal = { ...located, task: 'CAUSAL_LM' as const }
  const tokenizer = await openTokenizer(causal)
  const form = await promptForm(options.template, tokenizer)
  const { doSample = false } = await GenerationConfig.fromPretrained(causal.folder)
  const { temperature, topK, topP, maxNewTokens, seed, dropOldest, mode, threads, keepPacked } = options
  const given = Object.fromEntries(
    Object.entries({ temperature, topK, topP }).filter(([, value]) => value !== undefined),
  )
  const session = new ChatSession({
    model: await openBaseModel(causal, { seed }, output),
    tokenizer,
    output,
    form,
    settings: { maxNewTokens, ...(Object.keys(given).length > 0 && { doSample: true, ...given }) },
    drawsByDefault: doSample,
    ...{ seed, dropOldest, mode, threads, keepPacked },
  })
  session.conversation.system = options.system
  for (const [name, folder] of adapters) await session.load(name, folder)
  if (adapters.length) session.use(adapters[0][0])
  signal?.throwIfAborted()
  await talk(session, output, terminal, signal)
}

/** `name=folder`; a folder alone is called `default`. */
function namedAdapter(text: string): [string, string] {
  const [, name, folder] = /^([^=/\\]+)=(.+)$/.exec(text) ?? []
  return folder === undefined || existsSync(text) ? ['default', text] : [name, folder]
}

async function promptForm(template: string | boolean | undefined, tokenizer: Tokenizer): Promise<PromptForm> {
  if (template === false) return { kind: 'plain' }
  const given = typeof template === 'string' ? template : undefined
  const chatTemplate = given !== undefined && existsSync(given) ? await readFile(given, 'utf8') : given
  try {
    tokenizer.templateSource({ chatTemplate })
  } catch (cause) {
    throw new UsageError(
      `${(cause as Error).message} With --no-template lines are plain text, which the model goes on with; --template ` +
        'takes the name of one of its templates, or a file.',
      { cause },
    )
  }
  return { kind: 'template', chatTemplate }
}

async function talk(
  session: ChatSession,
  output: Output,
  terminal: ChatTerminal,
  signal: AbortSignal | undefined,
): Promise<void> {
  let answer: AbortController | undefined
  let isLeaving = false
  /** Whether Ctrl-C was pressed since the last line. */
  let wasInterrupted = false
  const onInterrupt = () => {
    if (wasInterrupted || isLeaving) {
      isLeaving = true
      answer?.abort()
      lines.close()
      return
    }
    wasInterrupted = true
    if (answer) return answer.abort()
    output.note('\nPress Ctrl-C again, or Ctrl-D, to leave.')
    lines.restart()
  }
  const onEnd = () => {
    // Through a pipe the end is known long before the last answer.
    if (lines.isTerminal) answer?.abort()
  }
  const lines = new Lines(terminal.stdin, { screen: terminal.stderr, onInterrupt, onEnd })
  const giveBack = terminal.takeInterrupts(onInterrupt)
  const onAbort = () => lines.close()
  signal?.addEventListener('abort', onAbort)
  const answering = async <T>(act: (signal: AbortSignal) => Promise<T>): Promise<T> => {
    answer = new AbortController()
    try {
      return await act(AbortSignal.any([answer.signal, ...(signal ? [signal] : [])]))
    } finally {
      answer = undefined
    }
  }
  const tell = (data: Readonly<Record<string, unknown>>, line: string) => output.event('chat', data, line)
  let failures = 0
  try {
    if (lines.isTerminal) output.note('/help shows the commands; Ctrl-C stops an answer, Ctrl-D ends the chat.')
    while (!isLeaving) {
      const { cyan, dim } = output.noteStyle
      const line = await lines.next(`${session.adapter ? dim(`${session.adapter} `) : ''}${cyan('>')} `)
      if (line === undefined) break
      if (line.trim() === '') continue
      wasInterrupted = false
      try {
        if (!isCommand(line)) await answering(own => session.say(line.replace(/^\/\//, '/'), own))
        else if ((await runCommand(line, { session, answering, tell })) === 'quit') break
      } catch (error) {
        signal?.throwIfAborted()
        failures++
        output.error(messageOf(error))
      }
    }
  } finally {
    signal?.removeEventListener('abort', onAbort)
    giveBack()
    lines.close()
  }
  signal?.throwIfAborted()
  const { length: turns } = session.conversation.turns
  output.result({ command: 'chat', turns, answers: session.answers, failures }, [])
  // Someone who types has seen it; a script would not.
  if (failures > 0 && !lines.isTerminal) throw new Error(`${failures} of the lines failed, as said above`)
}
