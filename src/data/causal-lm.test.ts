/** @file Tests of causal language modelling features: which tokens there are, and which are learnt. */
import { beforeAll, describe, expect, it } from 'vitest'
import { skippable } from '../../test/shared.ts'
import { type CausalLMOptions, tokenizeCausalLM } from './causal-lm.ts'
import { Dataset, type Row } from './dataset.ts'
import type { Feature } from './features.ts'
import { loadDataset } from './load.ts'
import { alpacaPrompt } from './templates.ts'
import { shared, tinyBertFolder, tinyLlamaFolder } from './testing/fixtures.ts'
import { AutoTokenizer, type Tokenizer } from './tokenizer.ts'

let llama: Tokenizer
beforeAll(async () => {
  llama = await AutoTokenizer.fromPretrained(tinyLlamaFolder)
})

const tokenize = (rows: Row[], options?: CausalLMOptions) => tokenizeCausalLM(new Dataset(rows), llama, options)
const labelsOf = (feature: Feature) => feature.labels as number[]
const learntText = (feature: Feature, tokenizer = llama) =>
  tokenizer.decode(labelsOf(feature).filter(label => label !== -100))
const whole = (feature: Feature, tokenizer = llama) => tokenizer.decode(feature.inputIds)

describe('prompt and completion', () => {
  it('are joined as they are, and only the completion and the end are learnt', () => {
    const { features, format } = tokenize([{ prompt: 'the user:', completion: ' hello world' }])
    expect(format).toBe('prompt-completion')
    expect(whole(features[0])).toBe('<|begin|>the user: hello world<|end|>')
    expect(learntText(features[0])).toBe(' hello world<|end|>')
    expect(features[0].inputIds.slice(1, -1)).toEqual(
      llama.encode('the user: hello world', { addSpecialTokens: false }).inputIds,
    )
  })

  it('label each learnt token with itself', () => {
    const [feature] = tokenize([{ prompt: 'a', completion: ' b' }]).features
    labelsOf(feature).forEach((label, i) => {
      expect([-100, feature.inputIds[i]]).toContain(label)
    })
    expect(feature.attentionMask).toEqual(feature.inputIds.map(() => 1))
  })

  it('are encoded apart where one token would reach across their boundary', () => {
    const alone = (text: string) => llama.encode(text, { addSpecialTokens: false }).inputIds
    expect(alone('hello')).toHaveLength(1)
    const [feature] = tokenize([{ prompt: 'hell', completion: 'o world' }], { addEos: false }).features
    expect(feature.inputIds).toEqual([0, ...alone('hell'), ...alone('o world')])
    expect(learntText(feature)).toBe('o world')
  })

  it('are learnt as a whole when completionOnly is false', () => {
    const [feature] = tokenize([{ prompt: 'the', completion: ' user' }], { completionOnly: false }).features
    expect(feature.labels).toEqual(feature.inputIds)
  })

  it('do not get a second end-of-text token', () => {
    const [feature] = tokenize([{ prompt: 'a', completion: 'b<|end|>' }]).features
    expect(whole(feature)).toBe('<|begin|>ab<|end|>')
  })

  it('come from other columns only when these are named', () => {
    const rows = [{ question: '1+1?', answer: ' 2' }]
    expect(() => tokenize(rows)).toThrow('no known format fits')
    const result = tokenize(rows, { columns: { prompt: 'question', completion: 'answer' } })
    expect(learntText(result.features[0])).toBe(' 2<|end|>')
    expect(result.columns).toEqual({ prompt: 'question', completion: 'answer' })
  })

  it('refuse an empty completion and a missing one, naming the row', () => {
    const good = { prompt: 'a', completion: 'b' }
    expect(() => tokenize([good, { prompt: 'a', completion: '' }])).toThrow(
      'Row 1: nothing would be learnt, since its completion is empty',
    )
    expect(() => tokenize([good, { prompt: 'a' }])).toThrow('Row 1: column "completion" is missing; expected a string')
  })
})

describe('plain text', () => {
  it('is learnt whole', () => {
    const [feature] = tokenize([{ text: 'hello world' }]).features
    expect(learntText(feature)).toBe('hello world<|end|>')
    expect(() => tokenize([{ text: '' }])).toThrow('its text is empty')
  })

  it('is read from a named column, and from the right one where formats compete', () => {
    expect(tokenize([{ body: 'hello' }], { columns: { text: 'body' } }).format).toBe('text')
    const both = [{ text: 'hello', prompt: 'a', completion: 'b' }]
    expect(() => tokenize(both)).toThrow('more than one format fits')
    expect(tokenize(both, { format: 'text' }).columns).toEqual({ text: 'text' })
  })
})

describe('Alpaca rows', () => {
  it('are written in the Alpaca template, with and without input', () => {
    const { features, format } = tokenize([
      { instruction: 'Add.', input: '1 and 1', output: '2' },
      { instruction: 'Say hello.', output: 'hello' },
    ])
    expect(format).toBe('alpaca')
    expect(whole(features[0])).toBe(`<|begin|>${alpacaPrompt('Add.', '1 and 1')}2<|end|>`)
    expect(whole(features[0])).toContain('### Input:\n1 and 1\n\n### Response:\n2')
    expect(learntText(features[1])).toBe('hello<|end|>')
    expect(whole(features[1])).not.toContain('### Input')
  })
})

