/** @file `peft embed`, from a file of texts to a file of vectors. */
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { temporaryFolder } from '../../../test/temporary.ts'
import { SentenceTransformer } from '../../embeddings/index.ts'
import { npyBytes } from '../npy.ts'
import { peft, saveTinyBert } from '../testing/peft.ts'

const TEXTS = ['a great film', 'the movie was dull', 'good']

async function setting() {
  const folder = await temporaryFolder({
    'texts.jsonl': TEXTS.map((text, id) => `${JSON.stringify({ id, text })}\n`).join(''),
    'two.csv': 'a,b\nx,y\n',
  })
  const path = (name: string) => join(folder, name)
  const model = await saveTinyBert(folder)
  return { path, call: (...more: string[]) => peft(['embed', '--model', model, '--threads', '1', ...more]), model }
}

describe('peft embed', () => {
  it('writes JSON lines or a file of NumPy, and the same numbers in both', async () => {
    const { path, call, model } = await setting()
    const embedding = await SentenceTransformer.fromPretrained(model, { onWarning: () => {} })
    const expected = (await embedding.encode(TEXTS, { normalizeEmbeddings: true })).map(row => [...row])
    const options = ['--data', path('texts.jsonl'), '--normalize']
    const lines = await call(...options, '--output', path('out.jsonl'), '--json')
    expect(lines.code).toBe(0)
    expect(lines.result()).toMatchObject({ command: 'embed', texts: 3, width: 32, output: path('out.jsonl') })
    const rows = (await readFile(path('out.jsonl'), 'utf8')).trim().split('\n')
    const read = rows.map(row => JSON.parse(row))
    expect(read.map(({ index }) => index)).toEqual([0, 1, 2])
    read.forEach(({ embedding: row }, i) => {
      row.forEach((value: number, j: number) => void expect(value).toBeCloseTo(expected[i][j], 5))
    })

    expect((await call(...options, '--output', path('out.npy'))).stdout).toBe(
      `3 embeddings of width 32 in ${path('out.npy')}\n`,
    )
    const bytes = await readFile(path('out.npy'))
    expect(bytes.length).toBe(128 + 3 * 32 * 4)
    expect(bytes.readFloatLE(128 + 4 * 33)).toBeCloseTo(expected[1][1], 5)

    const shown = await call('--text', TEXTS[0], '--truncate-dim', '2')
    expect(JSON.parse(shown.stdout).embedding).toHaveLength(2)
  })

  it('says what is wrong with its options, and writes nothing then', async () => {
    const { path, call } = await setting()
    await writeFile(path('there.npy'), 'mine')
    const data = ['--data', path('texts.jsonl')]
    const wrong: [string[], string][] = [
      [[], 'give --data or --text'],
      [[...data, '--output', path('x.txt')], 'ends in .jsonl or .npy'],
      [[...data, '--output', path('there.npy')], 'exists; give another name, or --overwrite'],
      [[...data, '--column', 'txt'], 'there is no column "txt"'],
      [['--data', path('two.csv')], 'which column holds the texts is not clear'],
      [['--text', 'a', '--prompt', 'p', '--prompt-name', 'q'], 'give --prompt or --prompt-name, not both'],
    ]
    for (const [options, message] of wrong) {
      const { code, stderr } = await call(...options)
      expect([code, stderr]).toEqual([2, expect.stringContaining(message)])
    }
    const unknown = await call('--text', 'a', '--prompt-name', 'query')
    expect([unknown.code, unknown.stderr]).toEqual([1, expect.stringContaining('there is no prompt "query"')])
    expect(await readFile(path('there.npy'), 'utf8')).toBe('mine')
  })
})

describe('npyBytes', () => {
  it('is what numpy.save writes', () => {
    // numpy.save(f, numpy.array([[1, -2], [0.5, 3]], dtype='<f4'))
    const header = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2), }"
    const bytes = Buffer.from(npyBytes([Float32Array.of(1, -2), Float32Array.of(0.5, 3)], 2))
    expect(bytes.subarray(0, 10)).toEqual(Buffer.from('934e554d505901007600', 'hex'))
    expect(bytes.subarray(10, 128).toString()).toBe(`${header.padEnd(117)}\n`)
    expect([0, 1, 2, 3].map(i => bytes.readFloatLE(128 + 4 * i))).toEqual([1, -2, 0.5, 3])
    expect(bytes).toHaveLength(144)
  })
})
