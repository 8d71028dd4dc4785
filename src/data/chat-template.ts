/** @file Chat templates: a conversation as the text that the model was trained on, as Transformers renders it. */
import { Environment, Interpreter, parse, tokenize } from '@huggingface/jinja'
import { strftime } from './strftime.ts'

/** One turn of a conversation, as chat templates read it. */
export interface ChatMessage {
  role: string
  /** Text, or the parts a multimodal template expects. */
  content?: unknown
  [key: string]: unknown
}

/** What a template is given beside the conversation. */
export interface ChatVariables {
  /** Functions the model may call, as JSON schemas. */
  tools?: readonly unknown[]
  /** Texts to answer from, usually each with `title` and `text`. */
  documents?: readonly Record<string, unknown>[]
  /** End with the opening of the assistant's turn, so that the model answers. Default false. */
  addGenerationPrompt?: boolean
  /**
   * End inside the last message, so that the model goes on with it: its `content`, or the field that is named, such as
   * `reasoning_content`. Default false.
   */
  continueFinalMessage?: boolean | string
  /** Further variables, such as `enable_thinking`; they win over the special tokens. */
  variables?: Readonly<Record<string, unknown>>
}

/** A rendered conversation. */
export interface RenderedChat {
  text: string
  /** Where `{% generation %}` blocks, which templates put around what the assistant wrote, begin and end in the text. */
  assistantSpans: [start: number, end: number][]
}

/** A conversation that a template refuses, by `raise_exception`. */
class Refusal extends Error {}

/** Characters that Unicode reserves for such use within a program, and never gives a meaning. */
const [OPEN, CLOSE, END] = ['\uFDD0', '\uFDD1', '\uFDD2']
const GENERATION = /{%([-+]?)\s*(end)?generation\s*(-?)%}/g
/** Older names of a message's reasoning; the first is the one that templates read today. */
const REASONING = ['reasoning_content', 'thinking', 'reasoning']

type Program = ReturnType<typeof parse>

/** Python's methods of texts that take the characters to strip, which the engine reads past. */
const STRIPPING: Readonly<Record<string, (text: string, characters: string) => string>> = {
  strip: (text, characters) => stripEnd(stripStart(text, characters), characters),
  lstrip: stripStart,
  rstrip: stripEnd,
}
const functionName = (method: string) => `text ${method}`

/** What every template finds, as in Transformers. */
const GLOBALS: Readonly<Record<string, unknown>> = {
  true: true,
  false: false,
  none: null,
  True: true,
  False: false,
  None: null,
  range,
  strftime_now: (format: string) => strftime(new Date(), format),
  raise_exception: (message: string) => {
    throw new Refusal(message)
  },
  ...Object.fromEntries(Object.entries(STRIPPING).map(([method, strip]) => [functionName(method), strip])),
}

/** Blocks leave no line of their own behind: the white space rules that Transformers sets. */
function compile(source: string): Program {
  const program = parse(tokenize(source, { lstrip_blocks: true, trim_blocks: true }))
  callFunctions(program)
  return program
}

/** Has `text.lstrip('x')` call a function of ours; a name with a space is none that a template could use. */
function callFunctions(node: unknown): void {
  if (typeof node !== 'object' || node === null) return
  const children = node instanceof Map ? [...node].flat() : Object.values(node)
  for (const child of children) callFunctions(child)
  const call = node as { type?: string; callee?: MethodNode; args?: unknown[] }
  if (call.type !== 'CallExpression' || call.callee?.type !== 'MemberExpression' || !call.args?.length) return
  const { object, property, computed } = call.callee
  if (computed || !Object.hasOwn(STRIPPING, property.value)) return
  Object.assign(call, {
    callee: { type: 'Identifier', value: functionName(property.value) },
    args: [object, ...call.args],
  })
}

/** What is called as a method, in a parsed template. */
interface MethodNode {
  type: string
  object: unknown
  property: { value: string }
  computed: boolean
}