describe('conversations', () => {
  const messages = [
    { role: 'system', content: 'Be kind.' },
    { role: 'user', content: 'hello' },
    { role: 'assistant', content: 'hello world' },
    { role: 'user', content: 'the end?' },
    { role: 'assistant', content: 'yes' },
  ]

  it('learn every turn of the assistant with the mark that ends it, and nothing else', () => {
    const [feature] = tokenize([{ messages }]).features
    expect(feature.inputIds).toEqual(llama.applyChatTemplate(messages))
    expect(learntText(feature)).toBe('hello world<|im_end|>\nyes<|im_end|>\n')
  })

  it('leave a last turn of the user unlearnt', () => {
    const [feature] = tokenize([{ messages: messages.slice(0, 4) }]).features
    expect(learntText(feature)).toBe('hello world<|im_end|>\n')
    expect(whole(feature)).toContain('the end?')
  })

  it('are read in the ShareGPT form, with tools and tool calls', () => {
    const { features, format, notes } = tokenize([
      {
        conversations: [
          { from: 'human', value: 'weather?' },
          { from: 'function_call', value: '{"name": "weather", "arguments": {"in": "Rome"}}' },
          { from: 'observation', value: 'sun' },
          { from: 'gpt', value: 'It is sunny.' },
        ],
        tools: '[{"name": "weather"}]',
      },
    ])
    expect([format, notes]).toEqual(['conversations', []])
    expect(whole(features[0])).toContain('Tools: [{"type": "function", "function": {"name": "weather"}}]')
    expect(whole(features[0])).toContain('<|im_start|>tool\nsun<|im_end|>')
    expect(learntText(features[0])).toBe(
      'CALL {"name": "weather", "arguments": {"in": "Rome"}}<|im_end|>\nIt is sunny.<|im_end|>\n',
    )
  })

  it.each<[string, Row, string]>([
    [
      'no assistant turn',
      { messages: messages.slice(0, 2) },
      'Row 0: nothing would be learnt, since it has no assistant turn',
    ],
    ['no turns', { messages: [] }, 'Row 0: messages is not a list of turns'],
    ['turns that are no objects', { messages: ['hello'] }, 'Row 0: messages is not a list of turns'],
    ['a turn without role', { messages: [{ content: 'a' }] }, 'message 0 has keys content; expected role and content'],
    [
      'ShareGPT turns under messages',
      { messages: [{ from: 'human', value: 'a' }] },
      'belong in a column "conversations"',
    ],
    ['an unknown speaker', { conversations: [{ from: 'humans', value: 'a' }] }, 'Did you mean "human"'],
    [
      'a turn without value',
      { conversations: [{ from: 'human' }] },
      'turn 0 has keys from; expected strings from and value',
    ],
    [
      'a broken call',
      { conversations: [{ from: 'function_call', value: '{' }] },
      'turn 0: the function call is not JSON',
    ],
    ['broken tools', { messages, tools: '[' }, 'Row 0: the tools is not JSON'],
    ['tools that are no list', { messages, tools: {} }, 'Row 0: tools is not a list'],
  ])('refuse %s', (_, row, message) => {
    expect(() => tokenize([row])).toThrow(message)
  })

  it('refuse a tokenizer without template', async () => {
    const bert = await AutoTokenizer.fromPretrained(tinyBertFolder)
    expect(() => tokenizeCausalLM(new Dataset([{ messages }]), bert)).toThrow('tiny-bert has no chat template')
  })
})

describe('other templates', () => {
  async function withTemplate(template: string): Promise<Tokenizer> {
    const tokenizer = await AutoTokenizer.fromPretrained(tinyLlamaFolder)
    const apply = tokenizer.applyChatTemplate.bind(tokenizer) as (m: unknown, o: object) => never
    tokenizer.applyChatTemplate = (turns: unknown, options: object = {}) =>
      apply(turns, { ...options, chatTemplate: template })
    tokenizer.templateSource = () => template
    return tokenizer
  }
  const messages = [
    { role: 'user', content: 'a' },
    { role: 'assistant', content: 'b' },
    { role: 'user', content: 'c' },
    { role: 'assistant', content: 'd' },
  ]

  it('that rewrite earlier turns are refused, with the way out', async () => {
    const forgetful = await withTemplate('{{ messages | length }}{% for m in messages %}{{ m.content }}{% endfor %}')
    expect(() => tokenizeCausalLM(new Dataset([{ messages }]), forgetful)).toThrow(
      /Row 0: the chat template of tiny-llama does not write message 1 as a continuation.*\{ prompt, completion \}/,
    )
  })

  it('that do not mention tools get a note, and tool calls they would lose are refused', async () => {
    const plain = await withTemplate('{% for m in messages %}{{ m.role }}:{{ m.content }}\n{% endfor %}')
    const { notes, features } = tokenizeCausalLM(new Dataset([{ messages, tools: [{ name: 'f' }] }]), plain)
    expect(notes).toEqual([
      expect.stringMatching(/^1 row \(first: 0\) have tools, but the chat template does not mention/),
    ])
    expect(features).toHaveLength(1)
    const calls = [messages[0], { role: 'assistant', content: '', tool_calls: [{}] }]
    expect(() => tokenizeCausalLM(new Dataset([{ messages: calls }]), plain)).toThrow(
      'has tool_calls, which the chat template',
    )
  })

  it('without tool calls get a ShareGPT call as text', async () => {
    const plain = await withTemplate('{% for m in messages %}{{ m.content }}|{% endfor %}')
    const conversations = [
      { from: 'human', value: 'a' },
      { from: 'function_call', value: '{"name": "f"}' },
    ]
    const [feature] = tokenizeCausalLM(new Dataset([{ conversations }]), plain).features
    expect(learntText(feature)).toBe('{"name": "f"}|')
  })
})

