/**
 * @file Tests of chat templates. `testing/chat-templates/cases.json` holds what Transformers 5.23 makes of these
 * conversations with these templates, on 5 March 2026 at 09:04:07.
 */
import { readFileSync } from 'node:fs'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { tokenizeCausalLM } from './causal-lm.ts'
import { type ChatMessage, ChatTemplate } from './chat-template.ts'
import { Dataset } from './dataset.ts'
import { strftime } from './strftime.ts'
import { shared, tinyLlamaFolder } from './testing/fixtures.ts'
import { AutoTokenizer, Tokenizer } from './tokenizer.ts'

interface Case {
  name: string
  template: string
  messages: ChatMessage[]
  options: Record<string, unknown>
  expected?: string
  error?: string
  spans?: [number, number][]
}

const fixture = (name: string) => readFileSync(new URL(`./testing/chat-templates/${name}`, import.meta.url), 'utf8')
const cases = JSON.parse(fixture('cases.json')) as Case[]
const template = (name: string) => new ChatTemplate(name, fixture(`${name}.jinja`))
const TOKENS = { bos_token: '<s>', eos_token: '</s>' }

beforeEach(() => void vi.useFakeTimers({ now: new Date(2026, 2, 5, 9, 4, 7), toFake: ['Date'] }))
afterEach(() => void vi.useRealTimers())

/** The options of a case by our names. */
function optionsOf({ options }: Case) {
  const { add_generation_prompt, continue_final_message, tools, documents, ...variables } = options
  return {
    addGenerationPrompt: add_generation_prompt as boolean | undefined,
    continueFinalMessage: continue_final_message as boolean | undefined,
    tools: tools as unknown[],
    documents: documents as Record<string, unknown>[],
    variables,
  }
}

describe('a chat template', () => {
  it.each(cases.map(one => [`${one.template}: ${one.name}`, one] as const))('renders as Transformers: %s', (_, one) => {
    const render = () => template(one.template).render(one.messages, optionsOf(one), TOKENS)
    if (one.error !== undefined) return expect(render).toThrow()
    expect(render()).toBe(one.expected)
  })

  it('tells where generation blocks stand, as Transformers does', () => {
    const marked = cases.filter(({ spans }) => spans)
    expect(marked.filter(({ spans }) => spans!.length).length).toBeGreaterThan(2)
    for (const one of marked) {
      const { text, assistantSpans } = template(one.template).renderMarked(one.messages, optionsOf(one), TOKENS)
      expect([text, assistantSpans]).toEqual([one.expected, one.spans])
    }
    expect(template('qwen').renderMarked([{ role: 'user', content: 'x' }], {}, {}).assistantSpans).toEqual([])
  })

  it('refuses generation blocks that a filter changes, and reserved characters', () => {
    const chat = [{ role: 'user', content: 'ab' }]
    const filtered = new ChatTemplate(
      't',
      '{% macro m() %}{% generation %}ab{% endgeneration %}{% endmacro %}{{ m()[:1] }}',
    )
    expect(() => filtered.renderMarked(chat, {}, {})).toThrow('does not keep its {% generation %} blocks')
    const reserved = [{ role: 'user', content: '\uFDD0' }]
    expect(() => template('chatml').renderMarked(reserved, {}, {})).toThrow('reserved characters')
    expect(template('chatml').render(reserved, {}, {})).toContain('\uFDD0')
  })

  it("says that it refuses, in the template's words, and where it cannot be parsed or read", () => {
    const twice = [
      { role: 'user', content: 'a' },
      { role: 'user', content: 'b' },
    ]
    expect(() => template('alternating').render(twice, {}, TOKENS)).toThrow(
      'The chat template of alternating refuses this conversation: Roles must alternate user/assistant/user/assistant/...',
    )
    expect(() => new ChatTemplate('t', '{% if %}')).toThrow('The chat template of t failed: ')
    expect(() => new ChatTemplate('t', '{{ f(1) }}').render(twice, {}, {})).toThrow('The chat template of t failed: ')
  })

  it('refuses what it cannot be given', () => {
    const chat = [{ role: 'user', content: 'a' }]
    const chatml = template('chatml')
    expect(() => chatml.render([], {}, {})).toThrow('got no messages')
    expect(() => chatml.render(['hi' as unknown as ChatMessage], {}, {})).toThrow('Message 0 is "hi"')
    expect(() => chatml.render(chat, { tools: [() => 1] }, {})).toThrow(
      'tools[0] of a chat template is a function; expected JSON schemas',
    )
    expect(() => chatml.render(chat, { documents: ['x' as never] }, {})).toThrow('documents[0]')
    const both = { addGenerationPrompt: true, continueFinalMessage: true }
    expect(() => chatml.render(chat, both, {})).toThrow('give one of them')
  })

  it('refuses to go on where it does not write the last message to its end', () => {
    const chat = [{ role: 'user', content: 'abc' }]
    const go = (source: string, field: boolean | string = true) =>
      new ChatTemplate('t', source).render(chat, { continueFinalMessage: field }, {})
    expect(() => go('{{ messages[0].content[:2] }}')).toThrow('does not write the end of the last message')
    expect(() => go('{{ messages[0].content }}', 'plan')).toThrow('names "plan", which the chat template of t does not')
    expect(() => go('{{ messages[0].plan }}', 'plan')).toThrow('no text in "plan" to go on with, but undefined')
    expect(go('<{{ messages[0].content }}>')).toBe('<abc')
  })
})

