/** @file The commands for texts from texts, words with tags, and questions with answers: from training to a merged model. */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { temporaryFolder } from '../../../test/temporary.ts'
import { peft, saveTinyBert, saveTinyLlama, saveTinyT5 } from '../testing/peft.ts'

const FAST = ['--threads', '1', '--batch-size', '4', '--set', 'target_modules=all-linear', '--set', 'r=8']
const lines = (rows: readonly object[]) => rows.map(row => `${JSON.stringify(row)}\n`).join('')

/** Trains an adapter on rows, and gives how the other commands name it. */
async function trained(task: string, rows: readonly object[], save = saveTinyBert, more: readonly string[] = []) {
  const folder = await temporaryFolder({ 'train.jsonl': lines(rows) })
  const path = (name: string) => join(folder, name)
  const model = await save(folder)
  const call = await peft([
    ...['train', '--model', model, '--data', path('train.jsonl'), '--eval-data', path('train.jsonl')],
    ...['--task', task, '--output', path('out'), '--eval-strategy', 'no', '--json', ...FAST, ...more],
  ])
  expect(call.stderr).toBe('')
  expect(call.code).toBe(0)
  const metrics = call.result().metrics as Record<string, number>
  return { path, call, metrics, adapter: ['--model', model, '--adapter', path('out')] }
}

/** Merges, and gives the metrics of the adapter and of the merged model on the training file. */
async function mergedMetrics({ path, adapter }: Awaited<ReturnType<typeof trained>>) {
  const evaluated = await peft(['evaluate', ...adapter, '--data', path('train.jsonl'), '--json'])
  expect(evaluated.code).toBe(0)
  const merged = await peft(['merge', ...adapter, '--output', path('merged'), '--json'])
  expect(merged.code).toBe(0)
  const whole = await peft(['evaluate', '--model', path('merged'), '--data', path('train.jsonl'), '--json'])
  expect(whole.code).toBe(0)
  return [evaluated, whole].map(call => call.result().metrics as Record<string, number>)
}

describe('seq_2_seq_lm', () => {
  it('trains, evaluates, generates and merges', async () => {
    const rows = [
      { prompt: 'the film was good', completion: 'great' },
      { prompt: 'the movie was bad', completion: 'dull film' },
    ]
    const setting = await trained('seq_2_seq_lm', rows, saveTinyT5, ['--epochs', '80', '--learning-rate', '0.01'])
    const { metrics, call, adapter, path } = setting
    expect(metrics.eval_loss).toBeLessThan(0.3)
    expect(call.result()).toMatchObject({ task: 'seq_2_seq_lm' })
    expect((call.result().next as string[])[1]).toMatch(/^peft generate /)
    const notes = call.events().map(({ message }) => String(message))
    expect(notes.some(note => note.includes('source = "prompt", target = "completion"'))).toBe(true)

    const [own, whole] = await mergedMetrics(setting)
    expect(own.eval_loss).toBeCloseTo(metrics.eval_loss, 5)
    expect(own.eval_perplexity).toBeCloseTo(Math.exp(own.eval_loss), 6)
    expect(whole.eval_loss).toBeCloseTo(metrics.eval_loss, 3)
    for (const model of [adapter, ['--model', path('merged')]]) {
      const generated = await peft(['generate', ...model, '--prompt', 'the movie was bad', '--max-new-tokens', '6'])
      expect(generated.code).toBe(0)
      expect(generated.stdout).toBe('dull film\n')
    }
    expect(own).toMatchObject({ eval_rouge_l: 1, eval_exact_match: 1 })
    const answered = await peft(['predict', ...adapter, '--data', path('train.jsonl')])
    expect(JSON.parse(answered.stdout.split('\n')[1])).toEqual({
      index: 1,
      source: rows[1].prompt,
      answer: 'dull film',
    })
    const asked = await peft(['predict', ...adapter, '--text', 'the film was good'])
    expect([asked.code, asked.stdout]).toEqual([0, 'great\n'])
    const chat = await peft(['generate', ...adapter, '--prompt', 'a', '--chat'])
    expect([chat.code, chat.stderr]).toEqual([2, expect.stringContaining('--chat is for decoders')])
  })
})

