/** @file Run files: what they say, what they refuse, and that a saved one repeats its run. */
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join, relative } from 'node:path'
import type { Command } from 'commander'
import { describe, expect, it } from 'vitest'
import { parse } from 'yaml'
import { z } from 'zod'
import { runSchemaText } from '../../../scripts/run-schema.ts'
import { temporaryFolder } from '../../../test/temporary.ts'
import { TrainingArguments } from '../../training/arguments.ts'
import { createProgram } from '../program.ts'
import { peft, reviews, saveTinyBert } from '../testing/peft.ts'
import { runKeys } from './keys.ts'

const schemaText = runSchemaText()
const schemaPath = new URL('../../../assets/run.schema.json', import.meta.url)

function trainCommand(): Command {
  const unused = () => {
    throw new Error('unused')
  }
  const terminal = { stdin: process.stdin, stderr: process.stderr, takeInterrupts: () => () => {} }
  const program = createProgram({ output: unused, signal: undefined, terminal })
  return program.commands.find(command => command.name() === 'train')!
}

/** Calls `peft train` with a file of this text, in a folder that holds nothing else. */
async function trainWith(text: string, argv: readonly string[] = [], name = 'run.yaml') {
  const folder = await temporaryFolder({ [name]: text })
  return peft(['train', join(folder, name), ...argv])
}

describe('the keys of a run file', () => {
  const keys = runKeys(trainCommand())

  it('are all flags of peft train but those of the call', () => {
    const flags = trainCommand().options.map(option => option.attributeName())
    const missing = flags.filter(flag => !keys.some(({ attribute }) => attribute === flag))
    expect(missing.sort()).toEqual(['json', 'method', 'quiet', 'set', 'writeRun'])
  })

  it('are all options of TrainingArguments', () => {
    const reachable = keys.map(({ training }) => training)
    expect(TrainingArguments.optionNames().filter(name => !reachable.includes(name))).toEqual([])
  })

  it('have names of their own, and defaults that fit', () => {
    const names = keys.map(({ section, name }) => `${section}.${name}`)
    expect(new Set(names).size).toBe(names.length)
    const schema = z.fromJSONSchema(JSON.parse(schemaText))
    for (const { section, name, initial } of keys) {
      if (initial === undefined) continue
      expect(
        schema.safeParse(section === 'run' ? { [name]: initial } : { [section]: { [name]: initial } }),
      ).toMatchObject({ success: true })
    }
  })
})

describe('the schema of run files', () => {
  it('is the one that is committed (npm run docs writes it)', async () => {
    expect(await readFile(schemaPath, 'utf8')).toBe(schemaText)
  })

  it('refuses what the command refuses', () => {
    const schema = z.fromJSONSchema(JSON.parse(schemaText))
    expect(schema.safeParse({ model: 'm', training: { maxSteps: 3 }, method: 'lora' }).success).toBe(true)
    expect(schema.safeParse({ modle: 'm' }).success).toBe(false)
    expect(schema.safeParse({ training: { maxSteps: 0 } }).success).toBe(false)
    expect(schema.safeParse({ method: { name: 'lora', loraAlhpa: 3 } }).success).toBe(false)
  })

  it('takes the example', async () => {
    const example = parse(await readFile(new URL('../../../examples/run.yaml', import.meta.url), 'utf8'))
    expect(z.fromJSONSchema(JSON.parse(schemaText)).safeParse(example)).toMatchObject({ success: true })
  })

  it('describes every key', () => {
    const { properties, $defs } = JSON.parse(schemaText)
    for (const part of [properties, $defs.data.properties, $defs.training.properties]) {
      for (const [name, { description, $ref, anyOf }] of Object.entries<Record<string, unknown>>(part)) {
        expect(description ?? $ref ?? anyOf, name).toBeTruthy()
      }
    }
  })
})

