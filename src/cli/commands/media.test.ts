/** @file The commands for images and speech: from training to a merged model, and what they say to bad input. */
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { temporaryFolder } from '../../../test/temporary.ts'
import { toneWav } from '../../data/testing/speech.ts'
import { COLOURS, saveTinyViT, saveTinyWhisper, writeColours, writeImage, writeTones } from '../testing/media.ts'
import { peft } from '../testing/peft.ts'

const FAST = ['--threads', '1', '--batch-size', '4']

async function imageSetting(count = 4) {
  const folder = await temporaryFolder()
  const path = (name: string) => join(folder, name)
  const model = await saveTinyViT(folder)
  await writeColours(path('images/train'), count)
  const train = ['train', '--model', model, '--output', path('out'), ...FAST]
  return { path, model, train, adapter: ['--model', model, '--adapter', path('out')] }
}

const rowsOf = (stdout: string) =>
  stdout
    .trim()
    .split('\n')
    .map(line => JSON.parse(line))

describe('images', () => {
  it('are learnt from folders of classes, evaluated, predicted and merged', async () => {
    const { path, train, adapter } = await imageSetting()
    await writeColours(path('images/validation'), 2)
    const learn = ['--epochs', '10', '--learning-rate', '0.02', '--set', 'target_modules=all-linear']
    const call = await peft([...train, '--data', path('images'), ...learn, '--eval-strategy', 'no', '--json'])
    expect(call.stderr).toBe('')
    expect(call.code).toBe(0)
    expect(call.result()).toMatchObject({ task: 'image_cls', labels: ['blue', 'red'], metrics: { eval_accuracy: 1 } })
    const notes = call.events().map(({ message }) => String(message))
    expect(notes).toContain('data: classes blue, red; 8 for training, 4 for evaluation')

    const evaluated = await peft(['evaluate', ...adapter, '--data', path('images'), '--json'])
    expect(evaluated.result()).toMatchObject({ task: 'image_cls', examples: 4, metrics: { eval_accuracy: 1 } })
    const one = await peft(['predict', ...adapter, '--data', await writeImage(path('new.png'), COLOURS.red, 2)])
    expect(rowsOf(one.stdout)).toMatchObject([{ index: 0, image: path('new.png'), label: 'red' }])

    expect((await peft(['merge', ...adapter, '--output', path('merged'), '--json'])).code).toBe(0)
    const whole = await peft(['predict', '--model', path('merged'), '--data', path('images/validation')])
    expect(rowsOf(whole.stdout).map(({ label }) => label)).toEqual(['blue', 'blue', 'red', 'red'])
    const [config, adapterConfig] = [path('merged/config.json'), path('out/adapter_config.json')]
    expect(JSON.parse(await readFile(config, 'utf8')).id2label).toEqual({ 0: 'blue', 1: 'red' })
    expect(JSON.parse(await readFile(adapterConfig, 'utf8')).task_type).toBeNull()
  })

  it('are read from a table, split, and mirrored when asked', async () => {
    const { path, train } = await imageSetting()
    const lines = ['red', 'blue'].flatMap(name =>
      [0, 1, 2, 3].map(i => `train/${name}/${i}.${i % 2 ? 'png' : 'jpg'},${name}`),
    )
    await writeFile(path('images/table.csv'), `file_name,category\n${lines.join('\n')}\n`)
    const data = ['--data', path('images/table.csv'), '--eval-split', '0.25', '--flip', '--max-steps', '2']
    const { code, stderr } = await peft([...train, ...data])
    expect(code).toBe(0)
    expect(stderr).toContain('6 for training, 2 for evaluation')
    expect(stderr).not.toContain('tokens/s')
    const record = JSON.parse(await readFile(path('out/peft_ts.json'), 'utf8'))
    expect(record).toMatchObject({ task: 'IMAGE_CLS', columns: { image: 'file_name', label: 'category' } })
  })

  it('that cannot be read are all named, and left out with --skip-bad', async () => {
    const { path, train } = await imageSetting()
    await writeFile(
      path('images/train/red/broken.jpg'),
      (await readFile(path('images/train/red/0.jpg'))).subarray(0, 300),
    )
    await writeFile(path('images/train/blue/empty.png'), '')
    const data = ['--data', path('images'), '--max-steps', '1']
    const refused = await peft([...train, ...data])
    expect(refused.code).toBe(1)
    expect(refused.stderr).toMatch(/2 of 10 images cannot be used.*blue\/empty\.png.*red\/broken\.jpg.*--skip-bad/s)
    const skipped = await peft([...train, ...data, '--skip-bad'])
    expect(skipped.code).toBe(0)
    expect(skipped.stderr.match(/warning: left out row \d+: /g)).toHaveLength(2)
    expect(skipped.stderr).toContain('8 for training')
  })

  it('say what is missing: files, folders, classes, labels', async () => {
    const { path, train } = await imageSetting(2)
    const told = async (data: string, ...more: string[]) => {
      const { code, stderr } = await peft([...train, '--data', path(data), ...more])
      expect([code, stderr]).toEqual([code === 2 ? 2 : 1, expect.stringContaining('error: ')])
      return stderr.slice(stderr.indexOf('error: '))
    }
    expect(await told('nothing')).toMatch(/nothing: there is no such file or folder/)
    await mkdir(path('bare'))
    expect(await told('bare')).toMatch(/Found no image in .*bare.*It is empty/)
    await writeImage(path('flat/a.png'), COLOURS.red)
    expect(await told('flat')).toMatch(/Nothing says the label.*a folder of its name, or write metadata\.csv/)
    await rm(path('images/train/blue'), { recursive: true })
    expect(await told('images')).toMatch(/all 2 rows have the label "red"; a classifier needs at least two/)
    await writeFile(path('table.csv'), 'file_name,label\nflat/a.png,red\ngone.png,blue\n')
    expect(await told('table.csv')).toMatch(/row 1: Could not read an image, .*gone\.png: there is no such file/)
    await writeFile(path('table.csv'), 'file_name,label\nflat/a.png,red\nflat/a.png,\n')
    expect(await told('table.csv')).toMatch(/Row 1: the label in column "label" is an empty string/)
    await writeFile(path('table.csv'), 'file_name,colour\nflat/a.png,red\n')
    expect(await told('table.csv')).toMatch(/which column holds the label/)
    expect(await told('images', '--language', 'en')).toMatch(/--language belongs to models of speech/)
    await writeFile(path('sound.wav'), toneWav(300))
    expect(await told('sound.wav')).toMatch(/is a recording, and the model takes images/)
  })
})

