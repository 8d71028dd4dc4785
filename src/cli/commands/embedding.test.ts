/** @file `--task embedding`: from pairs or scored pairs to an embedding that other commands use. */
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { temporaryFolder } from '../../../test/temporary.ts'
import { Dense, SentenceTransformer } from '../../embeddings/index.ts'
import { peft, saveTinyBert } from '../testing/peft.ts'

const lines = (rows: readonly object[]) => rows.map(row => `${JSON.stringify(row)}\n`).join('')

const PAIRS = ['great', 'dull', 'good', 'bad'].map((word, i) => ({
  question: `the film was ${word}`,
  answer: ['a', 'i love this', 'ok', 'not at all'][i],
}))
const SCORES = [
  ['a great film', 'a good film', 5],
  ['a great film', 'bad', 0],
  ['dull', 'the film was bad', 4],
  ['good', 'ok', 3],
].map(([sentence1, sentence2, score]) => ({ sentence1, sentence2, score }))

async function setting(rows: readonly object[]) {
  const folder = await temporaryFolder({ 'train.jsonl': lines(rows) })
  const path = (name: string) => join(folder, name)
  const model = await saveTinyBert(folder)
  const fast = ['--threads', '1', '--batch-size', '4', '--set', 'target_modules=all-linear', '--set', 'r=8']
  const files = ['--data', path('train.jsonl'), '--output', path('out')]
  const train = (...more: string[]) =>
    peft(['train', '--model', model, '--task', 'embedding', ...files, ...fast, '--json', ...more])
  return { path, model, train, adapter: ['--model', model, '--adapter', path('out')] }
}

