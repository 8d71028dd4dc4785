/** @file Instruction and conversation formats: rows into a prompt and completion, or into chat messages. */
import { didYouMean } from '../util/nearest.ts'
import type { ChatMessage } from './chat-template.ts'
import type { Row } from './dataset.ts'

/** A stretch of text, and whether the model learns to write it. */
export interface Segment {
  text: string
  learnt: boolean
}

/** The prompt of the Alpaca format, which its published adapters were trained on. The completion is the output. */
export function alpacaPrompt(instruction: string, input = ''): string {
  const task = 'Below is an instruction that describes a task'
  const ask = 'Write a response that appropriately completes the request.'
  return input === ''
    ? `${task}. ${ask}\n\n### Instruction:\n${instruction}\n\n### Response:\n`
    : `${task}, paired with an input that provides further context. ${ask}\n\n` +
        `### Instruction:\n${instruction}\n\n### Input:\n${input}\n\n### Response:\n`
}

const shareGptRoles: Record<string, string> = {
  human: 'user',
  user: 'user',
  gpt: 'assistant',
  assistant: 'assistant',
  system: 'system',
  observation: 'tool',
  tool: 'tool',
  function_call: 'assistant',
}

/**
 * ShareGPT turns (`{ from, value }`) as chat messages. A `function_call` turn is the assistant's: with `toolCalls` it
 * becomes structured `tool_calls`, for templates that write those, else its JSON text is the turn's content. `where`
 * names the row in errors.
 */
export function shareGptMessages(
  turns: unknown,
  where: string,
  options: { system?: string; toolCalls?: boolean } = {},
): ChatMessage[] {
  const messages = turnList(turns, where, 'conversations').map((turn, i): ChatMessage => {
    const { from, value } = turn
    if (typeof from !== 'string' || typeof value !== 'string') {
      throw new Error(`${where}: turn ${i} has keys ${Object.keys(turn).join(', ')}; expected strings from and value.`)
    }
    const role = shareGptRoles[from]
    if (role === undefined) {
      const known = Object.keys(shareGptRoles)
      throw new Error(`${where}: turn ${i} is from "${from}"; expected ${known.join(', ')}.${didYouMean(from, known)}`)
    }
    return from === 'function_call' && options.toolCalls
      ? { role, content: '', tool_calls: toolCallsOf(value, `${where}: turn ${i}`) }
      : { role, content: value }
  })
  return options.system ? [{ role: 'system', content: options.system }, ...messages] : messages
}

/** Checks a `messages` cell: a non-empty list of objects with a role. */
export function chatMessages(turns: unknown, where: string): ChatMessage[] {
  return turnList(turns, where, 'messages').map((turn, i) => {
    const hasBody = 'content' in turn || 'tool_calls' in turn
    if (typeof turn.role === 'string' && hasBody) return turn as ChatMessage
    throw new Error(
      `${where}: message ${i} has keys ${Object.keys(turn).join(', ') || 'none'}; expected role and content` +
        `${'from' in turn ? ' (turns with from and value belong in a column "conversations")' : ''}.`,
    )
  })
}

/** A `tools` cell (a list, or its JSON text) as the function schemas that templates expect; none for an empty one. */
export function toolSchemas(cell: unknown, where: string): unknown[] | undefined {
  if (cell === undefined || cell === null || cell === '') return undefined
  const tools = typeof cell === 'string' ? parseJson(cell, `${where}: the tools`) : cell
  if (!Array.isArray(tools))
    throw new Error(`${where}: tools is not a list; expected a list of functions, or its JSON.`)
  if (tools.length === 0) return undefined
  return tools.map(tool => ((tool as Row | null)?.type === 'function' ? tool : { type: 'function', function: tool }))
}

function toolCallsOf(value: string, where: string): unknown[] {
  const parsed = parseJson(value, `${where}: the function call`)
  return (Array.isArray(parsed) ? parsed : [parsed]).map(call => ({ type: 'function', function: call }))
}

function turnList(turns: unknown, where: string, column: string): Row[] {
  if (Array.isArray(turns) && turns.length && turns.every(turn => typeof turn === 'object' && turn !== null))
    return turns
  throw new Error(
    `${where}: ${column} is not a list of turns with at least one; got ${JSON.stringify(turns)?.slice(0, 60)}.`,
  )
}

function parseJson(text: string, what: string): unknown {
  try {
    return JSON.parse(text)
  } catch (cause) {
    throw new Error(`${what} is not JSON (${(cause as Error).message}): ${text.slice(0, 60)}`, { cause })
  }
}
