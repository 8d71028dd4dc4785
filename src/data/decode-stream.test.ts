/** @file Tests of streaming decode. */
import fc from 'fast-check'
import { beforeAll, describe, expect, it } from 'vitest'
import { TokenizerDecodeStream } from './decode-stream.ts'
import { tinyBertFolder, tinyLlamaFolder } from './testing/fixtures.ts'
import { AutoTokenizer, Tokenizer } from './tokenizer.ts'

let bert: Tokenizer
let llama: Tokenizer
beforeAll(async () => {
  bert = await AutoTokenizer.fromPretrained(tinyBertFolder)
  llama = await AutoTokenizer.fromPretrained(tinyLlamaFolder)
})

function pieces(tokenizer: Tokenizer, ids: number[], options?: { skipSpecialTokens?: boolean }): string[] {
  const stream = new TokenizerDecodeStream(tokenizer, options)
  return [...ids.map(id => stream.push(id)), stream.finish()]
}

/** A tokenizer of the SentencePiece kind, which drops the space before the first word of a text. */
function metaspace(): Tokenizer {
  const definition = {
    version: '1.0',
    added_tokens: [{ id: 3, content: '<s>', special: true, normalized: false }],
    normalizer: null,
    pre_tokenizer: { type: 'Metaspace', replacement: '▁', prepend_scheme: 'first', split: false },
    post_processor: null,
    decoder: { type: 'Metaspace', replacement: '▁', prepend_scheme: 'first', split: false },
    model: { type: 'BPE', vocab: { '▁a': 0, '▁b': 1, c: 2 }, merges: [] },
  }
  return new Tokenizer('metaspace', new Map([['tokenizer.json', new TextEncoder().encode(JSON.stringify(definition))]]))
}

describe('TokenizerDecodeStream', () => {
  it('holds a character back until its last byte has come', () => {
    const { inputIds } = llama.encode('hello 🎉!')
    expect(pieces(llama, inputIds)).toEqual(['', 'hello', ' ', '', '', '', '🎉', '!', ''])
  })

  it('joins to the whole text for any tokens, also those that form no valid characters', () => {
    const token = fc.integer({ min: 0, max: llama.vocabSize - 1 })
    fc.assert(
      fc.property(fc.array(token, { maxLength: 40 }), fc.boolean(), (ids, skipSpecialTokens) => {
        expect(pieces(llama, ids, { skipSpecialTokens }).join('')).toBe(llama.decode(ids, { skipSpecialTokens }))
      }),
      { numRuns: 200 },
    )
  })

  it('shows a text as it was, whatever its characters', () => {
    const text = 'héllo wörld 日本語 🎉👩‍👩‍👧 e\u0301 \u00a0 the\n\tuser'
    expect(pieces(llama, llama.encode(text).inputIds).join('')).toBe(text)
  })

  it('puts spaces between words and none before a continuation', () => {
    const { inputIds } = bert.encode('loved it, really!')
    expect(pieces(bert, inputIds).join('')).toBe(bert.decode(inputIds, { skipSpecialTokens: true }))
    expect(pieces(bert, bert.encode('a movies').inputIds)).toEqual(['', 'a', ' movie', 's', '', ''])
  })

  it('drops the leading space at the start of a text only, also after special tokens', () => {
    expect(pieces(metaspace(), [3, 0, 1, 3, 0, 2])).toEqual(['', 'a', ' b', '', ' a', 'c', ''])
  })

  it('shows special tokens when asked', () => {
    expect(pieces(llama, [0, 263], { skipSpecialTokens: false })).toEqual(['<|begin|>', 'hello', ''])
  })

  it('gives what was held back at the end, and can be used again', () => {
    const stream = new TokenizerDecodeStream(llama)
    const half = llama.encode('🎉', { addSpecialTokens: false }).inputIds.slice(0, 2)
    expect(stream.push(half)).toBe('')
    expect(stream.finish()).toContain('\uFFFD')
    expect(stream.push(llama.encode('hello world').inputIds)).toBe('hello world')
    expect(stream.finish()).toBe('')
  })
})
