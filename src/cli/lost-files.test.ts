/** @file Files that vanish or change while a training runs, or before it is resumed: nothing that was saved is lost. */
import { existsSync } from 'node:fs'
import { copyFile, mkdtemp, readFile, rename, rm, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { hashes } from './testing/killing.ts'
import { saveTinyViT, writeColours } from './testing/media.ts'
import { peft, reviews, saveTinyBert } from './testing/peft.ts'

let folder: string
let expected: Record<string, string>
const path = (name: string) => join(folder, name)
const weights = () => path('tiny-bert/model.safetensors')
const call = (output: string) => [
  ...['train', '--model', path('tiny-bert'), '--data', path('train.tsv'), '--eval-data', path('test.tsv')],
  ...['--task', 'seq_cls', '--threads', '1', '--batch-size', '4', '--max-steps', '6', '--logging-steps', '1'],
  ...['--save-steps', '2', '--eval-steps', '4', '--json', '--output', path(output)],
]

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'peft-ts-lost-'))
  await writeFile(path('train.tsv'), reviews(16))
  await writeFile(path('test.tsv'), reviews(8))
  await saveTinyBert(folder)
  expect((await peft(call('whole'))).code).toBe(0)
  expected = await hashes(path('whole'))
})

afterAll(() => rm(folder, { recursive: true, force: true }))

/** Trains; at the log of a step something happens. */
async function trainUntil(argv: readonly string[], step: number, happens: () => Promise<unknown>) {
  let done: Promise<unknown> | undefined
  const onStdout = (text: string) => {
    if (text.includes(`"event":"log","step":${step},`)) done ??= happens()
  }
  const result = await peft(argv, { onStdout })
  expect(done).toBeDefined()
  await done
  return result
}

/** Ends a training after its third step, as Ctrl-C does. */
async function stopped(output: string): Promise<Record<string, string>> {
  const controller = new AbortController()
  const onStdout = (text: string) => void (text.includes('"step":3,') && controller.abort())
  expect((await peft(call(output), { signal: controller.signal, onStdout })).code).toBe(1)
  return hashes(path(`${output}/checkpoint-3`))
}

const messageOf = ({ result }: Awaited<ReturnType<typeof peft>>) => result().message as string

describe('a training', () => {
  it('ends as it would have where its data vanishes after it was read', async () => {
    const away = async () => {
      await rename(path('train.tsv'), path('train.away'))
      await rm(path('test.tsv'))
    }
    const { code } = await trainUntil(call('without'), 1, away)
    await rename(path('train.away'), path('train.tsv'))
    await writeFile(path('test.tsv'), reviews(8))
    expect(code).toBe(0)
    expect(await hashes(path('without'))).toEqual(expected)
  })

  it('names the base that vanished before it was needed, and goes on once it is back', async () => {
    const ended = await trainUntil(call('no-base'), 1, () => rename(weights(), path('away')))
    expect(ended.code).toBe(1)
    expect(messageOf(ended)).toMatch(
      /weights in .*model\.safetensors cannot be read any more: it was moved or deleted.*Put the file back.*checkpoint-2 is complete.*--resume/,
    )
    const saved = await hashes(path('no-base/checkpoint-2'))
    const without = await peft([...call('no-base'), '--resume'])
    expect(messageOf(without)).toMatch(/neither model\.safetensors nor .*checkpoint-2 is complete.*--resume/)
    await rename(path('away'), weights())
    expect(await hashes(path('no-base/checkpoint-2'))).toEqual(saved)
    expect((await peft([...call('no-base'), '--resume'])).code).toBe(0)
    expect(await hashes(path('no-base'))).toEqual(expected)
  })

  it('saves nothing any more where its base was written to, and goes on with the one that it began with', async () => {
    await copyFile(weights(), path('kept'))
    const other = await readFile(weights())
    for (let i = other.length - 4096; i < other.length; i += 4) other[i] ^= 1
    const ended = await trainUntil(call('other-base'), 3, async () => {
      await writeFile(path('new'), other)
      await rename(path('new'), weights())
    })
    expect(ended.code).toBe(1)
    expect(messageOf(ended)).toMatch(
      /base changed while they were trained on, so step 4 is not saved: .*model\.safetensors was written to.*checkpoint-2 is complete; --resume/,
    )
    expect(existsSync(path('other-base/checkpoint-4'))).toBe(false)
    const refused = await peft([...call('other-base'), '--resume'])
    expect(messageOf(refused)).toMatch(/belongs to another training: values that do not train differ/)
    await rename(path('kept'), weights())
    expect((await peft([...call('other-base'), '--resume'])).code).toBe(0)
    expect(await hashes(path('other-base'))).toEqual(expected)
  })
})

describe('a training that is resumed', () => {
  it('names data that is gone or another, and goes on once it is back', async () => {
    const saved = await stopped('data')
    const resume = async () => {
      const result = await peft([...call('data'), '--resume'])
      expect(await hashes(path('data/checkpoint-3'))).toEqual(saved)
      expect(result.code).toBe(1)
      return messageOf(result)
    }
    await rename(path('train.tsv'), path('train.away'))
    expect(await resume()).toMatch(/train\.tsv: there is no such file.*checkpoint-3 is complete.*--resume/)
    await copyFile(path('train.away'), path('train.tsv'))
    await truncate(path('train.tsv'), 0)
    expect(await resume()).toMatch(/train\.tsv: the file is empty.*checkpoint-3 is complete.*--resume/)
    await writeFile(path('train.tsv'), reviews(14))
    expect(await resume()).toMatch(/the training data had 16 examples and has 14/)
    await writeFile(path('train.tsv'), reviews(16).replace('dull', 'great'))
    expect(await resume()).toMatch(/the training data has other examples/)
    await rename(path('train.away'), path('train.tsv'))
    await writeFile(path('test.tsv'), reviews(10))
    expect(await resume()).toMatch(/the evaluation data is another/)
    await writeFile(path('test.tsv'), reviews(8))
    expect((await peft([...call('data'), '--resume'])).code).toBe(0)
    expect(await hashes(path('data'))).toEqual(expected)
  })
})

describe('a training on images', () => {
  it('does without the files once they were decoded, and names the one that is missing when it is resumed', async () => {
    const model = await saveTinyViT(folder)
    const images = await writeColours(path('images'), 4)
    const onImages = (output: string) => [
      ...['train', '--model', model, '--data', images, '--task', 'image_cls', '--threads', '1', '--batch-size', '4'],
      ...['--max-steps', '6', '--logging-steps', '1', '--save-steps', '2', '--json', '--output', path(output)],
    ]
    expect((await peft(onImages('all'))).code).toBe(0)
    const { code } = await trainUntil(onImages('some'), 1, () => rename(images, path('images-away')))
    expect(code).toBe(0)
    expect(await hashes(path('some'))).toEqual(await hashes(path('all')))
    const gone = await peft([...onImages('some'), '--resume'])
    expect(gone.code).toBe(1)
    expect(messageOf(gone)).toMatch(/images.*checkpoint-6 is complete.*--resume/)
  })
})
