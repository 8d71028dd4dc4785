/** @file Tests of reading data files: each format, and each way a file can be wrong. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { skippable } from '../../test/shared.ts'
import { type LoadDatasetOptions, loadDataset } from './load.ts'
import { shared } from './testing/fixtures.ts'

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'dataset-'))
})
afterAll(() => rm(folder, { recursive: true, force: true }))

async function load(name: string, content: string | Uint8Array, options?: LoadDatasetOptions) {
  const path = join(folder, name)
  await writeFile(path, content)
  return loadDataset(path, options)
}
const rows = async (...args: Parameters<typeof load>) => [...(await load(...args))]

describe('loadDataset', () => {
  it('reads one JSON object a line, with or without a line end at the end', async () => {
    const expected = [
      { text: 'good', label: 1 },
      { text: 'bad\n', label: 0 },
    ]
    const lines = expected.map(row => JSON.stringify(row)).join('\n')
    expect(await rows('a.jsonl', lines)).toEqual(expected)
    expect(await rows('a.ndjson', `${lines}\n\n`)).toEqual(expected)
  })

  it('reads a byte order mark and CRLF line ends as if they were not there', async () => {
    const expected = [{ text: 'é', label: '1' }]
    expect(await rows('a.csv', '\uFEFFtext,label\r\né,1\r\n')).toEqual(expected)
    expect(await rows('a.tsv', '\uFEFFtext\tlabel\r\né\t1\r\n')).toEqual(expected)
    expect(await rows('a.jsonl', '\uFEFF{"text":"é","label":"1"}\r\n')).toEqual(expected)
    expect(await rows('a.json', '\uFEFF[{"text":"é","label":"1"}]\r\n')).toEqual(expected)
    expect(await rows('a.txt', '\uFEFFone\r\ntwo\r\n')).toEqual([{ text: 'one' }, { text: 'two' }])
  })

  it('reads a JSON array, the array under data, or the only array of an object', async () => {
    expect(await rows('a.json', '[{"a":1}]')).toEqual([{ a: 1 }])
    expect(await rows('a.json', '{"data":[{"a":1}],"other":[1]}')).toEqual([{ a: 1 }])
    expect(await rows('a.json', '{"version":1,"rows":[{"a":1}]}')).toEqual([{ a: 1 }])
  })

  it('reads quoted csv fields with delimiters and line ends in them', async () => {
    expect(await rows('a.csv', 'text,label\n"a, ""b""\nc",1\n')).toEqual([{ text: 'a, "b"\nc', label: '1' }])
    expect(await rows('a.csv', 'a;b\n1;2\n', { delimiter: ';' })).toEqual([{ a: '1', b: '2' }])
  })

  it('takes quotes in a tsv as plain characters unless asked', async () => {
    expect(await rows('a.tsv', 'text\tlabel\n"so so\t1\n" b "\t0\n')).toEqual([
      { text: '"so so', label: '1' },
      { text: '" b "', label: '0' },
    ])
    expect(await rows('a.tsv', 'text\n"so so"\n', { quote: '"' })).toEqual([{ text: 'so so' }])
  })

  it('keeps white space in fields and leaves out blank lines', async () => {
    expect(await rows('a.tsv', 'text\tlabel\n a \t1\n\nb\t0\n')).toEqual([
      { text: ' a ', label: '1' },
      { text: 'b', label: '0' },
    ])
    expect(await rows('a.txt', 'one\n\n  two\n')).toEqual([{ text: 'one' }, { text: '  two' }])
  })

  it('names the columns of a file without header by their position', async () => {
    const cola = 'gj04\t1\t\tFine.\ngj04\t0\t*\tNot fine the.\n'
    const columns = { text: '3', label: '1' }
    expect(await rows('a.tsv', cola, { hasHeader: false, columns })).toEqual([
      { text: 'Fine.', label: '1' },
      { text: 'Not fine the.', label: '0' },
    ])
    expect((await load('a.tsv', cola, { hasHeader: false })).columns).toEqual(['0', '1', '2', '3'])
  })

  it('renames and selects columns, leaving a key out where a row lacks it', async () => {
    const text = '{"q":"1+1","a":"2","x":0}\n{"q":"2"}'
    expect(await rows('a.jsonl', text, { columns: { prompt: 'q', completion: 'a' } })).toEqual([
      { prompt: '1+1', completion: '2' },
      { prompt: '2' },
    ])
  })

  it('keeps the first rows under a limit, and takes a format for any file name', async () => {
    expect(await rows('a.data', 'x\ny\nz', { format: 'txt', limit: 2 })).toEqual([{ text: 'x' }, { text: 'y' }])
  })
})

describe('loadDataset refuses', () => {
  const refused = async (name: string, content: string | Uint8Array, message: RegExp, options?: LoadDatasetOptions) =>
    expect(load(name, content, options)).rejects.toThrow(message)

  it('a broken line of JSON, naming file and line', () =>
    refused('a.jsonl', '{"a":1}\n\n{"a":\n', /a\.jsonl: line 3 is not JSON .*format 'json'/))
  it('a line that is JSON but no object', () =>
    refused('a.jsonl', '{"a":1}\n[1]', /line 2 is an array; expected an object/))
  it('a broken JSON file, naming the line', async () => {
    await refused('a.json', '[\n{"a":1},\n{"a":oops}\n]', /a\.json: line 3: the file is not JSON/)
    await refused('a.json', '[\n{"a":1},\n{"a"', /a\.json: line 3: the file is not JSON/)
    await refused('a.json', '{"a":1}\n{"a":2}\n', /line 2.*format 'jsonl'/)
  })
  it('JSON without one array of objects', async () => {
    await refused('a.json', '{"x":[1],"y":[2]}', /2 arrays \(keys: "x", "y"\); expected an array of objects/)
    await refused('a.json', '3', /holds a number/)
    await refused('a.json', '[{"a":1},null]', /element 1 is null/)
  })
  it('a row with the wrong number of fields, naming the line and the columns', async () => {
    await refused(
      'a.csv',
      'text,label\ngood,1\nbad, really,0\n',
      /line 3 has 3 fields, expected 2 \("text", "label"\): "bad, really,0"/,
    )
    await refused('a.tsv', 'text\tlabel\ngood\n', /line 2 has 1 field, expected 2/)
    await refused('a.csv', 'a,b\n1\n', /expected 2 \(as in the first line\)/, { hasHeader: false })
  })
  it('a quote that is never closed', () =>
    refused('a.csv', 'text,label\n"good,1\nbad,0\n', /a\.csv: .*quote.*quote: false/i))
  it('a header that names a column twice', () => refused('a.csv', 'a,a\n1,2\n', /line 1 names the column "a" twice/))
  it('a column that is not there, with the nearest name and the list', () =>
    refused(
      'a.csv',
      'sentence,label\nx,1\n',
      /column "sentense" \(wanted as "text"\).*Did you mean "sentence"\? Its columns are "sentence", "label"/,
      {
        columns: { text: 'sentense' },
      },
    ))
  it('a file that is empty or holds no rows', async () => {
    await refused('a.jsonl', '', /a\.jsonl: the file is empty/)
    await refused('a.csv', 'text,label\n', /holds no rows/)
    await refused('a.txt', '\n \n', /holds no rows/)
    await refused('a.json', '[]', /holds no rows/)
  })
  it('a binary file, UTF-16 and broken UTF-8, naming the line', async () => {
    await refused('a.txt', Uint8Array.of(97, 10, 98, 0), /line 2 has a NUL byte \(byte 3\)/)
    await refused('a.csv', Uint8Array.of(0xff, 0xfe, 97, 0), /UTF-16. Save it as UTF-8/)
    await refused('a.txt', Uint8Array.of(97, 10, 0xe9, 10, 98), /line 2 is not UTF-8/)
  })
  it('a missing file, naming near ones, and a folder', async () => {
    await load('reviews.csv', 'a\n1')
    await expect(loadDataset(join(folder, 'review.csv'))).rejects.toThrow(
      /there is no such file. Near it in that folder: "reviews.csv"/,
    )
    await expect(loadDataset(folder, { format: 'csv' })).rejects.toThrow('it is a folder')
  })
  it('an extension or a format it does not know, with those it does', async () => {
    await refused('a.parquet', 'x', /the extension "\.parquet" is not known.*Known are \.jsonl.*convert other formats/)
    await refused('a', 'x', /it has no extension/)
    await refused('a.txt', 'x', /format "jsonx" is not known. Did you mean "json/, { format: 'jsonx' as 'json' })
  })
  it('a limit that is no positive whole number', () => refused('a.txt', 'x', /limit is 0/, { limit: 0 }))
})

describe.skipIf(!shared('data'))(
  skippable('loadDataset on the shared data', !shared('data') && 'the shared data are not here'),
  () => {
    it.each([
      ['sst2/test.tsv', {}, 872, ['sentence', 'label']],
      ['sst2/dev.tsv', {}, 6735, ['sentence', 'label']],
      ['cola/in_domain_dev.tsv', { hasHeader: false, columns: { text: '3', label: '1' } }, 527, ['text', 'label']],
      ['gsm8k/test.jsonl', {}, 1319, ['question', 'answer']],
      ['instruct/alpaca_en_demo.json', {}, 999, ['instruction', 'input', 'output']],
      ['toolcall/glaive_toolcall_en_demo.json', {}, 300, ['conversations', 'tools']],
      ['wikisql/test.jsonl', {}, 100, ['text']],
      ['e2e/test.txt', {}, 4693, ['text']],
    ] as const)('reads every row of %s', async (file, options, count, columns) => {
      const data = await loadDataset(shared('data', file)!, options)
      expect(data.length).toBe(count)
      expect(data.columns).toEqual(columns)
    })
  },
)
