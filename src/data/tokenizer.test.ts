/** @file Tests of the tokenizer. The expected token numbers and texts are those of Transformers 5.23 on the same files. */
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { skippable } from '../../test/shared.ts'
import { shared, tinyBertFolder, tinyLlamaFolder } from './testing/fixtures.ts'
import { AutoTokenizer, Tokenizer } from './tokenizer.ts'

let bert: Tokenizer
let llama: Tokenizer
let folder: string
beforeAll(async () => {
  bert = await AutoTokenizer.fromPretrained(tinyBertFolder)
  llama = await AutoTokenizer.fromPretrained(tinyLlamaFolder)
  folder = await mkdtemp(join(tmpdir(), 'tokenizer-'))
})
afterAll(() => rm(folder, { recursive: true, force: true }))

const bytes = (value: unknown) => new TextEncoder().encode(typeof value === 'string' ? value : JSON.stringify(value))

/** The tiny BPE tokenizer with other settings. */
async function withConfig(config: object, more: Record<string, unknown> = {}): Promise<Tokenizer> {
  const definition = await readFile(join(tinyLlamaFolder, 'tokenizer.json'))
  const files = Object.entries({ 'tokenizer_config.json': config, ...more }).map(([k, v]) => [k, bytes(v)] as const)
  return new Tokenizer('changed', new Map([['tokenizer.json', definition], ...files]))
}

describe('encode and decode', () => {
  it.each([
    [
      'The film is GREAT, not dull!',
      [2, 8, 9, 11, 15, 61, 18, 17, 62, 3],
      '[CLS] the film is great, not dull! [SEP]',
      'the film is great, not dull!',
    ],
    [
      'Café naïve 日 movies',
      [2, 27, 66, 71, 70, 37, 66, 74, 87, 70, 1, 10, 84, 3],
      '[CLS] cafe naive [UNK] movies [SEP]',
      'cafe naive movies',
    ],
  ])('WordPiece agrees with Transformers on %j', (text, ids, whole, plain) => {
    const { inputIds, attentionMask, tokenTypeIds } = bert.encode(text)
    expect(inputIds).toEqual(ids)
    expect(attentionMask).toEqual(ids.map(() => 1))
    expect(tokenTypeIds).toEqual(ids.map(() => 0))
    expect(bert.decode(ids)).toBe(whole)
    expect(bert.decode(ids, { skipSpecialTokens: true })).toBe(plain)
  })

  it.each([
    ['hello world 🎉', [0, 263, 268, 36, 244, 163, 146, 141], '<|begin|>hello world 🎉', 'hello world 🎉'],
    [
      'héllo<|im_end|> the user',
      [0, 108, 199, 173, 261, 115, 3, 270, 36, 276],
      '<|begin|>héllo<|im_end|> the user',
      'héllo the user',
    ],
  ])('byte-level BPE agrees with Transformers on %j', (text, ids, whole, plain) => {
    expect(llama.encode(text)).toEqual({ inputIds: ids, attentionMask: ids.map(() => 1) })
    expect(llama.encode(text, { addSpecialTokens: false }).inputIds).toEqual(ids.slice(1))
    expect(llama.decode(ids)).toBe(whole)
    expect(llama.decode(ids.map(BigInt), { skipSpecialTokens: true })).toBe(plain)
  })

  it('marks the second text of a pair, and cuts the longer text of a pair first', () => {
    const pair = { pair: 'not a bad movie at all' }
    expect(bert.encode('a good film', { ...pair, truncateTo: 9 })).toMatchObject({
      inputIds: [2, 5, 14, 9, 3, 18, 5, 16, 3],
      tokenTypeIds: [0, 0, 0, 0, 0, 1, 1, 1, 1],
    })
    expect(bert.encode('a good film', pair).inputIds.length).toBeGreaterThan(9)
    expect(bert.encode('a', { pair: '' }).inputIds).toEqual([2, 5, 3, 3])
  })

  it('keeps the special tokens when it cuts, and refuses a cut that leaves only them', () => {
    expect(bert.encode('the film is great', { truncateTo: 4 }).inputIds).toEqual([2, 8, 9, 3])
    expect(() => bert.encode('the film', { truncateTo: 2 })).toThrow('the special tokens alone fill it')
  })

  it('cuts on the left where the tokenizer says so', async () => {
    const left = await withConfig({ truncation_side: 'left' })
    expect(left.decode(left.encode('hello world', { truncateTo: 2 }).inputIds)).toBe('<|begin|> world')
  })

  it('gives no text for no tokens and for special tokens left out', () => {
    expect(llama.decode([])).toBe('')
    expect(llama.decode([0, 1], { skipSpecialTokens: true })).toBe('')
  })

  it('refuses a token outside the vocabulary, and a text that is no string', () => {
    expect(() => llama.decode([5, 280])).toThrow('Could not decode token 280: tiny-llama has 280 tokens.')
    expect(() => llama.encode(3 as unknown as string)).toThrow('Could not encode number: expected a string')
  })

  it('refuses a text it has no tokens for, when there is no unknown token', async () => {
    const definition = {
      version: '1.0',
      added_tokens: [],
      normalizer: null,
      pre_tokenizer: null,
      post_processor: null,
      decoder: null,
      model: { type: 'WordPiece', unk_token: '[UNK]', continuing_subword_prefix: '##', vocab: { a: 0, '##b': 1 } },
    }
    const two = new Tokenizer('two', new Map([['tokenizer.json', bytes(definition)]]))
    expect(two.encode('ab').inputIds).toEqual([0, 1])
    expect(() => two.encode('c')).toThrow('"[UNK]": it is not in the vocabulary of two, which has no unknown token')
  })
})

