/** @file Rows of images and labels into classification features. */
import { ByteStore } from './byte-store.ts'
import { classOf } from './class-labels.ts'
import { discoverLabels } from './classification.ts'
import { Dataset, type Row } from './dataset.ts'
import { decodeImage, requireDecoder } from './decode-image.ts'
import type { ImageProcessor } from './image.ts'
import type { RgbImage } from './image-resize.ts'
import { type BadRow, inParallel, type MediaOptions, type PreparedMedia, refuseBad } from './media.ts'

/** An image as the model sees it, but still bytes. */
export interface PreparedImage {
  width: number
  height: number
  /** Red, green and blue of each pixel. They must not be changed. */
  read(): Uint8Array
  /** What turns the bytes into numbers. */
  processor: ImageProcessor
  /** Its place in the data set. */
  row: number
}

/** One image to classify. */
export interface ImageFeature {
  image: PreparedImage
  /** Its class; absent where it is to be predicted. */
  labels?: number
  /** Where given, the image is shown as it is or mirrored, drawn anew from this seed in each batch. */
  flipSeed?: number
}

/** Options of {@link prepareImages}. */
export interface ImageOptions extends MediaOptions {
  /** Column of the image: the path of a file, its bytes, or pixels (`RgbImage`). Default 'image'. */
  imageColumn?: string
  /** Column of the label. Default 'label'. */
  labelColumn?: string
  /** Label names in class order; by default discovered. For an evaluation set give the training set's. */
  labels?: readonly string[]
  /** Show each image mirrored, left to right, half of the time; this seed decides when. Default: never. */
  flipSeed?: number
}

/** Images ready for a model, with the names of their classes. */
export interface PreparedImages extends PreparedMedia<ImageFeature> {
  /** `labels[c]` is the name of class c. */
  labels: string[]
}

/**
 * Decodes, resizes and crops images as the model wants them. What is kept of each are bytes, in memory or (from
 * `memoryLimit` on) in a temporary file; numbers are made of them batch by batch.
 *
 * @param source rows of `{ image, label }`
 * @throws when images cannot be read (unless `skipBad`), naming each, and for labels that are missing or not known
 * @example
 * const processor = await ImageProcessor.fromPretrained('./vit')
 * const trainDataset = await prepareImages([{ image: 'a.jpg', label: 'cat' }, { image: 'b.jpg', label: 'dog' }], processor)
 * const trainer = new Trainer({ model, trainDataset })
 */
export async function prepareImages(
  source: Dataset | readonly Row[],
  processor: ImageProcessor,
  options: ImageOptions = {},
): Promise<PreparedImages> {
  const { imageColumn = 'image', labelColumn = 'label', hasTargets = true, flipSeed, skipBad = false } = options
  const dataset = source instanceof Dataset ? source : new Dataset(source)
  const rows = [...dataset]
  const labels = options.labels ? [...options.labels] : hasTargets ? discoverLabels(dataset, labelColumn) : []
  const classes = new Map(labels.map((name, index) => [name, index]))
  const targets = rows.map((row, i) => (hasTargets ? classOf(row, labelColumn, i, classes) : undefined))
  if (rows.some(row => !isPixels(row[imageColumn]))) await requireDecoder()
  const store = await ByteStore.create(options.memoryLimit)
  const bad: BadRow[] = []
  const features: (ImageFeature | undefined)[] = await inParallel(rows, options, async (row, i) => {
    const name = typeof row[imageColumn] === 'string' ? row[imageColumn] : `row ${i}`
    try {
      const { width, height, data } = processor.resize(await pixelsOf(row[imageColumn], i, imageColumn), i)
      const read = store.put(data instanceof Uint8Array ? data : new Uint8Array(data))
      const image = { width, height, read, processor, row: i }
      const label = targets[i]
      return { image, ...(label !== undefined && { labels: label }), ...(flipSeed !== undefined && { flipSeed }) }
    } catch (cause) {
      bad.push({ row: i, name, reason: (cause as Error).message })
      return undefined
    }
  })
  refuseBad(bad, rows.length, 'image', skipBad)
  const kept = features.flatMap((feature, row) => (feature ? [{ feature, row }] : []))
  return { features: kept.map(({ feature }) => feature), rows: kept.map(({ row }) => row), bad, tooLong: [], labels }
}

function isPixels(value: unknown): value is RgbImage {
  return typeof value === 'object' && value !== null && 'width' in value && 'height' in value && 'data' in value
}

async function pixelsOf(value: unknown, row: number, column: string): Promise<RgbImage> {
  if (isPixels(value)) return value
  if (typeof value === 'string' || value instanceof Uint8Array) return decodeImage(value)
  const got = value === undefined ? 'missing' : JSON.stringify(value)
  throw new Error(
    `Row ${row}: the image in column "${column}" is ${got}; expected the path of a file, its bytes, or { width, height, data }.`,
  )
}
