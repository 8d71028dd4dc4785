import { existsSync } from 'node:fs'
import { readdir, readFile, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { temporaryFolder } from '../../test/temporary.ts'
import { peft, reviews, saveTinyBert } from './testing/peft.ts'

async function setting(data: string = reviews(16)) {
  const folder = await temporaryFolder({ 'train.tsv': data })
  const path = (name: string) => join(folder, name)
  const model = await saveTinyBert(folder)
  const train = ['train', '--model', model, '--data', path('train.tsv'), '--task', 'seq_cls', '--output', path('out')]
  /** Nothing was saved: no output folder, or one with the record of the training alone, and no remains beside it. */
  const expectNoOutput = async () => {
    const written = existsSync(path('out')) ? await readdir(path('out')) : []
    expect(written.filter(name => !/^(metrics\.jsonl|events\.out\.tfevents.*)$/.test(name))).toEqual([])
    expect((await readdir(folder)).filter(name => name.startsWith('.'))).toEqual([])
  }
  return { path, model, train: [...train, '--threads', '1', '--max-steps', '8'], expectNoOutput }
}

describe('a training that fails ends with exit code 1, one clear message and no output', () => {
  it('on a truncated checkpoint', async () => {
    const { path, train, expectNoOutput } = await setting()
    await truncate(path('tiny-bert/model.safetensors'), 20_000)
    const { code, stderr } = await peft(train)
    expect(code).toBe(1)
    expect(stderr).toMatch(/^error: .*model\.safetensors.*\n$/)
    await expectNoOutput()
  })

  it('on a broken line of data', async () => {
    const { path, train, expectNoOutput } = await setting()
    await writeFile(path('train.jsonl'), '{"text":"a","label":"x"}\n{"text":"b","label"\n')
    const { code, stderr } = await peft(train.map(word => word.replace('train.tsv', 'train.jsonl')))
    expect(code).toBe(1)
    expect(stderr).toMatch(/^error: .*train\.jsonl.*line 2.*\n$/)
    await expectNoOutput()
  })

  it('on an unknown column, naming the nearest', async () => {
    const { train, expectNoOutput } = await setting()
    const { code, stderr } = await peft([...train, '--columns', 'text=sentense,label=label'])
    expect(code).toBe(1)
    expect(stderr).toMatch(/train\.tsv has no column "sentense"\. Did you mean "sentence"\?/)
    await expectNoOutput()
  })

  it('on columns whose part cannot be told', async () => {
    const { train, expectNoOutput } = await setting('a\tb\nx\ty\nz\tw\n')
    const { code, stderr } = await peft(train)
    expect(code).toBe(1)
    expect(stderr).toMatch(/Could not tell which column holds the label.*"a", "b"/)
    await expectNoOutput()
  })

  it('on a label of the evaluation data that training has not seen', async () => {
    const { path, train, expectNoOutput } = await setting()
    await writeFile(path('test.tsv'), 'sentence\tlabel\nthe film was good\tgood\nthe film was bad\tmixed\n')
    const { code, stderr } = await peft([...train, '--eval-data', path('test.tsv')])
    expect(code).toBe(1)
    expect(stderr).toMatch(/test\.tsv: Row 1: the label "mixed" is not among the 2 known ones: "bad", "good"/)
    await expectNoOutput()
  })

  it('on an example that is too long, with the flags that help', async () => {
    const { train, expectNoOutput } = await setting(`sentence\tlabel\n${'film '.repeat(60)}\ta\nb\tb\n`)
    const { code, stderr } = await peft(train)
    expect(code).toBe(1)
    expect(stderr).toMatch(/longer than --max-length = 32 tokens.*--overlong skip.*--overlong truncate/)
    await expectNoOutput()
  })

  it('on a loss that is not a number', async () => {
    const { train, expectNoOutput } = await setting()
    const { code, stderr } = await peft([
      ...train,
      '--learning-rate',
      '1e38',
      '--max-grad-norm',
      '0',
      '--scheduler',
      'constant',
    ])
    expect(code).toBe(1)
    expect(stderr).toMatch(/error: Step \d+ of 8: .*(loss is NaN|norm|not finite)/)
    expect(stderr).toMatch(/--learning-rate/)
    await expectNoOutput()
  })

  it('on weights that are not numbers, before the first step is taken', async () => {
    const { path, train, expectNoOutput } = await setting()
    const file = path('tiny-bert/model.safetensors')
    const bytes = await readFile(file)
    bytes.fill(0xff, bytes.length - 64)
    await writeFile(file, bytes)
    const { code, stderr } = await peft(train)
    expect(code).toBe(1)
    expect(stderr).toMatch(/error: Step 1 of 8: the loss is NaN/)
    await expectNoOutput()
  })

  it('on Ctrl-C between two steps, after which --resume goes on', async () => {
    const { path, train } = await setting()
    const controller = new AbortController()
    const onStderr = (text: string) => {
      if (text.startsWith('step 2/')) controller.abort(new Error('Interrupted by Ctrl-C'))
    }
    const call = [...train, '--logging-steps', '1']
    const { code, stderr } = await peft(call, { signal: controller.signal, onStderr })
    expect(code).toBe(1)
    expect(stderr).toMatch(/error: Training was paused after step 2\. .*checkpoint-2 holds .* --resume/)
    expect(existsSync(path('out/adapter_model.safetensors'))).toBe(false)
    expect((await peft(call)).stderr).toMatch(/not empty.*checkpoints of a training, the last of step 2.*--resume/)
    const resumed = await peft([...call, '--resume'])
    expect(resumed.stderr).toMatch(/going on from .*checkpoint-2, after step 2\/8/)
    expect(resumed.code).toBe(0)
    expect(existsSync(path('out/checkpoint-2'))).toBe(false)
    await peft([...call, '--output', path('whole')])
    const adapter = (folder: string) => readFile(path(`${folder}/adapter_model.safetensors`))
    expect((await adapter('out')).equals(await adapter('whole'))).toBe(true)
  })

  it('leaves what was there when it was to be replaced', async () => {
    const { path, train } = await setting()
    expect((await peft(train)).code).toBe(0)
    const before = await readFile(path('out/adapter_model.safetensors'))
    expect((await peft(train)).stderr).toMatch(/not empty.*--overwrite/)
    const controller = new AbortController()
    const onStderr = (text: string) => {
      if (text.startsWith('step 1/')) controller.abort(new Error('Interrupted by Ctrl-C'))
    }
    const again = [...train, '--overwrite', '--seed', '7', '--logging-steps', '1']
    expect((await peft(again, { signal: controller.signal, onStderr })).code).toBe(1)
    expect((await readFile(path('out/adapter_model.safetensors'))).equals(before)).toBe(true)
    expect((await peft(again)).code).toBe(0)
    expect((await readFile(path('out/adapter_model.safetensors'))).equals(before)).toBe(false)
  })

  it('as an event with --json, and nothing but events on stdout', async () => {
    const { train, expectNoOutput } = await setting()
    const { code, stderr, result } = await peft([...train, '--columns', 'text=sentense,label=label', '--json'])
    expect(code).toBe(1)
    expect(stderr).toBe('')
    expect(result()).toEqual({ event: 'error', message: expect.stringContaining('has no column "sentense"') })
    await expectNoOutput()
  })

  it('without a stack trace, unless PEFT_DEBUG=1 asks for it', async () => {
    const { train } = await setting()
    const wrong = [...train, '--columns', 'text=sentense,label=label']
    expect((await peft(wrong)).stderr).not.toMatch(/\n\s+at /)
    expect((await peft(wrong, { env: { PEFT_DEBUG: '1' } })).stderr).toMatch(/\n\s+at /)
  })
})

describe('commands that use a model fail clearly', () => {
  it('on labels that the model does not have', async () => {
    const { path, model, train } = await setting()
    expect((await peft(train)).code).toBe(0)
    await writeFile(path('test.tsv'), 'sentence\tlabel\nthe film was good\tfine\n')
    const { code, stderr } = await peft([
      'evaluate',
      '--model',
      model,
      '--adapter',
      path('out'),
      '--data',
      path('test.tsv'),
    ])
    expect(code).toBe(1)
    expect(stderr).toMatch(/the label "fine" is not among the 2 known ones: "bad", "good"/)
  })

  it('on an adapter given as the model', async () => {
    const { path, train } = await setting()
    expect((await peft(train)).code).toBe(0)
    const { code, stderr } = await peft(['predict', '--model', path('out'), '--text', 'a'])
    expect(code).toBe(2)
    expect(stderr).toMatch(/holds an adapter, not a model; give its base model with --model, and --adapter/)
  })

  it('warns when a classifier has an untrained head', async () => {
    const { model } = await setting()
    const { code, stderr } = await peft(['predict', '--model', model, '--task', 'seq_cls', '--text', 'a'])
    expect(code).toBe(0)
    expect(stderr).toMatch(/warning: .*hold no values for classifier\.weight, classifier\.bias: they are random/)
  })
})
