/** @file Batches of images and of recordings, and what is checked of them before a training. */
import {
  type FloatTensor,
  IGNORE_INDEX,
  type ImageFeature,
  type PreparedImage,
  padRows,
  type RgbImage,
  type SpeechFeature,
} from '../data/index.ts'
import { hashString } from '../util/random.ts'
import type { Batch } from './collate.ts'
import { type Examples, rowOf } from './examples.ts'
import type { ModelFacts, TrainableModel } from './model.ts'

/** An image or a recording, prepared for a model. */
export type MediaFeature = ImageFeature | SpeechFeature

/** Whether an example is an image that `prepareImages` made. */
export function isImage(example: unknown): example is ImageFeature {
  return typeof (example as ImageFeature | undefined)?.image?.read === 'function'
}

/** Whether an example is a recording that `prepareSpeech` made. */
export function isSpeech(example: unknown): example is SpeechFeature {
  return typeof (example as SpeechFeature | undefined)?.spectrogram?.read === 'function'
}

/**
 * The collator for images that `prepareImages` made: `pixel_values`, `[batch, 3, height, width]`, and `labels` where there
 * are some. The Trainer takes it by itself.
 *
 * Which images with a `flipSeed` are mirrored follows from the seed and from what stands in the batch, so that a training
 * that is resumed shows what it would have shown.
 */
export function imageCollator(features: readonly ImageFeature[]): Batch {
  const processors = new Set(features.map(({ image }) => image.processor))
  if (processors.size > 1) {
    throw new Error('Could not form a batch: its images were prepared by different processors; prepare all with one.')
  }
  const rows = features.map(({ image }) => image.row).join()
  const images = features.map(({ image, flipSeed }, place) => {
    const isMirrored = flipSeed !== undefined && hashString(`${flipSeed} flips ${place} of ${rows}`) % 2 === 1
    const pixels: RgbImage = { width: image.width, height: image.height, data: image.read() }
    return isMirrored ? mirrored(pixels) : pixels
  })
  const [{ image }] = features
  const labelled = features.every(({ labels }) => labels !== undefined)
  return {
    ...image.processor.normalize(images),
    ...(labelled && {
      labels: {
        dtype: 'int64',
        dims: [features.length],
        data: BigInt64Array.from(features, ({ labels }) => BigInt(labels!)),
      },
    }),
  }
}

/** The image with left and right exchanged. */
function mirrored({ width, height, data }: RgbImage): RgbImage {
  const result = new Uint8Array(data.length)
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const [from, to] = [(y * width + x) * 3, (y * width + width - 1 - x) * 3]
      for (let channel = 0; channel < 3; channel++) result[to + channel] = data[from + channel]
    }
  }
  return { width, height, data: result }
}

/**
 * The collator for recordings that `prepareSpeech` made: `input_features`, `[batch, bands, frames]`, and where there are
 * texts `labels`, filled up with -100. The Trainer takes it by itself.
 */
export function speechCollator(features: readonly SpeechFeature[]): Batch {
  const labels = features.flatMap(feature => (feature.labels ? [feature.labels] : []))
  return {
    input_features: spectrograms(features),
    ...(labels.length === features.length && { labels: padRows(labels, IGNORE_INDEX) }),
  }
}

function spectrograms(features: readonly SpeechFeature[]): FloatTensor {
  const [{ spectrogram: first }] = features
  const size = first.bands * first.frames
  const data = new Float32Array(features.length * size)
  features.forEach(({ spectrogram: { bands, frames, silence, read } }, i) => {
    if (bands !== first.bands || frames !== first.frames) {
      throw new Error(
        `Could not form a batch: spectrograms have ${first.bands} x ${first.frames} and ${bands} x ${frames} bands and ` +
          'frames; prepare all with one extractor.',
      )
    }
    const values = read()
    const used = values.length / bands
    for (let band = 0; band < bands; band++) {
      const start = i * size + band * frames
      data.set(values.subarray(band * used, (band + 1) * used), start)
      data.fill(silence, start + used, start + frames)
    }
  })
  return { dtype: 'float32', dims: [features.length, first.bands, first.frames], data }
}

/**
 * Refuses images and recordings that the model cannot take: of another size than it was made for, with classes outside its
 * labels, with tokens outside its vocabulary or more of them than it says.
 */
export function checkMedia(examples: Examples<unknown>, model: TrainableModel, facts: ModelFacts): void {
  const specs = model.inputSpecs()
  examples.items.forEach((example, i) => {
    const where = `The ${examples.name}, row ${rowOf(examples, i)}`
    if (isImage(example)) checkImage(example, where, specs.pixel_values?.shape, facts)
    else if (isSpeech(example)) checkSpeech(example, where, specs.input_features?.shape, facts)
    else throw new Error(`${where}: it is no image or recording, as the first example is; train the two apart.`)
  })
}

type Shape = readonly unknown[] | undefined

function checkImage({ image, labels }: ImageFeature, where: string, shape: Shape, { num_labels }: ModelFacts): void {
  if (!shape) throw new Error(`${where}: it is an image, and the model takes no pixel_values; take a model of images.`)
  const [, , height, width] = shape
  if (image.height !== height || image.width !== width) throw new Error(wrongSize(where, image, [height, width]))
  if (labels === undefined || num_labels === undefined) return
  if (Number.isInteger(labels) && labels >= 0 && labels < num_labels) return
  throw new Error(
    `${where}: the label ${labels} is not one of the model's ${num_labels} classes (0 to ${num_labels - 1}); open the ` +
      'model with numLabels to match, or correct the row.',
  )
}

function wrongSize(where: string, { height, width }: PreparedImage, expected: readonly unknown[]): string {
  return (
    `${where}: the image comes out as ${height} x ${width}, and the model was made for ${expected.join(' x ')}; take the ` +
    "preprocessor_config.json of the model, or set the size (or crop_size) in it to the model's image_size."
  )
}

function checkSpeech({ spectrogram, labels }: SpeechFeature, where: string, shape: Shape, facts: ModelFacts): void {
  if (!shape)
    throw new Error(`${where}: it is a recording, and the model takes no input_features; take a model of speech.`)
  const [, bands, frames] = shape
  if (spectrogram.bands !== bands || spectrogram.frames !== frames) {
    throw new Error(
      `${where}: its spectrogram has ${spectrogram.bands} bands and ${spectrogram.frames} frames, the model hears ${bands} ` +
        `and ${frames}; take the preprocessor_config.json of the model.`,
    )
  }
  if (!labels) return
  const { max_position_embeddings: limit, vocab_size = Number.POSITIVE_INFINITY } = facts
  if (limit !== undefined && labels.length > limit) {
    throw new Error(
      `${where}: its text has ${labels.length} tokens, the model says at most ${limit}; give prepareSpeech maxLength: ${limit}.`,
    )
  }
  const stranger = labels.find(id => !(Number.isInteger(id) && id >= 0 && id < vocab_size))
  if (stranger === undefined) return
  throw new Error(
    `${where}: the token ${stranger} is outside the model's vocabulary of ${vocab_size}; take the model's own tokenizer.`,
  )
}
