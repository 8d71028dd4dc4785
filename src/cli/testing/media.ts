/** @file Tiny models of images and speech with their files, and images and recordings that they tell apart. */
import { mkdir, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import sharp from 'sharp'
import { toneWav, whisperTokenizerFiles } from '../../data/testing/speech.ts'
import { AutoConfig, AutoModelForImageClassification, AutoModelForSpeechSeq2Seq } from '../../models/index.ts'

/** Writes a tiny ViT with its preparation of images: 16 x 16 pixels. */
export async function saveTinyViT(parent: string): Promise<string> {
  const folder = join(parent, 'tiny-vit')
  const config = AutoConfig.fromJSON({
    ...{ model_type: 'vit', architectures: ['ViTForImageClassification'], image_size: 16, patch_size: 8 },
    ...{ hidden_size: 16, num_hidden_layers: 1, num_attention_heads: 2, intermediate_size: 24 },
    ...{ hidden_dropout_prob: 0, attention_probs_dropout_prob: 0, initializer_range: 0.2 },
  })
  const model = AutoModelForImageClassification.fromConfig(config)
  model.initialize(1)
  await mkdir(folder, { recursive: true })
  await model.savePretrained(folder)
  await writeJson(join(folder, 'preprocessor_config.json'), {
    ...{ image_processor_type: 'ViTImageProcessor', do_resize: true, size: { height: 16, width: 16 }, resample: 2 },
    ...{ image_mean: [0.5, 0.5, 0.5], image_std: [0.5, 0.5, 0.5] },
  })
  return folder
}

/** Writes an image of one colour with some shades; the name's ending says how. */
export async function writeImage(path: string, [red, green, blue]: readonly number[], shade = 0): Promise<string> {
  const [width, height] = [20 + 3 * shade, 18 + shade]
  const data = Uint8Array.from({ length: width * height * 3 }, (_, i) => {
    const base = [red, green, blue][i % 3]
    return Math.min(255, Math.max(0, base + ((Math.floor(i / 3) + 5 * shade) % 17) - 8))
  })
  await mkdir(dirname(path), { recursive: true })
  await sharp(data, { raw: { width, height, channels: 3 } }).toFile(path)
  return path
}

/** The colours of the two classes. */
export const COLOURS = { blue: [30, 60, 200], red: [210, 50, 40] } as const

/** Writes a folder of a class each, JPEG and PNG in turn. */
export async function writeColours(folder: string, count: number): Promise<string> {
  for (const [name, colour] of Object.entries(COLOURS)) {
    for (let i = 0; i < count; i++) await writeImage(join(folder, name, `${i}.${i % 2 ? 'png' : 'jpg'}`), colour, i)
  }
  return folder
}

/** Writes a tiny Whisper that hears one second, with its tokenizer and its preparation of sound. */
export async function saveTinyWhisper(parent: string): Promise<string> {
  const folder = join(parent, 'tiny-whisper')
  const ids = { pad_token_id: 1, bos_token_id: 1, eos_token_id: 1, decoder_start_token_id: 2 }
  const config = AutoConfig.fromJSON({
    ...{ model_type: 'whisper', architectures: ['WhisperForConditionalGeneration'], vocab_size: 12, d_model: 16 },
    ...{ num_mel_bins: 8, max_source_positions: 50, max_target_positions: 12, init_std: 0.3, ...ids },
    ...{ encoder_layers: 1, encoder_attention_heads: 2, encoder_ffn_dim: 24 },
    ...{ decoder_layers: 1, decoder_attention_heads: 2, decoder_ffn_dim: 24 },
  })
  const model = AutoModelForSpeechSeq2Seq.fromConfig(config)
  model.initialize(1)
  await mkdir(folder, { recursive: true })
  await model.savePretrained(folder)
  await writeJson(join(folder, 'generation_config.json'), { ...ids, is_multilingual: true })
  await writeJson(join(folder, 'preprocessor_config.json'), {
    ...{ feature_extractor_type: 'WhisperFeatureExtractor', feature_size: 8, chunk_length: 1 },
  })
  for (const [name, json] of Object.entries(whisperTokenizerFiles())) await writeJson(join(folder, name), json)
  return folder
}

/** Writes recordings of two tones with a table of what they say. */
export async function writeTones(folder: string, count: number): Promise<string> {
  await mkdir(join(folder, 'clips'), { recursive: true })
  const lines = ['file_name,transcription']
  for (let i = 0; i < count; i++) {
    const isHigh = i % 2 === 1
    // Some are in stereo, some have another rate: they are brought to what the model hears.
    const how = { seconds: 0.4 + 0.02 * i, rate: i % 3 === 2 ? 22_050 : 16_000, channels: i % 4 === 3 ? 2 : 1 }
    await writeFile(join(folder, 'clips', `${i}.wav`), toneWav((isHigh ? 1500 : 300) + 10 * i, how))
    lines.push(`clips/${i}.wav,${isHigh ? 'a high tone' : 'low tone'}`)
  }
  await writeFile(join(folder, 'metadata.csv'), `${lines.join('\n')}\n`)
  return folder
}

const writeJson = (path: string, json: object) => writeFile(path, JSON.stringify(json))