describe('settings', () => {
  it('names the special tokens, the vocabulary size and the longest input', () => {
    expect(bert).toMatchObject({ name: 'tiny-bert', padTokenId: 0, unkTokenId: 1, clsTokenId: 2, sepTokenId: 3 })
    expect(bert).toMatchObject({ maskTokenId: 4, modelMaxLength: 32, vocabSize: 105, bosTokenId: undefined })
    expect(llama).toMatchObject({ bosTokenId: 0, eosTokenId: 1, eosToken: '<|end|>', vocabSize: 280 })
  })

  it('takes the end-of-text token for padding where there is none, and reads 1e30 as no limit', () => {
    expect(llama).toMatchObject({ padToken: '<|end|>', padTokenId: 1, modelMaxLength: Number.POSITIVE_INFINITY })
  })

  it('reads special tokens from special_tokens_map.json where the configuration has none', async () => {
    const read = await withConfig({}, { 'special_tokens_map.json': { eos_token: { content: '<|end|>' } } })
    expect(read.eosTokenId).toBe(1)
    expect((await withConfig({})).padTokenId).toBeUndefined()
  })

  it('says what surrounds a single text', () => {
    expect(bert.surroundingTokens()).toEqual({ before: [2], after: [3] })
    expect(llama.surroundingTokens()).toEqual({ before: [0], after: [] })
  })

  it('makes token types unless its configuration leaves them out', async () => {
    expect((await withConfig({})).encode('a').tokenTypeIds).toEqual([0, 0])
    expect((await withConfig({ tokenizer_class: 'TokenizersBackend' })).encode('a').tokenTypeIds).toBeUndefined()
  })
})

