import { existsSync } from 'node:fs'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { temporaryFolder } from '../../../test/temporary.ts'
import { peft, reviews, saveTinyBert, saveTinyLlama } from '../testing/peft.ts'

const FAST = ['--threads', '1', '--learning-rate', '0.01', '--batch-size', '4']

async function classifierSetting() {
  const folder = await temporaryFolder({ 'train.tsv': reviews(32), 'test.tsv': reviews(12) })
  const path = (name: string) => join(folder, name)
  return { path, model: await saveTinyBert(folder) }
}

describe('a classifier, from training to a merged model', () => {
  it('trains, evaluates, predicts and merges with the same numbers at every stage', async () => {
    const { path, model } = await classifierSetting()
    const trained = await peft([
      ...['train', '--model', model, '--data', path('train.tsv'), '--eval-data', path('test.tsv'), '--task', 'seq_cls'],
      ...[
        '--set',
        'r=4',
        '--set',
        'target_modules=query,value',
        '--output',
        path('out'),
        '--epochs',
        '5',
        '--json',
        ...FAST,
      ],
    ])
    expect(trained.stderr).toBe('')
    expect(trained.code).toBe(0)
    const events = trained.events()
    const kinds = events.map(({ event }) => event)
    expect(kinds.at(-1)).toBe('result')
    expect(kinds.filter(kind => kind === 'result')).toHaveLength(1)
    expect(kinds.filter(kind => kind === 'evaluation')).toHaveLength(5)
    expect(kinds).toEqual(expect.arrayContaining(['initialized', 'parameters', 'start', 'log', 'note']))
    const result = trained.result()
    const metrics = result.metrics as Record<string, number>
    expect(metrics.eval_accuracy).toBe(1)
    expect(result).toMatchObject({ steps: 40, labels: ['bad', 'good'], task: 'seq_cls', method: 'lora' })
    expect(result.initialized_parameters).toEqual(['classifier.weight', 'classifier.bias'])
    expect(result.peak_memory_bytes).toBeGreaterThan(1e7)

    const adapter = ['--model', model, '--adapter', path('out')]
    const evaluated = await peft(['evaluate', ...adapter, '--data', path('test.tsv'), '--json'])
    expect(evaluated.code).toBe(0)
    const again = evaluated.result().metrics as Record<string, number>
    expect(again.eval_loss).toBeCloseTo(metrics.eval_loss, 5)
    expect(again.eval_accuracy).toBe(1)

    const predicted = await peft(['predict', ...adapter, '--text', 'the film was great', '--text', 'the film was dull'])
    expect(predicted.code).toBe(0)
    expect(predicted.stdout).toMatch(/^good {2}0\.\d{4} {2}the film was great\nbad {2}0\.\d{4} {2}the film was dull\n$/)

    const merged = await peft(['merge', ...adapter, '--output', path('merged'), '--json'])
    expect(merged.code).toBe(0)
    expect(merged.result().merged_parameters).toBe(4)
    expect(merged.result().largest_change).toBeGreaterThan(0)
    expect(merged.result().probe_difference).toBeLessThan(1e-4)
    const whole = await peft(['evaluate', '--model', path('merged'), '--data', path('test.tsv'), '--json'])
    expect((whole.result().metrics as Record<string, number>).eval_loss).toBeCloseTo(metrics.eval_loss, 4)
    const config = JSON.parse(await readFile(path('merged/config.json'), 'utf8'))
    expect(config.id2label).toEqual({ 0: 'bad', 1: 'good' })
  })

  it('writes rows of predictions, also of a file without labels', async () => {
    const { path, model } = await classifierSetting()
    const train = ['train', '--model', model, '--data', path('train.tsv'), '--task', 'seq_cls', '--output', path('out')]
    expect((await peft([...train, '--max-steps', '2', ...FAST])).code).toBe(0)
    await writeFile(path('new.jsonl'), '{"sentence":"the film was good"}\n{"sentence":"the film was bad"}\n')
    const call = ['predict', '--model', model, '--adapter', path('out'), '--data', path('new.jsonl')]
    const { stdout, code } = await peft(call)
    expect(code).toBe(0)
    const rows = stdout
      .trim()
      .split('\n')
      .map(line => JSON.parse(line))
    expect(rows.map(row => [row.index, row.text])).toEqual([
      [0, 'the film was good'],
      [1, 'the film was bad'],
    ])
    for (const { probabilities, probability, label } of rows) {
      expect(probabilities.bad + probabilities.good).toBeCloseTo(1, 6)
      expect(probability).toBe(probabilities[label])
    }
    const json = await peft([...call, '--json'])
    expect(json.events().map(({ event }) => event)).toEqual(['note', 'prediction', 'prediction', 'result'])
    expect((await peft([...call, '--out', path('rows.jsonl')])).code).toBe(0)
    expect(await readFile(path('rows.jsonl'), 'utf8')).toBe(stdout)
  })

  it.each(['full', 'head'])('writes a whole model with --method %s, which other commands open', async method => {
    const { path, model } = await classifierSetting()
    const train = ['train', '--model', model, '--data', path('train.tsv'), '--eval-split', '0.25', '--task', 'seq_cls']
    const trained = await peft([
      ...train,
      '--method',
      method,
      '--output',
      path('out'),
      '--epochs',
      '2',
      '--json',
      ...FAST,
    ])
    expect(trained.code).toBe(0)
    const { trainable_parameters, all_parameters, metrics, next } = trained.result()
    if (method === 'full') expect(trainable_parameters).toBe(all_parameters)
    else expect(trainable_parameters).toBe(2 * 32 + 2)
    expect((next as string[])[0]).toBe(`peft evaluate --model ${path('out')} --data ${path('train.tsv')}`)
    expect(existsSync(path('out/config.json'))).toBe(true)
    const evaluated = await peft(['evaluate', '--model', path('out'), '--data', path('test.tsv'), '--json'])
    expect(evaluated.code).toBe(0)
    expect(evaluated.events().some(({ event }) => event === 'warning')).toBe(false)
    expect(Object.keys(evaluated.result().metrics as object)).toEqual(Object.keys(metrics as object))
  })

  it('gives the same adapter for the same seed', async () => {
    const { path, model } = await classifierSetting()
    const train = [
      'train',
      '--model',
      model,
      '--data',
      path('train.tsv'),
      '--task',
      'seq_cls',
      '--max-steps',
      '3',
      ...FAST,
    ]
    for (const name of ['a', 'b']) expect((await peft([...train, '--output', path(name)])).code).toBe(0)
    const [a, b] = await Promise.all(['a', 'b'].map(name => readFile(path(`${name}/adapter_model.safetensors`))))
    expect(a.equals(b)).toBe(true)
  })

  it('keeps the best evaluation with --load-best and says which it was', async () => {
    const { path, model } = await classifierSetting()
    const train = ['train', '--model', model, '--data', path('train.tsv'), '--eval-data', path('test.tsv')]
    const { code, events, result } = await peft([
      ...[...train, '--task', 'seq_cls', '--output', path('out'), '--max-steps', '6', '--eval-steps', '2'],
      ...['--load-best', '--metric', 'accuracy', '--json', ...FAST],
    ])
    expect(code).toBe(0)
    const evaluations = events().filter(({ event }) => event === 'evaluation')
    expect(evaluations.map(({ step }) => step)).toEqual([2, 4, 6])
    const best = Math.max(...evaluations.map(({ eval_accuracy }) => eval_accuracy as number))
    expect((result().metrics as Record<string, number>).eval_accuracy).toBe(best)
    expect(evaluations.find(({ step }) => step === result().best_step)?.eval_accuracy).toBe(best)
  })
})

