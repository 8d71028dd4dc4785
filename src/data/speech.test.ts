/** @file Recordings as data: other sampling rates, Whisper's prompt, features. */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { temporaryFolder } from '../../test/temporary.ts'
import {
  loadSpeechDataset,
  openWhisperPrompt,
  prepareSpeech,
  readWav,
  resample,
  Tokenizer,
  type Waveform,
  WhisperFeatureExtractor,
  whisperPrompt,
} from './index.ts'
import { toneWav, whisperTokenizerFiles } from './testing/speech.ts'

const bytesOf = (json: object) => new TextEncoder().encode(JSON.stringify(json))
const tokenizer = new Tokenizer(
  'tiny',
  new Map(Object.entries(whisperTokenizerFiles()).map(([name, json]) => [name, bytesOf(json)])),
)
const id = (token: string) => tokenizer.tokenToId(token)!

const tone = (hertz: number, samplingRate: number, seconds = 0.2): Waveform => ({
  samples: Float32Array.from({ length: Math.round(seconds * samplingRate) }, (_, i) =>
    Math.sin((2 * Math.PI * hertz * i) / samplingRate),
  ),
  samplingRate,
  channels: 1,
})

/** The largest value in the middle, away from both ends. */
const loudest = (samples: Float32Array) =>
  Math.max(...samples.subarray(samples.length / 4, (3 * samples.length) / 4).map(Math.abs))

describe('resample', () => {
  it('gives the tone as it would have been recorded', () => {
    for (const [from, to] of [
      [44_100, 16_000],
      [48_000, 16_000],
      [8000, 16_000],
      [22_050, 16_000],
      [16_000, 11_025],
    ]) {
      const [got, expected] = [resample(tone(1000, from), to), tone(1000, to)]
      expect(got.samplingRate).toBe(to)
      expect(got.samples.length).toBe(expected.samples.length)
      const middle = (samples: Float32Array) => samples.subarray(400, samples.length - 400)
      expect(loudest(middle(got.samples).map((x, i) => x - middle(expected.samples)[i]))).toBeLessThan(1e-3)
    }
  })

  it('takes out what the new rate cannot hold', () => {
    expect(loudest(resample(tone(12_000, 44_100), 16_000).samples)).toBeLessThan(1e-3)
  })

  it('keeps constants, and what has the right rate already', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 60 }), fc.integer({ min: 1, max: 60 }), (from, to) => {
        const constant = { samples: new Float32Array(400 * from).fill(0.5), samplingRate: 100 * from, channels: 1 }
        const { samples } = resample(constant, 100 * to)
        expect(samples.length).toBe(400 * to)
        expect(samples[200 * to]).toBeCloseTo(0.5, 6)
      }),
      { numRuns: 10 },
    )
    const same = tone(300, 16_000)
    expect(resample(same, 16_000)).toBe(same)
    expect(() => resample(same, 0)).toThrow(/from 16000 to 0/)
  })
})

describe('whisperPrompt', () => {
  it('puts start, language, task and no timestamps in front', () => {
    const tokens = ['<|startoftranscript|>', '<|de|>', '<|translate|>', '<|notimestamps|>'].map(id)
    for (const language of ['de', 'German', 'german']) {
      expect(whisperPrompt(tokenizer, { language, task: 'translate' })).toEqual({
        tokens,
        language: 'de',
        task: 'translate',
      })
    }
    const english = ['<|startoftranscript|>', '<|notimestamps|>'].map(id)
    expect(whisperPrompt(tokenizer, { multilingual: false })).toEqual({ tokens: english, language: null, task: null })
  })

  it('asks for the language, names those it knows, and refuses others', () => {
    expect(() => whisperPrompt(tokenizer)).toThrow(/several languages: say with language.*"en", "de"/)
    expect(() => whisperPrompt(tokenizer, { language: 'germn' })).toThrow(/language "germn".*german/)
    expect(() => whisperPrompt(tokenizer, { multilingual: false, language: 'de' })).toThrow(/English alone/)
    expect(() => whisperPrompt(tokenizer, { language: 'de', task: 'sing' as never })).toThrow(/task is "sing"/)
  })

  it("takes what a model's files say, the older and the newer spelling", async () => {
    const newer = { 'generation_config.json': '{"is_multilingual":true,"language":"<|en|>","task":"translate"}' }
    const pairs = [
      [1, id('<|de|>')],
      [2, id('<|transcribe|>')],
    ]
    const older = { 'generation_config.json': JSON.stringify({ forced_decoder_ids: pairs }) }
    expect(await openWhisperPrompt(await temporaryFolder(newer), tokenizer)).toMatchObject({
      language: 'en',
      task: 'translate',
    })
    expect(await openWhisperPrompt(await temporaryFolder(older), tokenizer)).toMatchObject({
      language: 'de',
      task: 'transcribe',
    })
    const english = await temporaryFolder({ 'generation_config.json': '{"is_multilingual":false}' })
    expect((await openWhisperPrompt(english, tokenizer)).language).toBeNull()
  })
})