describe('token_cls', () => {
  const rows = [
    { tokens: ['the', 'film', 'was', 'good'], ner_tags: ['O', 'B-X', 'O', 'O'] },
    { tokens: ['a', 'great', 'filming', 'movie'], ner_tags: ['O', 'O', 'B-X', 'I-X'] },
  ]

  it('trains, evaluates, predicts and merges', async () => {
    const setting = await trained('token_cls', rows, undefined, ['--epochs', '40', '--learning-rate', '0.01'])
    const { metrics, call, adapter, path } = setting
    expect(metrics).toMatchObject({ eval_accuracy: 1, eval_f1: 1 })
    expect(call.result().labels).toEqual(['O', 'B-X', 'I-X'])
    const [own, whole] = await mergedMetrics(setting)
    expect(own.eval_loss).toBeCloseTo(metrics.eval_loss, 5)
    expect(whole.eval_loss).toBeCloseTo(metrics.eval_loss, 4)

    const text = await peft(['predict', ...adapter, '--text', 'the film was good'])
    expect([text.code, text.stdout]).toEqual([0, 'the/O film/B-X was/O good/O\n'])
    await writeFile(path('new.jsonl'), lines([{ tokens: ['a', 'great', 'filming', 'movie'] }]))
    const file = await peft(['predict', ...adapter, '--data', path('new.jsonl')])
    expect(JSON.parse(file.stdout)).toEqual({ index: 0, tokens: rows[1].tokens, tags: rows[1].ner_tags })
  })

  it('names what a file lacks', async () => {
    const folder = await temporaryFolder({ 'train.jsonl': lines([{ text: 'a', label: 'b' }]) })
    const model = await saveTinyBert(folder)
    const call = ['train', '--model', model, '--task', 'token_cls', '--output', join(folder, 'out')]
    const { code, stderr } = await peft([...call, '--data', join(folder, 'train.jsonl')])
    expect(code).toBe(1)
    expect(stderr).toMatch(/which column holds the tokens/)
  })
})

describe('question_ans', () => {
  const rows = ['Film', 'movie', 'dull', 'great'].map((answer, i) => ({
    id: i,
    question: 'what is it ?',
    context: `${'i love '.repeat(i)}this ${answer} , ok`,
    answers: { text: [answer], answer_start: [7 * i + 5] },
  }))

  it('trains, evaluates, predicts and merges', async () => {
    const setting = await trained('question_ans', rows, undefined, ['--epochs', '40', '--learning-rate', '0.01'])
    const { metrics, adapter, path } = setting
    expect(metrics).toMatchObject({ eval_exact_match: 1, eval_f1: 1 })
    const [own, whole] = await mergedMetrics(setting)
    expect(own.eval_loss).toBeCloseTo(metrics.eval_loss, 5)
    expect(whole.eval_loss).toBeCloseTo(metrics.eval_loss, 4)

    await writeFile(path('new.jsonl'), lines(rows.map(({ question, context }) => ({ question, context }))))
    const { code, stdout } = await peft(['predict', ...adapter, '--data', path('new.jsonl')])
    expect(code).toBe(0)
    const answers = stdout
      .trim()
      .split('\n')
      .map(line => JSON.parse(line).answer)
    expect(answers).toEqual(['Film', 'movie', 'dull', 'great'])
    const text = await peft(['predict', ...adapter, '--text', 'a'])
    expect([text.code, text.stderr]).toEqual([2, expect.stringContaining('columns question and context')])
  })
})

describe('other tasks', () => {
  it('are refused where a command has nothing for them', async () => {
    const folder = await temporaryFolder({ 'train.jsonl': lines([{ text: 'a' }]) })
    const llama = ['--model', await saveTinyLlama(folder)]
    const predicted = await peft(['predict', ...llama, '--text', 'a'])
    expect([predicted.code, predicted.stderr]).toEqual([
      2,
      expect.stringContaining('seq_cls, token_cls and question_ans'),
    ])
    const t5 = ['--model', await saveTinyT5(folder), '--data', join(folder, 'train.jsonl')]
    const compared = await peft(['compare', ...t5, '--eval-split', '0.5', '--output', join(folder, 'out')])
    expect([compared.code, compared.stderr]).toEqual([2, expect.stringContaining('not seq_2_seq_lm')])
    const labelled = await peft(['evaluate', ...t5, '--labels', 'a,b'])
    expect([labelled.code, labelled.stderr]).toEqual([2, expect.stringContaining('--labels belongs to')])
  })
})