describe('dates', () => {
  it('are written as Python writes them in its C locale', () => {
    const date = new Date(2027, 0, 3, 15, 4, 5, 120)
    // datetime(2027, 1, 3, 15, 4, 5, 120000).strftime(…)
    const format = '%a %A %w %d %b %B %m %y %Y %H %I %p %M %S %f %j %U %W %x %X %% %-d %e %-H %-I %-j %F %T %D %R %u %C'
    expect(strftime(date, format)).toBe(
      'Sun Sunday 0 03 Jan January 01 27 2027 15 03 PM 04 05 120000 003 01 00 01/03/27 15:04:05 % 3  3 15 3 3 ' +
        '2027-01-03 15:04:05 01/03/27 15:04 7 20',
    )
    expect(strftime(date, '%c|%Q|100%')).toBe('Sun Jan  3 15:04:05 2027|%Q|100%')
  })
})

describe('the assistant mask', () => {
  const chat = [
    { role: 'user', content: 'hello world' },
    { role: 'assistant', content: 'the user' },
  ]

  it('marks the tokens of what the assistant writes', async () => {
    const tokenizer = await AutoTokenizer.fromPretrained(tinyLlamaFolder)
    const chatTemplate = fixture('chatml.jinja')
    const { inputIds, attentionMask, assistantMasks } = tokenizer.applyChatTemplate(chat, {
      chatTemplate,
      returnDict: true,
      returnAssistantTokensMask: true,
    })
    expect(inputIds).toEqual(tokenizer.applyChatTemplate(chat, { chatTemplate }))
    expect(attentionMask).toEqual(inputIds.map(() => 1))
    expect(tokenizer.decode(inputIds.filter((_, i) => assistantMasks![i]))).toBe('the user<|im_end|>')
  })

  it('counts a token that reaches across an end of it', async () => {
    const tokenizer = await AutoTokenizer.fromPretrained(tinyLlamaFolder)
    const chatTemplate = '{{ "he" }}{% generation %}{{ "llo wor" }}{% endgeneration %}{{ "ld the user" }}'
    const options = { chatTemplate, returnDict: true, returnAssistantTokensMask: true } as const
    const { inputIds, assistantMasks } = tokenizer.applyChatTemplate(chat, options)
    expect(tokenizer.decode(inputIds)).toBe('hello world the user')
    expect(tokenizer.decode(inputIds.filter((_, i) => assistantMasks![i]))).toBe('hello world')
  })

  it('needs a template that says it, and its place in the result', async () => {
    const tokenizer = await AutoTokenizer.fromPretrained(tinyLlamaFolder)
    const wanted = { returnAssistantTokensMask: true } as const
    expect(() => tokenizer.applyChatTemplate(chat, { ...wanted, returnDict: true })).toThrow(
      'no {% generation %} blocks',
    )
    expect(() => tokenizer.applyChatTemplate(chat, wanted)).toThrow('belongs to returnDict: true')
    const continued = { ...wanted, returnDict: true, continueFinalMessage: true } as const
    expect(() => tokenizer.applyChatTemplate(chat, continued)).toThrow('do not go together')
    expect(Object.keys(tokenizer.applyChatTemplate(chat, { returnDict: true }))).toEqual(['inputIds', 'attentionMask'])
  })
})