/** A compiled template. */
export class ChatTemplate {
  readonly source: string
  readonly #name: string
  readonly #program: Program
  #marked: Program | undefined

  /**
   * @param name whose template it is, for messages
   * @throws when it cannot be parsed
   */
  constructor(name: string, source: string) {
    this.#name = name
    this.source = source
    this.#program = this.#guard(() => compile(source))
  }

  /** Whether it says what the assistant writes, with `{% generation %}` blocks. */
  get marksGeneration(): boolean {
    return this.source.search(GENERATION) >= 0
  }

  /**
   * Renders a conversation.
   *
   * @param specialTokens `bos_token` and the like
   * @throws when there is nothing to render, the template refuses the conversation or fails, or its last message cannot
   * be continued
   */
  render(
    conversation: readonly ChatMessage[],
    options: ChatVariables,
    specialTokens: Readonly<Record<string, string>>,
  ): string {
    return this.#render(this.#program, conversation, options, specialTokens)
  }

  /** Renders a conversation and finds its `{% generation %}` blocks. Throws as {@link ChatTemplate.render}. */
  renderMarked(
    conversation: readonly ChatMessage[],
    options: ChatVariables,
    specialTokens: Readonly<Record<string, string>>,
  ): RenderedChat {
    const text = this.render(conversation, options, specialTokens)
    if (!this.marksGeneration) return { text, assistantSpans: [] }
    // A block tag in place of each, so that white space around it is kept or dropped as Jinja has it for such tags.
    this.#marked ??= this.#guard(() => {
      const block = (_: string, before: string, end: string | undefined, after: string) =>
        `{%${before} if true %}${end ? CLOSE : OPEN}{% endif ${after}%}`
      return compile(this.source.replace(GENERATION, block))
    })
    const marked = this.#render(this.#marked, conversation, options, specialTokens)
    if (marked.replaceAll(OPEN, '').replaceAll(CLOSE, '') !== text) {
      throw new Error(
        `The chat template of ${this.#name} does not keep its {% generation %} blocks in their places (a filter goes over ` +
          'them, or the conversation holds the reserved characters U+FDD0 and U+FDD1), so what the assistant writes ' +
          'cannot be told; take them out.',
      )
    }
    return { text, assistantSpans: spansOf(marked) }
  }

  #render(
    program: Program,
    conversation: readonly ChatMessage[],
    options: ChatVariables,
    specialTokens: Readonly<Record<string, string>>,
  ): string {
    const { tools, documents, addGenerationPrompt = false, continueFinalMessage = false, variables } = options
    const messages = this.#messages(conversation)
    refuseOthers('tools', tools, 'JSON schemas')
    refuseOthers('documents', documents, 'objects with title and text')
    const continued = continueFinalMessage === true ? 'content' : continueFinalMessage
    if (continued !== false) {
      if (addGenerationPrompt) {
        throw new Error(
          'continueFinalMessage goes on with the last message and addGenerationPrompt begins a new one; give one of them.',
        )
      }
      this.#markEnd(messages, continued)
    }
    const values = {
      ...GLOBALS,
      ...specialTokens,
      ...variables,
      messages,
      tools: tools ?? null,
      documents: documents ?? null,
      add_generation_prompt: addGenerationPrompt,
    }
    const text = this.#guard(() => {
      const environment = new Environment()
      for (const [name, value] of Object.entries(values)) environment.set(name, value)
      return String(new Interpreter(environment).run(program).value)
    })
    return continued === false ? text : this.#cutAtEnd(text)
  }

  /** The turns as templates expect them: fields that are null are absent, and reasoning has all its names. */
  #messages(conversation: readonly ChatMessage[]): Record<string, unknown>[] {
    if (!Array.isArray(conversation) || conversation.length === 0) {
      throw new Error(
        `The chat template of ${this.#name} got no messages; give at least one: [{ role: 'user', content: '…' }].`,
      )
    }
    return conversation.map((message, i) => {
      if (typeof message !== 'object' || message === null || Array.isArray(message)) {
        throw new Error(`Message ${i} is ${describe(message)}; expected an object with role and content.`)
      }
      const fields = Object.entries(message).filter(([, value]) => value !== null && value !== undefined)
      const reasoning = REASONING.map(key => message[key]).find(value => value !== null && value !== undefined)
      return {
        ...(reasoning !== undefined && { thinking: reasoning }),
        ...Object.fromEntries(fields),
        ...(reasoning !== undefined && { reasoning_content: reasoning }),
      }
    })
  }

  /** Puts a mark behind the text that is to be continued. The space behind it tells whether the template trims. */
  #markEnd(messages: Record<string, unknown>[], field: string): void {
    const last = messages[messages.length - 1]
    const value = last[field]
    // Reasoning stands under several names: whichever the template reads is continued.
    const fields = REASONING.includes(field) ? REASONING.filter(name => last[name] === value) : [field]
    if (!fields.some(name => this.source.includes(name))) {
      throw new Error(
        `continueFinalMessage names "${field}", which the chat template of ${this.#name} does not read; continue "content".`,
      )
    }
    const mark = `${END} `
    if (typeof value === 'string') {
      for (const name of fields) last[name] = value + mark
      return
    }
    const at = Array.isArray(value) ? value.findLastIndex(part => typeof part?.text === 'string') : -1
    if (at < 0) {
      throw new Error(
        `continueFinalMessage: the last message has no text in "${field}" to go on with, but ${describe(value)}.`,
      )
    }
    last[field] = (value as { text: string }[]).map((part, i) =>
      i === at ? { ...part, text: part.text + mark } : part,
    )
  }

  #cutAtEnd(text: string): string {
    const at = text.lastIndexOf(END)
    if (at < 0) {
      throw new Error(
        `The chat template of ${this.#name} does not write the end of the last message, so it cannot be continued; ` +
          'use addGenerationPrompt, or a template that writes messages whole.',
      )
    }
    const kept = text.slice(0, at)
    return text[at + 1] === ' ' ? kept : kept.trimEnd()
  }

  #guard<T>(act: () => T): T {
    try {
      return act()
    } catch (cause) {
      const { message } = cause as Error
      const what = cause instanceof Refusal ? 'refuses this conversation' : 'failed'
      throw new Error(`The chat template of ${this.#name} ${what}: ${message}`, { cause })
    }
  }
}