describe('a mistake in a run file', () => {
  it.each([
    [
      'an unknown key',
      'model: m\ntraning: {}\n',
      /run\.yaml:2:1: a run file has no option "traning"\. Did you mean "training"/,
    ],
    [
      'a key in the wrong place',
      'learning_rate: 1\n',
      /:1:1: .*no option "learning_rate"; it is training\.learningRate/,
    ],
    [
      'the name of a flag',
      'training:\n  epochs: 3\n',
      /:2:3: training has no option "epochs"; it is training\.numTrainEpochs/,
    ],
    [
      'a value of another type',
      'training:\n  learningRate: fast\n',
      /:2:17: training\.learningRate is "fast", expected a number/,
    ],
    [
      'a mistyped choice',
      'training:\n  optim: adam\n',
      /:2:10: training\.optim is "adam", expected one of adamw, sgd\. Did you mean "adamw"/,
    ],
    ['a value that is missing', 'seed:\n', /:1:6: seed has no value, expected a whole number from 0 on/],
    ['a key that comes twice', 'seed: 1\nseed: 2\n', /:2:1: the key was given before/],
    [
      'a key in both spellings',
      'training:\n  max_steps: 1\n  maxSteps: 2\n',
      /:3:3: maxSteps was given before, as max_steps/,
    ],
    ['tabs', 'training:\n\tmaxSteps: 1\n', /:2:1: Tabs are not allowed/],
    ['an anchor', 'seed: &s 1\n', /:1:10?: &s is an anchor/],
    ['a tag', 'seed: !!int "1"\n', /:1:\d+: the value has the tag/],
    ['several documents', 'seed: 1\n---\nseed: 2\n', /:2:1: a run file is one document/],
    ['a list', '- seed\n', /:1:1: expected options/],
    ['a section that is a list', 'training: [1]\n', /:1:11: training is \[1\], expected options/],
    ['an unknown method', 'method: lorra\n', /:1:9: the method "lorra" is not known\. Did you mean "lora"/],
    [
      'an unknown option of a method',
      'method:\n  name: lora\n  loraAlhpa: 3\n',
      /:3:3: .*no option "loraAlhpa"\. Did you mean "loraAlpha"/,
    ],
    [
      'a bad value for a method',
      'method:\n  r: 8\n  lora_dropout: 2\n',
      /:3:17: method lora: .*lora_dropout must lie in/,
    ],
    ['options of a method that has none', 'method:\n  name: full\n  r: 8\n', /:3:3: the method full has no option "r"/],
    [
      'what is required',
      'model: m\noutput: o\n',
      /required option '--data <path>' not specified, and .*run\.yaml says no data\.train/,
    ],
    [
      'contradictions',
      'model: m\ndata: d\noutput: o\ntraining: { warmupSteps: 3, warmupRatio: 0.1 }\n',
      /warmupSteps and warmupRatio were both given/,
    ],
  ])('%s', async (_, text, message) => {
    const { code, stderr } = await trainWith(text)
    expect(stderr).toMatch(message)
    expect(code).toBe(2)
  })

  it('in JSON is told by its place too', async () => {
    const text = JSON.stringify({ model: 'm', training: { maxSteps: 'x' } }, undefined, '\t')
    expect((await trainWith(text, [], 'run.json')).stderr).toMatch(/run\.json:4:15: training\.maxSteps is "x"/)
  })

  it.each([
    ['an unknown option', 'training.learnigRate=1', /Did you mean "learningRate"/],
    ['a bad value', 'training.learningRate=fast', /training\.learningRate is "fast"/],
  ])('on the command line: %s', async (_, pair, message) => {
    expect(await trainWith('model: m\n', ['--set', pair])).toMatchObject({
      code: 2,
      stderr: expect.stringMatching(message),
    })
  })

  it('is not made good by a file that is not there', async () => {
    expect((await peft(['train', 'nowhere.yaml'])).stderr).toMatch(
      /nowhere\.yaml cannot be read: there is no such file/,
    )
  })
})