describe('training on conversations', () => {
  it('learns what stands in generation blocks, where the template has them', async () => {
    const definition = new Uint8Array(readFileSync(`${tinyLlamaFolder}/tokenizer.json`))
    const jinja = new TextEncoder().encode(fixture('chatml.jinja'))
    const tokenizer = new Tokenizer(
      't',
      new Map([
        ['tokenizer.json', definition],
        ['chat_template.jinja', jinja],
      ]),
    )
    const messages = [
      { role: 'user', content: 'hello' },
      { role: 'assistant', content: 'the user' },
      { role: 'user', content: 'world' },
      { role: 'assistant', content: 'hello' },
    ]
    const { features } = tokenizeCausalLM(new Dataset([{ messages }]), tokenizer)
    const [{ inputIds, labels }] = features
    expect(tokenizer.decode(inputIds)).toBe(tokenizer.applyChatTemplate(messages, { tokenize: false }))
    expect(tokenizer.decode((labels as number[]).filter(label => label !== -100))).toBe(
      'the user<|im_end|>hello<|im_end|>',
    )
  })
})

describe('templates of a folder', () => {
  const bytes = (value: unknown) => new TextEncoder().encode(typeof value === 'string' ? value : JSON.stringify(value))
  const definition = new Uint8Array(readFileSync(`${tinyLlamaFolder}/tokenizer.json`))
  const made = (files: Record<string, unknown>) =>
    new Tokenizer(
      't',
      new Map([['tokenizer.json', definition], ...Object.entries(files).map(([k, v]) => [k, bytes(v)] as const)]),
    )
  const chat = [{ role: 'user', content: 'x' }]

  it('have names: those of the list, and of files beside it, which win', () => {
    const listed = [
      { name: 'default', template: 'list' },
      { name: 'rag', template: 'list rag' },
    ]
    const tokenizer = made({
      'tokenizer_config.json': { chat_template: listed },
      'chat_template.jinja': 'file',
      'additional_chat_templates/tool_use.jinja': 'tools',
      'additional_chat_templates/rag.jinja': 'file rag',
    })
    const render = (options = {}) => tokenizer.applyChatTemplate(chat, { ...options, tokenize: false })
    expect([render(), render({ tools: [] }), render({ chatTemplate: 'rag' })]).toEqual(['file', 'tools', 'file rag'])
  })

  it('know the special tokens that the files name, and no others', () => {
    const tokenizer = made({
      'tokenizer_config.json': {
        eos_token: '<|end|>',
        image_token: { content: '<image>' },
        extra_special_tokens: { audio_token: '<audio>' },
      },
      'chat_template.jinja': '{{ eos_token }}{{ image_token }}{{ audio_token }}{{ pad_token is defined }}',
    })
    expect(tokenizer.applyChatTemplate(chat, { tokenize: false })).toBe('<|end|><image><audio>false')
  })
})

describe.skipIf(!shared('models'))('a shared model', () => {
  it('has a template that ends where the answer begins', async () => {
    const tokenizer = await AutoTokenizer.fromPretrained(shared('models', 'mini-llama')!)
    const [open, begun] = [{ addGenerationPrompt: true }, { continueFinalMessage: true }].map(options =>
      tokenizer.applyChatTemplate(
        [
          { role: 'user', content: 'Hi' },
          ...('continueFinalMessage' in options ? [{ role: 'assistant', content: 'A' }] : []),
        ],
        { ...options, tokenize: false },
      ),
    )
    expect(begun).toBe(`${open}A`)
  })
})
