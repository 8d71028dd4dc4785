/** @file Tests of rows for sequence-to-sequence models, token classifiers and question answering. */
import { beforeAll, describe, expect, it } from 'vitest'
import {
  AutoTokenizer,
  Dataset,
  discoverTags,
  type Tokenizer,
  tokenizeQuestionAnswering,
  tokenizeSeq2Seq,
  tokenizeTokenClassification,
} from './index.ts'
import { tinyBertFolder, tinyLlamaFolder } from './testing/fixtures.ts'

let bert: Tokenizer
let llama: Tokenizer
beforeAll(async () => {
  bert = await AutoTokenizer.fromPretrained(tinyBertFolder)
  llama = await AutoTokenizer.fromPretrained(tinyLlamaFolder)
})

describe('sequence-to-sequence rows', () => {
  it('become the source and, as labels, the target with what the tokenizer puts around it', () => {
    const rows = new Dataset([{ prompt: 'the film was good', completion: 'a good film' }])
    const { features, columns } = tokenizeSeq2Seq(rows, bert)
    expect(columns).toEqual({ source: 'prompt', target: 'completion' })
    expect(features).toEqual([{ ...bert.encode('the film was good'), labels: bert.encode('a good film').inputIds }])
  })

  it('are refused, left out or cut where either text is too long', () => {
    const rows = new Dataset([
      { source: 'a', target: 'a b c d e' },
      { source: 'a', target: 'b' },
    ])
    expect(() => tokenizeSeq2Seq(rows, bert, { maxTargetLength: 5 })).toThrow(/row 0 with 7 tokens/)
    expect(tokenizeSeq2Seq(rows, bert, { maxTargetLength: 5, overlong: 'skip' }).rows).toEqual([1])
    const cut = tokenizeSeq2Seq(rows, bert, { maxTargetLength: 5, overlong: 'truncate' }).features[0].labels as number[]
    expect(bert.decode(cut)).toBe('[CLS] a b c [SEP]')
  })

  it('need a target, and columns that tell', () => {
    expect(() => tokenizeSeq2Seq(new Dataset([{ source: 'a', target: '' }]), bert)).toThrow(/Row 0.*target is empty/)
    expect(() => tokenizeSeq2Seq(new Dataset([{ de: 'a', en: 'b' }]), bert)).toThrow(
      /which column holds the source.*columns: \{ source/,
    )
    const named = { columns: { source: 'de', target: 'en' } }
    expect(tokenizeSeq2Seq(new Dataset([{ de: 'a', en: 'b' }]), bert, named).columns).toEqual(named.columns)
    const both = new Dataset([{ source: 'a', prompt: 'c', target: 'b' }])
    expect(() => tokenizeSeq2Seq(both, bert)).toThrow(/choosing would be a guess/)
    expect(() => tokenizeSeq2Seq(both, bert, { columns: { sorce: 'prompt' } })).toThrow(/"sorce".*"source"/)
  })
})

describe('rows of words and tags', () => {
  const rows = new Dataset([
    { tokens: ['the', 'filming', 'was', 'good'], tags: ['O', 'B-X', 'O', 'I-X'] },
    { tokens: ['bad'], tags: ['B-A'] },
  ])

  it('label the first token of each word, and nothing else', () => {
    const { features, labels, words } = tokenizeTokenClassification(rows, bert)
    expect(labels).toEqual(['O', 'B-A', 'B-X', 'I-X'])
    expect(features[0].inputIds).toEqual(bert.encode('the filming was good').inputIds)
    expect(features[0].labels).toEqual([-100, 0, 2, -100, 0, 3, -100])
    expect(features[0].tokenTypeIds).toEqual([0, 0, 0, 0, 0, 0, 0])
    expect(words[1]).toEqual(['bad'])
  })

  it('encode words as they stand in a text, also where blanks are parts of tokens', () => {
    const text = new Dataset([{ words: ['hello', 'world', 'is'], labels: [0, 1, 0] }])
    const { features, labels } = tokenizeTokenClassification(text, llama)
    expect(features[0].inputIds).toEqual([
      ...llama.surroundingTokens().before,
      ...llama.encode('hello world is', { addSpecialTokens: false }).inputIds,
    ])
    expect(labels).toEqual(['0', '1'])
  })

  it('are cut at whole words', () => {
    expect(() => tokenizeTokenClassification(rows, bert, { maxLength: 5 })).toThrow(/row 0 with 7 tokens/)
    const cut = tokenizeTokenClassification(rows, bert, { maxLength: 4, overlong: 'truncate' })
    expect(cut.words[0]).toEqual(['the'])
    expect(cut.features[0].labels).toEqual([-100, 0, -100])
  })

  it('must match, and must have known tags', () => {
    const of = (row: object) => new Dataset([row as Record<string, unknown>])
    expect(() => tokenizeTokenClassification(of({ tokens: ['a'], tags: [] }), bert)).toThrow(/1 tokens and 0 tags/)
    expect(() => tokenizeTokenClassification(of({ tokens: 'a b', tags: ['O'] }), bert)).toThrow(/expected a list/)
    expect(() => tokenizeTokenClassification(rows, bert, { labels: ['O', 'B-A', 'B-Y', 'I-X'] })).toThrow(
      /Row 0: the tag "B-X" is not among/,
    )
    expect(discoverTags(of({ tags: [10, 9, 1] }), 'tags')).toEqual(['1', '9', '10'])
  })
})

describe('rows of questions', () => {
  const context = 'i love the great film , not the dull movie'
  const answered = (answer: unknown, more: object = {}) =>
    new Dataset([{ question: 'what is good ?', context, answer, ...more }])
  const spanOf = (rows: Dataset, tokenizer = bert) => {
    const { features } = tokenizeQuestionAnswering(rows, tokenizer)
    const [first, last] = features[0].labels as number[]
    return tokenizer.decode(features[0].inputIds.slice(first, last + 1))
  }

  it('label the first and the last token of the answer', () => {
    expect(spanOf(answered('great film', { answer_start: 11 }))).toBe('great film')
    expect(spanOf(answered({ text: ['the', 'x'], answer_start: [28, 0] }))).toBe('the')
    const [feature] = tokenizeQuestionAnswering(answered('dull'), bert).features
    expect(feature.inputIds).toEqual(bert.encode('what is good ?', { pair: context }).inputIds)
    const [from, behind] = feature.contextTokens!
    expect(bert.decode(feature.inputIds.slice(from, behind))).toBe(
      bert.decode(bert.encode(context, { addSpecialTokens: false }).inputIds),
    )
  })

  it('place answers in any tokenizer, behind an emoji by code points as Python counts', () => {
    const row = {
      question: 'is',
      context: '😀 hello world is the user',
      answers: { text: ['world'], answer_start: [8] },
    }
    expect(spanOf(new Dataset([row]), llama)).toBe(' world')
    const units = { ...row, answers: { text: ['world'], answer_start: [9] } }
    expect(spanOf(new Dataset([units]), llama)).toBe(' world')
  })

  it('take whole tokens where an answer ends within one, and say so', () => {
    const { features, notes } = tokenizeQuestionAnswering(answered('ov', { answer_start: 3 }), bert)
    const [first, last] = features[0].labels as number[]
    expect(bert.decode(features[0].inputIds.slice(first, last + 1))).toBe('love')
    expect(notes[0]).toMatch(/1 row \(first: 0\) have answers that begin or end within a token/)
  })

  it('put no answer at the first token', () => {
    const none = [answered(''), answered({ text: [], answer_start: [] }), answered(null)]
    for (const rows of none) expect(tokenizeQuestionAnswering(rows, bert).features[0].labels).toEqual([0, 0])
    expect(
      tokenizeQuestionAnswering(
        answered('').map(({ answer: _, ...row }) => row),
        bert,
        { hasAnswers: false },
      ).features,
    ).toHaveLength(1)
  })

  it('are refused where the place of the answer is unknown', () => {
    const tokenize = (rows: Dataset) => () => tokenizeQuestionAnswering(rows, bert)
    expect(tokenize(answered('the'))).toThrow(/occurs more than once.*give answer_start/)
    expect(tokenize(answered('good'))).toThrow(/does not occur in the context/)
    expect(tokenize(answered('great', { answer_start: 4 }))).toThrow(/begin at character 4 of the context, but at 11/)
    expect(tokenize(new Dataset([{ question: 'a', context: '', answer: '' }]))).toThrow(/context is empty/)
  })

  it('are cut at the end of the context; what loses its answer is left out and told', () => {
    const rows = new Dataset([...answered('great', {}), ...answered('dull')])
    expect(() => tokenizeQuestionAnswering(rows, bert, { maxLength: 14 })).toThrow(/overlong: 'truncate'/)
    const cut = tokenizeQuestionAnswering(rows, bert, { maxLength: 14, overlong: 'truncate' })
    expect(cut.rows).toEqual([0])
    expect(cut.features[0].inputIds).toHaveLength(14)
    expect(cut.features[0].inputIds.at(-1)).toBe(bert.sepTokenId)
    expect(cut.features[0].tokenTypeIds).toHaveLength(14)
    expect(cut.notes[0]).toMatch(/1 row \(first: 1\) lost the answer/)
  })
})
