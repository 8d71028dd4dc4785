/** @file Tests of the tokenizer over the whole data set: round trip, boundary, lengths. */
import { Tokenizer } from '@huggingface/tokenizers'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { BYTE_CHARACTERS, learnMerges } from './bpe.ts'
import { CONTEXT } from './config.ts'
import { generateOrders } from './skill.ts'
import { buildTokenizer, EOS_TOKEN, PAD_TOKEN, tokenizerConfig } from './tokenizer.ts'
import { worldFiles } from './write.ts'

const files = worldFiles({ trainSize: 12_000 })
const file = (name: string) => JSON.parse(files.get(name)!)
const rows = (name: string): { prompt: string; completion: string }[] =>
  files
    .get(name)!
    .trimEnd()
    .split('\n')
    .map(line => JSON.parse(line))
const everything = ['train', 'heldout', 'skill-train', 'skill-test'].flatMap(name => rows(`${name}.jsonl`))
const tokenizer = new Tokenizer(file('tokenizer.json'), file('tokenizer_config.json'))
const encode = (text: string) => tokenizer.encode(text).ids

describe('byte-pair encoding', () => {
  it('merges the most frequent pair first, and of equals the one that sorts first', () => {
    expect(learnMerges(['abab abab', 'cdcd'], 2)).toEqual([
      ['a', 'b'],
      ['ab', 'ab'],
    ])
    expect(learnMerges(['xy', 'xy', 'ab', 'ab'], 1)).toEqual([['a', 'b']])
  })

  it('stops when no pair is left that occurs twice', () => {
    expect(learnMerges(['ab', 'ab', 'cd'], 100)).toEqual([['a', 'b']])
  })

  it('never merges across a space or from letters into digits', () => {
    const joined = learnMerges(['a b1 a b1 a b1'], 100).map(([left, right]) => left + right)
    expect(joined.sort()).toEqual(['Ġa', 'Ġb'])
  })

  it('has one character for each byte', () => {
    expect(new Set(BYTE_CHARACTERS).size).toBe(256)
    expect(BYTE_CHARACTERS[32]).toBe('Ġ')
    expect(BYTE_CHARACTERS[65]).toBe('A')
  })
})

describe('the tokenizer', () => {
  it('decodes every example back to itself', () => {
    for (const { prompt, completion } of everything) {
      const text = prompt + completion
      expect(tokenizer.decode(encode(text), { skip_special_tokens: false })).toBe(text)
    }
  })

  it('decodes any text back to itself, seen or not', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme', minLength: 1 }), text => {
        fc.pre(!text.includes(PAD_TOKEN) && !text.includes(EOS_TOKEN))
        expect(tokenizer.decode(encode(text), { clean_up_tokenization_spaces: false })).toBe(text)
      }),
    )
  })

  it('encodes prompt and completion alike, alone or together', () => {
    for (const { prompt, completion } of everything) {
      expect([...encode(prompt), ...encode(completion)]).toEqual(encode(prompt + completion))
    }
  })

  it('fits every example and its end into the context', () => {
    const longest = Math.max(...everything.map(({ prompt, completion }) => encode(prompt + completion).length + 1))
    expect(longest).toBeLessThanOrEqual(CONTEXT)
    expect(longest).toBeGreaterThan(30)
  })

  it('writes an order in tokens that pretraining has seen', () => {
    const seen = new Set(rows('train.jsonl').flatMap(({ prompt, completion }) => encode(prompt + completion)))
    const orders = generateOrders({ seed: 0 }).test
    const unseen = orders.flatMap(({ prompt, completion }) => encode(prompt + completion)).filter(id => !seen.has(id))
    expect(unseen).toEqual([])
  })

  it('numbers its special tokens as the model configuration does', () => {
    const config = file('config.json')
    expect(encode(`${PAD_TOKEN}${EOS_TOKEN}`)).toEqual([config.pad_token_id, config.eos_token_id])
    expect(Object.keys(file('tokenizer.json').model.vocab)).toHaveLength(config.vocab_size)
    expect(tokenizerConfig(CONTEXT).model_max_length).toBe(config.max_position_embeddings)
  })

  it('refuses a vocabulary smaller than its bytes', () => {
    expect(() => buildTokenizer(['a'], 200)).toThrow(/200 was asked for; it needs at least 258/)
  })
})