/** Python's `range`. */
function range(first: number, second?: number, step = 1): number[] {
  const [start, stop] = second === undefined ? [0, first] : [first, second]
  if (step === 0) throw new Error('range() has the step 0')
  return Array.from({ length: Math.max(0, Math.ceil((stop - start) / step)) }, (_, i) => start + i * step)
}

function stripStart(text: string, characters: string): string {
  let start = 0
  while (start < text.length && characters.includes(text[start])) start++
  return text.slice(start)
}

function stripEnd(text: string, characters: string): string {
  let end = text.length
  while (end > 0 && characters.includes(text[end - 1])) end--
  return text.slice(0, end)
}

/** Where marked stretches stand in the text without its marks. */
function spansOf(marked: string): [number, number][] {
  const spans: [number, number][] = []
  let [length, start] = [0, 0]
  for (const piece of marked.split(/([\uFDD0\uFDD1])/)) {
    if (piece === OPEN) start = length
    else if (piece === CLOSE) spans.push([start, length])
    else length += piece.length
  }
  return spans
}

function refuseOthers(name: string, items: readonly unknown[] | undefined, expected: string): void {
  items?.forEach((item, i) => {
    if (typeof item === 'object' && item !== null && !Array.isArray(item)) return
    throw new Error(`${name}[${i}] of a chat template is ${describe(item)}; expected ${expected}.`)
  })
}

function describe(value: unknown): string {
  if (typeof value === 'function') return 'a function'
  return JSON.stringify(value)?.slice(0, 60) ?? String(value)
}