describe('examples that are too long', () => {
  const rows = [
    { prompt: 'a', completion: 'b' },
    { prompt: 'aaaa', completion: 'bbbbbb' },
  ]

  it('are refused with the ways out, left out, or cut at the end', () => {
    expect(() => tokenize(rows, { maxLength: 8 })).toThrow(
      '1 of 2 rows is longer than maxLength = 8 tokens; the longest is row 1 with 12 tokens (rows 1)',
    )
    const skipped = tokenize(rows, { maxLength: 8, overlong: 'skip' })
    expect([skipped.rows, skipped.tooLong]).toEqual([[0], [{ index: 1, length: 12 }]])
    const cut = tokenize(rows, { maxLength: 8, overlong: 'truncate' })
    expect(whole(cut.features[1])).toBe('<|begin|>aaaabbb')
    expect(learntText(cut.features[1])).toBe('bbb')
    expect(cut.tooLong).toEqual(skipped.tooLong)
  })

  it('are refused when the cut leaves nothing to learn', () => {
    expect(() => tokenize(rows, { maxLength: 4, overlong: 'truncate' })).toThrow(
      'Row 1: cut from 12 to 4 tokens, nothing to be learnt is left',
    )
  })
})

describe('options', () => {
  const rows = [{ prompt: 'a', completion: 'b' }]

  it('that name unknown formats or columns are refused', () => {
    expect(() => tokenize(rows, { format: 'alpacca' as 'alpaca' })).toThrow('Did you mean "alpaca"')
    expect(() => tokenize(rows, { format: 'text', columns: { prompt: 'prompt' } })).toThrow('columns names "prompt"')
    expect(() => tokenize(rows, { format: 'text' })).toThrow('needs "text", but the data set has no column "text"')
    expect(() => tokenize(rows, { columns: { prompt: 'a' } })).toThrow('fits no format')
    expect(() => tokenize(rows, { columns: { prompt: 'promt', completion: 'completion' } })).toThrow(
      'Did you mean "prompt"',
    )
  })

  it('that ask for an end-of-text token the tokenizer lacks are refused', async () => {
    const bert = await AutoTokenizer.fromPretrained(tinyBertFolder)
    expect(() => tokenizeCausalLM(new Dataset(rows), bert)).toThrow('tiny-bert has no end-of-text token')
    const [feature] = tokenizeCausalLM(new Dataset(rows), bert, { addEos: false }).features
    expect(whole(feature, bert)).toBe('[CLS] ab')
  })
})

describe.skipIf(!shared('data'))(skippable('real rows', !shared('data') && 'the shared data are not here'), () => {
  it('are read in each format, with the completion learnt exactly', async () => {
    const tokenizer = await AutoTokenizer.fromPretrained(shared('models', 'mini-llama')!)
    const gsm8k = await loadDataset(shared('data', 'gsm8k/test.jsonl')!, {
      columns: { prompt: 'question', completion: 'answer' },
      limit: 20,
    })
    tokenizeCausalLM(gsm8k, tokenizer).features.forEach((feature, i) => {
      expect(learntText(feature, tokenizer)).toBe(`${gsm8k.at(i).completion}<|endoftext|>`)
      expect(whole(feature, tokenizer)).toBe(`${gsm8k.at(i).prompt}${gsm8k.at(i).completion}<|endoftext|>`)
    })
    const tools = await loadDataset(shared('data', 'toolcall/glaive_toolcall_en_demo.json')!, { limit: 10 })
    const chats = tokenizeCausalLM(tools, tokenizer, { maxLength: 4096 })
    chats.features.forEach((feature, i) => {
      const turns = tools.at(i).conversations as { from: string; value: string }[]
      const spoken = turns.filter(({ from }) => from === 'gpt' || from === 'function_call')
      expect(learntText(feature, tokenizer)).toBe(spoken.map(({ value }) => `${value}<|im_end|>\n`).join(''))
    })
  })
})