describe('a run', () => {
  const file = `
model: ../tiny-bert
task: seq_cls
output: ../out
method:
  r: 2
  target_modules: query
data:
  train: ../train.tsv
  limit: 16
training:
  num_train_epochs: 1
  perDeviceTrainBatchSize: 4
  learningRate: 1e-2
  adamBeta2: 0.95
  threads: 1
`

  it('goes as its file says, flags first, and the saved file repeats it bit by bit', async () => {
    const folder = await temporaryFolder({ 'train.tsv': reviews(32) })
    await saveTinyBert(folder)
    await mkdir(join(folder, 'configs'))
    const path = (name: string) => relative(process.cwd(), join(folder, name))
    await writeFile(path('configs/run.yaml'), file)
    const call = ['train', path('configs/run.yaml'), '--json', '--set', 'training.nesterov=false']
    const first = await peft([...call, '--set', 'lora_alpha=4', '--batch-size', '8'])
    expect(first.stderr).toBe('')
    expect(first.code).toBe(0)
    expect(first.result()).toMatchObject({ steps: 2, output: path('out') })

    const text = await readFile(path('out/run.yaml'), 'utf8')
    expect(text).toMatch(/^# yaml-language-server: \$schema=http/)
    const saved = parse(text)
    expect(saved).toMatchObject({ model: '../tiny-bert', task: 'seq_cls', output: '.', seed: 42 })
    expect(saved.method).toMatchObject({ name: 'lora', r: 2, loraAlpha: 4, targetModules: ['query'], loraDropout: 0 })
    expect(saved.data).toMatchObject({ train: '../train.tsv', labels: ['bad', 'good'], columns: { text: 'sentence' } })
    const perDeviceTrainBatchSize = 8
    expect(saved.training).toMatchObject({
      adamBeta1: 0.9,
      adamBeta2: 0.95,
      perDeviceTrainBatchSize,
      numTrainEpochs: 1,
    })
    expect(saved.versions['peft-ts']).toMatch(/^\d+\.\d+\.\d+/)
    expect(z.fromJSONSchema(JSON.parse(await readFile(schemaPath, 'utf8'))).safeParse(saved)).toMatchObject({
      success: true,
    })

    const again = await peft(['train', path('out/run.yaml'), '--output', path('out2'), '--json'])
    expect(again.stderr).toBe('')
    const adapter = (name: string) => readFile(path(`${name}/adapter_model.safetensors`))
    expect((await adapter('out2')).equals(await adapter('out'))).toBe(true)
    expect(await readFile(path('out2/run.yaml'), 'utf8')).toBe(text)

    const own = await peft(['train', path('out/run.yaml')])
    expect(own.stderr).toMatch(/lies in the folder that it would be trained to/)
    expect(own.code).toBe(2)
  })

  it('has its options from another method than the flag names left out, and says so', async () => {
    const text = 'model: nowhere/none\nmethod:\n  name: lora\n  r: 4\ndata: d\noutput: o\n'
    expect((await trainWith(text, ['--method', 'bitfit'])).stderr).toMatch(/r belong to lora; with --method bitfit/)
  })

  it('that was made with another version says so', async () => {
    const { stderr } = await trainWith('model: nowhere/none\ndata: d\noutput: o\nversions: { node: 1.2.3 }\n')
    expect(stderr).toMatch(/was made with node 1\.2\.3 \(here \d/)
  })

  it('is written with comments, and the file says what the flags said', async () => {
    const folder = await temporaryFolder({ 'train.tsv': reviews(4) })
    const path = join(folder, 'new/run.yaml')
    const flags = [
      '--model',
      'some/model',
      '--data',
      join(folder, 'train.tsv'),
      '--set',
      'r=4',
      '--learning-rate',
      '0.01',
    ]
    const written = await peft(['train', ...flags, '--no-metrics', '--write-run', path, '--json'])
    expect(written.result()).toMatchObject({ run_file: path })
    const text = await readFile(path, 'utf8')
    expect(parse(text)).toEqual({
      model: 'some/model',
      metrics: false,
      method: { name: 'lora', r: 4 },
      data: { train: join(folder, 'train.tsv') },
      training: { learningRate: 0.01 },
    })
    expect(text).toMatch(/# How slowly AdamW's mean of gradients changes\.\n {2}# adamBeta1: 0\.9\n/)
    // Nothing that stands there as a comment is unknown.
    const all = text.replace(/^( *)# (\w+: .+)$/gm, (line, indent, entry) =>
      /^[a-z]\w*: \S+$/.test(entry) ? indent + entry : line,
    )
    await writeFile(path, all)
    expect((await peft(['train', path])).stderr).toMatch(/required option '--output <folder>'/)
    expect((await peft(['train', ...flags, '--write-run', path])).stderr).toMatch(/is there already/)
  })
})