describe('--task embedding', () => {
  it('trains pairs, and what it saves is measured, embeds and merges', async () => {
    const { path, train, adapter } = await setting(PAIRS)
    const call = await train(
      ...['--eval-data', path('train.jsonl'), '--eval-strategy', 'no'],
      ...['--epochs', '20', '--learning-rate', '0.02', '--max-length', '16'],
    )
    expect([call.code, call.stderr]).toEqual([0, ''])
    const notes = call.events().map(({ message }) => String(message))
    const told = 'anchor = "question", positive = "answer"; loss multiple_negatives_ranking; 4 training rows'
    expect(notes.some(note => note.includes(told))).toBe(true)
    const { metrics, next, task } = call.result()
    expect(task).toBe('embedding')
    expect(metrics).toMatchObject({ eval_accuracy_at_1: 1, eval_mrr: 1 })
    expect((next as string[])[1]).toMatch(/^peft embed .*--adapter/)
    const record = JSON.parse(await readFile(path('out/peft_ts.json'), 'utf8'))
    expect(record).toMatchObject({ task: 'FEATURE_EXTRACTION', loss: 'multiple_negatives_ranking', max_length: 16 })

    const evaluated = await peft(['evaluate', ...adapter, '--data', path('train.jsonl'), '--json', '--threads', '1'])
    expect(evaluated.result()).toMatchObject({ task: 'embedding', examples: 4, metrics: { eval_accuracy_at_1: 1 } })
    const merged = await peft(['merge', ...adapter, '--output', path('merged'), '--json'])
    expect([merged.code, merged.stderr]).toEqual([0, ''])

    const [text] = PAIRS.map(({ question }) => question)
    const opened = await SentenceTransformer.fromPretrained(path('out'))
    expect(opened.maxSeqLength).toBe(16)
    const expected = [...(await opened.encode(text))]
    for (const model of [adapter, ['--model', path('out')], ['--model', path('merged')]]) {
      const { code, stdout } = await peft(['embed', ...model, '--text', text, '--threads', '1'])
      expect(code).toBe(0)
      JSON.parse(stdout).embedding.forEach((x: number, i: number) => void expect(x).toBeCloseTo(expected[i], 4))
    }
    const predicted = await peft(['predict', ...adapter, '--text', text])
    expect([predicted.code, predicted.stderr]).toEqual([2, expect.stringContaining('peft embed writes them')])
  }, 30_000)

  it('trains scored pairs by their order or their values, a dense layer too', async () => {
    const { path, model, train } = await setting(SCORES)
    const { transformer, tokenizer, pooling } = await SentenceTransformer.fromPretrained(model, { onWarning() {} })
    const dense = new Dense({ inFeatures: 32, outFeatures: 8 })
    dense.initialize(1)
    await new SentenceTransformer({ transformer, tokenizer, pooling, modules: [dense] }).savePretrained(path('dense'))
    // The task is told by modules.json.
    const options = ['--data', path('train.jsonl'), '--eval-data', path('train.jsonl'), '--eval-strategy', 'no']
    const own = [
      ...options,
      '--batch-size',
      '4',
      '--epochs',
      '30',
      '--learning-rate',
      '0.02',
      '--threads',
      '1',
      '--json',
    ]
    const call = await peft(['train', '--model', path('dense'), '--output', path('out'), ...own])
    expect([call.code, call.stderr]).toEqual([0, ''])
    expect(call.result().metrics).toMatchObject({ eval_spearman_cosine: expect.closeTo(1, 6) })
    const lora = 2 * 2 * (8 * 32 + 32 * 8)
    expect(call.result().trainable_parameters).toBe(lora + 32 * 8 + 8)

    const text = 'a great film'
    const [before, after] = [path('dense'), path('out')].map(name => SentenceTransformer.fromPretrained(name))
    const expected = [...(await (await after).encode(text))]
    expect(expected).not.toEqual([...(await (await before).encode(text))])
    const embedded = await peft(['embed', '--model', path('dense'), '--adapter', path('out'), '--text', text])
    JSON.parse(embedded.stdout).embedding.forEach((x: number, i: number) => void expect(x).toBeCloseTo(expected[i], 5))

    const outside = await train('--loss', 'cosine_similarity', '--output', path('other'))
    expect(outside.code).toBe(1)
    expect(outside.stdout).toContain('divide scores from 0 to 5 by 5, or take the loss cosent')
  }, 30_000)

  it('runs from a file, which repeats it', async () => {
    const { path, model } = await setting(PAIRS)
    const run = ['output: out', `model: ${model}`, 'task: embedding', 'loss: multiple_negatives_ranking', 'data:']
    const data = [
      '  train: train.jsonl',
      '  columns: { anchor: answer, positive: question }',
      'training:',
      '  maxSteps: 3',
    ]
    await writeFile(path('run.yaml'), `${[...run, ...data].join('\n')}\n`)
    const call = await peft(['train', path('run.yaml'), '--threads', '1', '--json'])
    expect([call.code, call.stderr]).toEqual([0, ''])
    const again = await peft(['train', path('out/run.yaml'), '--output', path('again'), '--threads', '1', '--json'])
    expect([again.code, again.stderr]).toEqual([0, ''])
    const [a, b] = await Promise.all(['out', 'again'].map(name => readFile(path(`${name}/adapter_model.safetensors`))))
    expect(a.equals(b)).toBe(true)
  }, 30_000)

  it('goes on after a pause with the same bits', async () => {
    const { path, model } = await setting(PAIRS)
    const call = (name: string, more: readonly string[], options = {}) => {
      const words = ['--task', 'embedding', '--data', path('train.jsonl'), '--output', path(name), ...more]
      const steps = ['--max-steps', '6', '--batch-size', '2', '--logging-steps', '1', '--threads', '1']
      return peft(['train', '--model', model, ...words, ...steps], options)
    }
    expect((await call('whole', [])).code).toBe(0)
    const pause = new AbortController()
    const onStderr = (text: string) => {
      if (text.startsWith('step 2/6')) pause.abort()
    }
    const paused = await call('paused', [], { signal: pause.signal, onStderr })
    expect([paused.code, paused.stderr]).toEqual([1, expect.stringContaining('with --resume')])
    const resumed = await call('paused', ['--resume'])
    expect(resumed.code).toBe(0)
    const files = ['whole', 'paused'].map(name => readFile(path(`${name}/adapter_model.safetensors`)))
    const [a, b] = await Promise.all(files)
    expect(a.equals(b)).toBe(true)
  }, 30_000)

  it('lets methods look at the data before, whole batches where rows are compared', async () => {
    const { path, model } = await setting(PAIRS)
    const words = ['--task', 'embedding', '--data', path('train.jsonl'), '--output', path('out'), '--max-steps', '1']
    const call = await peft(['train', '--model', model, ...words, '--method', 'fish_mask', '--threads', '1', '--json'])
    expect([call.code, call.stderr]).toEqual([0, ''])
  }, 30_000)

  it('says what is wrong with its data and options', async () => {
    const { path, model, train } = await setting(PAIRS)
    const wrong: [string[], number, string][] = [
      [['--columns', 'anchor=question,positive=anser'], 1, 'no column \\"anser\\". Did you mean \\"answer\\"?'],
      [['--columns', 'ancor=question'], 1, 'Did you mean \\"anchor\\"'],
      [['--loss', 'cosent'], 1, 'which column holds the sentence1'],
      [['--loss', 'cosnt'], 2, 'Did you mean \\"cosent\\"?'],
      [['--batch-size', '1'], 2, 'take --batch-size 2 or more'],
      [['--limit', '1'], 2, 'give more rows'],
      [['--max-length', '4'], 1, '4 of 4 rows are longer'],
      [['--max-length', '99'], 2, 'the model takes at most 32 tokens'],
      [['--labels', 'a,b'], 2, '--labels belongs to'],
      [['--task', 'seq_cls', '--loss', 'cosent'], 2, '--loss belongs to --task embedding'],
    ]
    for (const [options, code, message] of wrong) {
      const call = await train(...options)
      expect([options, call.code, call.stdout]).toEqual([options, code, expect.stringContaining(message)])
    }
    await writeFile(
      path('empty.jsonl'),
      lines([
        { question: 'a', answer: '' },
        { question: 'b', answer: 'c' },
      ]),
    )
    const empty = await train('--data', path('empty.jsonl'))
    expect([empty.code, empty.stdout]).toEqual([
      1,
      expect.stringContaining('Row 0: \\"answer\\" is \\"\\", expected a text'),
    ])
    const files = ['--model', model, '--data', path('train.jsonl'), '--output', path('out')]
    const head = await peft(['train', '--task', 'embedding', ...files, '--method', 'head'])
    expect([head.code, head.stderr]).toEqual([2, expect.stringContaining('an embedding has none')])
    expect((await peft(['info', model, '--task', 'embedding'])).code).toBe(0)
  }, 30_000)
})