describe('prepareSpeech', () => {
  const extractor = new WhisperFeatureExtractor({ chunkLength: 1, featureSize: 8 })
  const { tokens: prompt } = whisperPrompt(tokenizer, { language: 'en' })
  const how = { tokenizer, prompt }

  it('makes labels of the prompt without its start, the text, and the end', async () => {
    const { features } = await prepareSpeech([{ audio: toneWav(300), text: 'low tone' }], extractor, how)
    const expected = ['<|en|>', '<|transcribe|>', '<|notimestamps|>', 'low', 'tone', '<|endoftext|>']
    expect(features[0].labels).toEqual(expected.map(id))
  })

  it('keeps the spectrogram of the extractor without its silence', async () => {
    const wav = toneWav(300, { seconds: 0.3 })
    const { features } = await prepareSpeech([{ audio: wav }], extractor, { hasTargets: false })
    const { bands, frames, silence, read } = features[0].spectrogram
    const { data } = extractor.extract(readWav(wav)).input_features
    const used = read().length / bands
    expect([bands, frames]).toEqual([8, 100])
    expect(used).toBeLessThan(35)
    for (let i = 0; i < data.length; i++) {
      const [band, frame] = [Math.floor(i / frames), i % frames]
      expect(frame < used ? read()[band * used + frame] : silence).toBe(data[i])
    }
  })

  it('resamples, mixes channels, and says how many', async () => {
    const rows = [toneWav(300), toneWav(300, { rate: 44_100, channels: 2 })].map(audio => ({ audio }))
    const { features, resampled } = await prepareSpeech(rows, extractor, { hasTargets: false })
    expect(resampled).toBe(1)
    const [own, other] = features.map(({ spectrogram }) => spectrogram.read())
    // The loudest band of a frame in the middle is the same one, as loud.
    expect(other[20]).toBeCloseTo(own[20], 2)
  })

  it('refuses, leaves out or cuts what is too long', async () => {
    const rows = [
      { audio: toneWav(300), text: 'low' },
      { audio: toneWav(300, { seconds: 1.25 }), text: 'low' },
      { audio: toneWav(300), text: 'low low low low' },
    ]
    const limited = { ...how, maxLength: 6 }
    await expect(prepareSpeech(rows, extractor, limited)).rejects.toThrow(
      /2 of 3 recordings are too long.*row 1 lasts 1\.3 seconds, the text of row 2 has 8 tokens.*overlong: 'skip'/,
    )
    const skipped = await prepareSpeech(rows, extractor, { ...limited, overlong: 'skip' })
    expect([skipped.rows, skipped.tooLong.map(({ index }) => index)]).toEqual([[0], [1, 2]])
    const cut = await prepareSpeech(rows, extractor, { ...limited, overlong: 'truncate' })
    expect(cut.features.map(({ labels }) => labels!.length)).toEqual([5, 5, 6])
    expect(cut.features[2].labels!.at(-1)).toBe(id('<|endoftext|>'))
  })

  it('names what cannot be heard, and what nobody said', async () => {
    const broken = { ...tone(300, 16_000), samples: Float32Array.of(0, Number.NaN) }
    const rows = [
      { audio: broken, text: 'low' },
      { audio: toneWav(300, { seconds: 0 }), text: 'low' },
      { audio: 'no.wav', text: 'a' },
    ]
    await expect(prepareSpeech(rows, extractor, how)).rejects.toThrow(
      /3 of 3.*no finite numbers.*empty.*no\.wav: there is no/s,
    )
    const good = { audio: toneWav(300) }
    await expect(prepareSpeech([{ ...good, text: ' ' }], extractor, how)).rejects.toThrow(/Row 0: its text is empty/)
    await expect(prepareSpeech([good], extractor, how)).rejects.toThrow(/column "text" is missing/)
    await expect(prepareSpeech([{ ...good, text: 'a' }], extractor)).rejects.toThrow(/give tokenizer and prompt/)
  })
})

describe('loadSpeechDataset', () => {
  it('reads tables of paths and texts, and folders where no texts are needed', async () => {
    const folder = await temporaryFolder({ 'a.wav': toneWav(300), 'b/c.wav': toneWav(300) })
    await writeFile(join(folder, 'validated.tsv'), 'client_id\tpath\tsentence\n1\ta.wav\thello there\n')
    const { rows } = await loadSpeechDataset(join(folder, 'validated.tsv'))
    expect(rows.at(0)).toEqual({ audio: join(folder, 'a.wav'), text: 'hello there' })
    const files = await loadSpeechDataset(folder, { hasTargets: false })
    expect(files.rows.column('audio')).toEqual([join(folder, 'a.wav'), join(folder, 'b/c.wav')])
    await expect(loadSpeechDataset(folder)).rejects.toThrow(
      /Nothing says the text of .*metadata\.csv with the columns file_name, text/,
    )
    const other = await temporaryFolder({ 'a.mp3': 'x', 'b.flac': 'x' })
    await expect(loadSpeechDataset(other)).rejects.toThrow(/2 of other kinds.*a\.mp3.*ffmpeg/)
  })
})