describe('applyChatTemplate', () => {
  const chat = [{ role: 'user', content: 'hello' }]

  it('writes the turns and the opening of the answer, with no other special tokens', () => {
    const text = llama.applyChatTemplate(chat, { addGenerationPrompt: true, tokenize: false })
    expect(text).toBe('<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n')
    const ids = llama.applyChatTemplate(chat, { addGenerationPrompt: true })
    expect(ids).toEqual(llama.encode(text, { addSpecialTokens: false }).inputIds)
    expect(ids[0]).toBe(llama.tokenToId('<|im_start|>'))
  })

  it('writes tools and tool calls as Transformers does', () => {
    const tools = [{ type: 'function', function: { name: 'f', description: 'd "q" <é>' } }]
    const call = { type: 'function', function: { name: 'f', arguments: { a: 1 } } }
    const messages = [
      { role: 'user', content: 'x' },
      { role: 'assistant', content: '', tool_calls: [call] },
    ]
    expect(llama.applyChatTemplate(messages, { tools, addGenerationPrompt: true, tokenize: false })).toBe(
      '<|im_start|>system\nTools: [{"type": "function", "function": {"name": "f", "description": "d \\"q\\" <é>"}}]<|im_end|>\n' +
        '<|im_start|>user\nx<|im_end|>\n<|im_start|>assistant\nCALL {"name": "f", "arguments": {"a": 1}}<|im_end|>\n' +
        '<|im_start|>assistant\n',
    )
  })

  it('takes a template as text, with variables and special tokens', () => {
    const chatTemplate = '{{ eos_token }}{{ messages[0].content }}{% if loud %}!{% endif %}'
    const options = { chatTemplate, tokenize: false } as const
    expect(llama.applyChatTemplate(chat, { ...options, variables: { loud: true } })).toBe('<|end|>hello!')
  })

  it('chooses among named templates, the one for tools when tools are given', async () => {
    const named = await withConfig({
      chat_template: [
        { name: 'default', template: 'plain{{ 1 }}' },
        { name: 'tool_use', template: 'tools{{ 1 }}' },
        { name: 'rag', template: 'rag{{ 1 }}' },
      ],
    })
    expect(named.applyChatTemplate(chat, { tokenize: false })).toBe('plain1')
    expect(named.applyChatTemplate(chat, { tools: [{}], tokenize: false })).toBe('tools1')
    expect(named.applyChatTemplate(chat, { chatTemplate: 'rag', tokenize: false })).toBe('rag1')
    expect(() => named.templateSource({ chatTemplate: 'rga' })).toThrow(
      /no chat template "rga".*"default", "tool_use", "rag"/,
    )
  })

  it('prefers chat_template.jinja to the configuration', async () => {
    const both = await withConfig({ chat_template: 'old' }, { 'chat_template.jinja': 'new' })
    expect(both.chatTemplate).toBe('new')
  })

  it('says so when there is no template, and when the template refuses', async () => {
    expect(() => bert.applyChatTemplate(chat)).toThrow(
      /tiny-bert has no chat template .*Use a tokenizer of a chat model/,
    )
    const strict = { chatTemplate: "{{ raise_exception('roles must alternate') }}" }
    expect(() => llama.applyChatTemplate(chat, strict)).toThrow(
      'chat template of tiny-llama refuses this conversation: roles must alternate',
    )
  })
})

describe('reading and saving a folder', () => {
  it('saves the original files byte for byte', async () => {
    const target = join(folder, 'saved')
    await llama.savePretrained(target)
    expect((await readdir(target)).sort()).toEqual((await readdir(tinyLlamaFolder)).sort())
    for (const name of await readdir(target)) {
      expect(await readFile(join(target, name))).toEqual(await readFile(join(tinyLlamaFolder, name)))
    }
    expect((await AutoTokenizer.fromPretrained(target)).encode('hello')).toEqual(llama.encode('hello'))
  })

  it('refuses a missing folder, one without tokenizer.json, and an older kind of tokenizer', async () => {
    await expect(AutoTokenizer.fromPretrained(join(folder, 'none'))).rejects.toThrow('there is no such folder')
    await expect(AutoTokenizer.fromPretrained(folder)).rejects.toThrow(/it has no tokenizer\.json\.$/)
    await writeFile(join(folder, 'vocab.txt'), 'a')
    await expect(AutoTokenizer.fromPretrained(folder)).rejects.toThrow(
      /older kind \(vocab\.txt\); convert it once in Python/,
    )
  })

  it('names the file that is not JSON, and what a definition lacks', async () => {
    await expect(withConfig({}, { 'tokenizer_config.json': '{' })).rejects.toThrow('tokenizer_config.json is not JSON')
    expect(() => new Tokenizer('x', new Map())).toThrow('tokenizer.json is missing')
    expect(() => new Tokenizer('x', new Map([['tokenizer.json', bytes({})]]))).toThrow(
      'Could not build the tokenizer of x',
    )
  })
})

describe.skipIf(!shared('models'))(
  skippable('the shared models', !shared('models') && 'the shared models are not here'),
  () => {
    it('have tokenizers that read back what they write', async () => {
      const model = await AutoTokenizer.fromPretrained(shared('models', 'mini-llama')!)
      const text = 'Janet’s ducks lay 16 eggs per day .\n\n  She said: "日本 🎉" .'
      expect(model.decode(model.encode(text).inputIds)).toBe(text)
      expect(model).toMatchObject({ vocabSize: 4096, padTokenId: 3, eosTokenId: 0, modelMaxLength: 512 })
      expect(
        model.applyChatTemplate([{ role: 'user', content: 'Hi' }], { addGenerationPrompt: true, tokenize: false }),
      ).toBe('<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n')
    })
  },
)