describe('speech', () => {
  it('is learnt, evaluated by its words, written down and merged', async () => {
    const folder = await temporaryFolder()
    const path = (name: string) => join(folder, name)
    const model = await saveTinyWhisper(folder)
    await writeTones(path('tones'), 8)
    const train = ['train', '--model', model, '--data', path('tones'), '--output', path('out'), ...FAST]
    const adapter = ['--model', model, '--adapter', path('out')]
    const learn = ['--epochs', '30', '--learning-rate', '0.02', '--set', 'target_modules=all-linear', '--set', 'r=8']

    const untold = await peft(train)
    expect([untold.code, untold.stderr]).toEqual([1, expect.stringMatching(/hears several languages.*"en", "de"/)])
    const call = await peft([
      ...train,
      ...learn,
      '--language',
      'german',
      '--eval-data',
      path('tones'),
      '--eval-strategy',
      'no',
      '--json',
    ])
    expect(call.stderr).toBe('')
    expect(call.code).toBe(0)
    expect(call.result()).toMatchObject({ task: 'seq_2_seq_lm' })
    const notes = call.events().map(({ message }) => String(message))
    expect(notes).toContain('data: transcribe, spoken language de; 8 for training, 8 for evaluation')
    expect(notes.some(note => note.includes('2 recordings had another sampling rate'))).toBe(true)

    const evaluated = await peft(['evaluate', ...adapter, '--data', path('tones'), '--json'])
    expect(evaluated.result().metrics).toMatchObject({ eval_wer: 0, eval_cer: 0, eval_exact_match: 1 })
    const lossOnly = await peft(['evaluate', ...adapter, '--data', path('tones'), '--no-generate', '--json'])
    expect(lossOnly.result().metrics).not.toHaveProperty('eval_wer')
    await writeFile(path('new.wav'), toneWav(1535))
    const one = await peft(['predict', ...adapter, '--data', path('new.wav')])
    expect(rowsOf(one.stdout)).toEqual([{ index: 0, audio: path('new.wav'), text: 'a high tone' }])

    expect((await peft(['merge', ...adapter, '--output', path('merged'), '--json'])).code).toBe(0)
    const whole = await peft(['predict', '--model', path('merged'), '--data', path('tones/clips')])
    expect(
      rowsOf(whole.stdout)
        .map(({ text }) => text)
        .slice(0, 2),
    ).toEqual(['low tone', 'a high tone'])
  })

  it('says what is wrong with recordings and tables', async () => {
    const folder = await temporaryFolder()
    const path = (name: string) => join(folder, name)
    const model = await saveTinyWhisper(folder)
    const told = async (csv: string, ...more: string[]) => {
      await writeFile(path('table.csv'), csv)
      const data = ['--data', path('table.csv'), '--output', path('out'), '--language', 'en', '--max-steps', '1']
      const { code, stderr } = await peft(['train', '--model', model, ...data, ...FAST, ...more])
      return { code, stderr }
    }
    await writeFile(path('good.wav'), toneWav(300))
    await writeFile(path('bad.wav'), 'ID3 and so on')
    await writeFile(path('long.wav'), toneWav(300, { seconds: 1.5 }))
    const rows = 'path,sentence\ngood.wav,low tone\n'
    expect(await told(`${rows}bad.wav,low tone\n`)).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/bad\.wav.*no WAV file.*--skip-bad/s),
    })
    expect(await told(`${rows}long.wav,low tone\n`)).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(
        /1 of 2 recordings is too long.*hears 1 seconds.*long\.wav lasts 1\.5 seconds.*--overlong skip/s,
      ),
    })
    expect(await told(`${rows}good.wav,${'low '.repeat(12)}\n`)).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/the text of row 1 has 16 tokens/),
    })
    expect(await told(`${rows}good.wav,\n`)).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/Row 1: its text is empty/),
    })
    const skipped = await told(`${rows}bad.wav,low tone\nlong.wav,low tone\n`, '--skip-bad', '--overlong', 'skip')
    expect(skipped.code).toBe(0)
    expect(skipped.stderr).toMatch(/left out row 1: .*bad\.wav/)
    expect(skipped.stderr).toMatch(/1 recordings are too long for the model and were left out/)
    expect(await told(rows, '--overwrite', '--language', 'english', '--flip')).toMatchObject({
      code: 2,
      stderr: expect.stringMatching(/--flip belongs to models of images/),
    })
    expect(await told(rows, '--overwrite', '--language', 'geman')).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/Did you mean "german"/i),
    })
  })
})
