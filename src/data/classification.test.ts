/** @file Tests of classification features. */
import { beforeAll, describe, expect, it } from 'vitest'
import { skippable } from '../../test/shared.ts'
import { discoverLabels, tokenizeClassification } from './classification.ts'
import { Dataset } from './dataset.ts'
import { loadDataset } from './load.ts'
import { shared, tinyBertFolder } from './testing/fixtures.ts'
import { AutoTokenizer, type Tokenizer } from './tokenizer.ts'

let bert: Tokenizer
beforeAll(async () => {
  bert = await AutoTokenizer.fromPretrained(tinyBertFolder)
})

const reviews = () =>
  new Dataset<Record<string, unknown>>([
    { text: 'a great movie', label: 'positive' },
    { text: 'dull', label: 'negative' },
    { text: 'it was bad, bad, bad', label: 'negative' },
  ])

describe('tokenizeClassification', () => {
  it('gives tokens and class numbers, with the names of the classes', () => {
    const { features, labels, rows, tooLong, maxLength } = tokenizeClassification(reviews(), bert)
    expect(labels).toEqual(['negative', 'positive'])
    expect(features.map(feature => feature.labels)).toEqual([1, 0, 0])
    expect(features[0]).toEqual({ ...bert.encode('a great movie'), labels: 1 })
    expect([rows, tooLong, maxLength]).toEqual([[0, 1, 2], [], 32])
  })

  it('reads other columns, and pairs', () => {
    const pairs = new Dataset([{ premise: 'it was good', hypothesis: 'not bad', class: 3 }])
    const columns = { textColumn: 'premise', pairColumn: 'hypothesis', labelColumn: 'class' }
    const { features, labels } = tokenizeClassification(pairs, bert, columns)
    expect(labels).toEqual(['3'])
    expect(features[0]).toEqual({ ...bert.encode('it was good', { pair: 'not bad' }), labels: 0 })
  })

  it('numbers the classes of an evaluation set as the training set did', () => {
    const held = new Dataset([{ text: 'dull', label: 'negative' }])
    expect(tokenizeClassification(held, bert, { labels: ['positive', 'negative'] }).features[0].labels).toBe(1)
  })

  it('refuses a label that training has not seen, naming row, label and the known ones', () => {
    const held = new Dataset([
      { text: 'dull', label: 'negative' },
      { text: 'hm', label: 'positve' },
    ])
    expect(() => tokenizeClassification(held, bert, { labels: ['negative', 'positive'] })).toThrow(
      /Row 1: the label "positve" is not among the 2 known ones: "negative", "positive"\. Did you mean "positive"/,
    )
  })

  it.each([
    ['a missing label', { text: 'a', other: 1 }, /Row 1: the label in column "label" is missing/],
    ['an empty label', { text: 'a', label: '' }, /Row 1: the label in column "label" is an empty string/],
    ['a null label', { text: 'a', label: null }, /Row 1: the label in column "label" is null/],
    ['a fraction', { text: 'a', label: 0.5 }, /Row 1: the label is 0.5.*regression targets are not supported/],
    ['a missing text', { label: 'negative' }, /Row 1: column "text" is missing; expected a string/],
    ['a number as text', { text: 3, label: 'negative' }, /Row 1: column "text" is a number/],
  ])('refuses %s', (_, row, message) => {
    const data = new Dataset<Record<string, unknown>>([{ text: 'dull', label: 'negative' }, row])
    expect(() => tokenizeClassification(data, bert)).toThrow(message)
  })

  it('refuses a column that is not there, with the nearest name', () => {
    expect(() => tokenizeClassification(reviews(), bert, { textColumn: 'txt' })).toThrow(
      /no column "txt"\. Did you mean "text"\? .*textColumn/,
    )
  })

  it('refuses examples that are too long, with their number, the longest and the ways out', () => {
    expect(() => tokenizeClassification(reviews(), bert, { maxLength: 4 })).toThrow(
      /2 of 3 rows are longer than maxLength = 4 tokens; the longest is row 2 with 9 tokens \(rows 0, 2\).*'skip'.*'truncate'/,
    )
  })

  it('leaves long examples out when asked, and says which', () => {
    const { features, rows, tooLong } = tokenizeClassification(reviews(), bert, { maxLength: 4, overlong: 'skip' })
    expect(features).toHaveLength(1)
    expect(rows).toEqual([1])
    expect(tooLong).toEqual([
      { index: 0, length: 5 },
      { index: 2, length: 9 },
    ])
  })

  it('cuts long examples when asked, keeping the last special token, and says which', () => {
    const cut = tokenizeClassification(reviews(), bert, { maxLength: 4, truncation: true })
    expect(cut.features.map(({ inputIds }) => inputIds.length)).toEqual([4, 3, 4])
    expect(cut.features[2].inputIds.at(-1)).toBe(bert.sepTokenId)
    expect(cut.tooLong).toHaveLength(2)
    expect(tokenizeClassification(reviews(), bert, { maxLength: 4, overlong: 'truncate' })).toEqual(cut)
  })

  it('refuses options that make no sense', () => {
    const attempt = (options: object) => () => tokenizeClassification(reviews(), bert, options)
    expect(attempt({ truncation: true, overlong: 'skip' })).toThrow("contradicts overlong: 'skip'")
    expect(attempt({ overlong: 'cut' })).toThrow('overlong is "cut"')
    expect(attempt({ maxLength: 0 })).toThrow('maxLength is 0')
    expect(attempt({ labels: ['negative', 'negative'] })).toThrow('names a class twice')
  })
})

describe('discoverLabels', () => {
  const labelsOf = (...values: unknown[]) => discoverLabels(new Dataset(values.map(label => ({ label }))))

  it('orders whole numbers by value and names alphabetically, whatever the order of rows', () => {
    expect(labelsOf(10, 2, 1, 2)).toEqual(['1', '2', '10'])
    expect(labelsOf('10', '2', '-1')).toEqual(['-1', '2', '10'])
    expect(labelsOf('b', 'a', 'C')).toEqual(['C', 'a', 'b'])
    expect(labelsOf('2', '10', 'none')).toEqual(['10', '2', 'none'])
    expect(labelsOf(true, false)).toEqual(['false', 'true'])
  })
})

describe.skipIf(!shared('data'))(skippable('SST-2', !shared('data') && 'the shared data are not here'), () => {
  it('becomes features whose classes are the labels of the file', async () => {
    const data = await loadDataset(shared('data', 'sst2/test.tsv')!, { limit: 100 })
    const tokenizer = await AutoTokenizer.fromPretrained(shared('models', 'mini-bert')!)
    const { features, labels } = tokenizeClassification(data, tokenizer, { textColumn: 'sentence' })
    expect(labels).toEqual(['0', '1'])
    expect(features.map(feature => String(feature.labels))).toEqual(data.column('label'))
  })
})