describe('a language model, from training to generated text', () => {
  it('learns completions, reports perplexity, generates them and merges', async () => {
    const folder = await temporaryFolder({
      'train.jsonl': Array.from({ length: 16 }, () => '{"question":"a b","answer":" c d"}\n').join(''),
    })
    const path = (name: string) => join(folder, name)
    const model = await saveTinyLlama(folder)
    const trained = await peft([
      ...['train', '--model', model, '--data', path('train.jsonl'), '--task', 'causal_lm', '--output', path('out')],
      ...['--columns', 'prompt=question,completion=answer', '--set', 'target_modules=all-linear', '--epochs', '40'],
      ...['--threads', '1', '--batch-size', '8', '--learning-rate', '0.02', '--json'],
    ])
    expect(trained.stderr).toBe('')
    expect(trained.code).toBe(0)
    const notes = trained.events().filter(({ event }) => event === 'note')
    expect(notes.some(({ message }) => String(message).includes('format prompt-completion (prompt = "question"'))).toBe(
      true,
    )

    const adapter = ['--model', model, '--adapter', path('out')]
    const evaluated = await peft(['evaluate', ...adapter, '--data', path('train.jsonl'), '--json'])
    const { eval_loss, eval_perplexity } = evaluated.result().metrics as Record<string, number>
    expect(eval_loss).toBeLessThan(0.1)
    expect(eval_perplexity).toBeCloseTo(Math.exp(eval_loss), 6)

    const generated = await peft(['generate', ...adapter, '--prompt', 'a b', '--max-new-tokens', '12'])
    expect(generated.code).toBe(0)
    expect(generated.stdout).toBe(' c d\n')
    const pieces = await peft(['generate', ...adapter, '--prompt', 'a b', '--max-new-tokens', '12', '--json'])
    const texts = pieces.events().filter(({ event }) => event === 'text')
    expect(texts.map(({ text }) => text).join('')).toBe(' c d')
    expect(pieces.result()).toMatchObject({ event: 'result', command: 'generate', text: ' c d' })
    const searching = ['--num-beams', '2', '--num-return-sequences', '2', '--early-stopping', 'never', '--json']
    const search = await peft(['generate', ...adapter, '--prompt', 'a b', ...searching, '--logprobs'])
    const { text, texts: all, scores, logprobs } = search.result()
    expect(text).toBe(' c d')
    expect([all, scores, logprobs].map(list => (list as unknown[]).length)).toEqual([2, 2, 2])
    const stopped = await peft(['generate', ...adapter, '--prompt', 'a b', '--stop', ' d', '--stop', 'x'])
    expect(stopped.stdout).toBe(' c\n')

    expect((await peft(['merge', ...adapter, '--output', path('merged')])).code).toBe(0)
    const whole = await peft(['generate', '--model', path('merged'), '--prompt', 'a b', '--max-new-tokens', '12'])
    expect(whole.stdout).toBe(' c d\n')
  })

  it('learns conversations and answers in the form of the chat template', async () => {
    const row = {
      messages: [
        { role: 'user', content: 'hi' },
        { role: 'assistant', content: 'yes' },
      ],
    }
    const folder = await temporaryFolder({ 'chat.jsonl': `${JSON.stringify(row)}\n`.repeat(8) })
    const model = await saveTinyLlama(folder)
    const out = join(folder, 'out')
    const trained = await peft([
      ...['train', '--model', model, '--data', join(folder, 'chat.jsonl'), '--task', 'causal_lm', '--output', out],
      ...['--method', 'full', '--epochs', '30', '--threads', '1', '--learning-rate', '0.01', '--quiet'],
    ])
    expect(trained.code).toBe(0)
    const generate = ['generate', '--model', out, '--prompt', 'hi', '--max-new-tokens', '3']
    expect((await peft([...generate, '--chat'])).stdout).toMatch(/^yes/)
    expect((await peft([...generate, '--system', 'be brief'])).code).toBe(2)
    const sampled = [...generate, '--chat', '--temperature', '5', '--seed', '3']
    expect((await peft(sampled)).stdout).toBe((await peft(sampled)).stdout)
  })
})
