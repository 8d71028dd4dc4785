/** @file From images to the inputs of models: resized, cropped, and normalised as preprocessor_config.json says. */
import type { FloatTensor } from './float-tensor.ts'
import { RESAMPLING, type RgbImage, resizeImage } from './image-resize.ts'
import { openPreprocessor, PreprocessorReader } from './preprocessor-config.ts'

/** A size to bring images to: both sides, or the shorter one, after which the other keeps the proportions. */
export type TargetSize = { readonly height: number; readonly width: number } | { readonly shortestEdge: number }

/** What is done to images; what is not named is not done. */
export interface ImageProcessorOptions {
  /** The size that images are brought to first. */
  size?: TargetSize
  /** How they are resized, by Pillow's number; bilinear unless told. */
  resample?: number
  /** The part in the middle that is taken then. */
  cropSize?: { readonly height: number; readonly width: number }
  /** The factor on the bytes. */
  rescaleFactor?: number
  /** Taken off each channel. */
  imageMean?: readonly number[]
  /** What each channel is divided by then. */
  imageStd?: readonly number[]
}

/**
 * Prepares images for a model. Images are pixels in memory; files (PNG, JPEG) have to be decoded before.
 *
 * @example
 * const processor = await ImageProcessor.fromPretrained(folder)
 * const { pixel_values } = processor.process({ width, height, data })
 */
export class ImageProcessor {
  readonly options: ImageProcessorOptions

  constructor(options: ImageProcessorOptions) {
    this.options = options
  }

  /** The settings in a model's folder. Node only. Throws when there are none, or they are not valid. */
  static async fromPretrained(folder: string): Promise<ImageProcessor> {
    return new ImageProcessor(readOptions(await openPreprocessor(folder, 'image_processor')))
  }

  /** The settings of a parsed preprocessor_config.json; `label` names it in errors. */
  static fromJSON(json: unknown, label = 'preprocessor_config.json'): ImageProcessor {
    return new ImageProcessor(readOptions(new PreprocessorReader(json, label)))
  }

  /**
   * The images as `pixel_values`, `[images, 3, height, width]`.
   *
   * @throws when an image has not as many bytes as its size says, or images come out in different sizes
   */
  process(images: RgbImage | readonly RgbImage[]): { pixel_values: FloatTensor } {
    const list = Array.isArray(images) ? (images as readonly RgbImage[]) : [images as RgbImage]
    return this.normalize(list.map((image, i) => this.resize(image, i)))
  }

  /**
   * The second half of {@link process}: images that were resized and cropped, as the numbers that the model takes.
   *
   * @throws when there are none, or they have different sizes
   */
  normalize(ready: readonly RgbImage[]): { pixel_values: FloatTensor } {
    if (ready.length === 0) throw new Error('Could not prepare images: got none, expected at least one.')
    const { height, width } = ready[0]
    const odd = ready.findIndex(image => image.height !== height || image.width !== width)
    if (odd > 0) {
      throw new Error(
        `Could not stack images: image 0 comes out as ${height} x ${width} and image ${odd} as ${ready[odd].height} x ` +
          `${ready[odd].width}; give a size of both sides, or a cropSize.`,
      )
    }
    const data = new Float32Array(ready.length * 3 * height * width)
    for (const [i, image] of ready.entries()) this.#write(image, data.subarray(i * 3 * height * width))
    return { pixel_values: { dtype: 'float32', dims: [ready.length, 3, height, width], data } }
  }

  /**
   * The first half of {@link process}: the image resized and cropped, still bytes, a quarter of what the model takes.
   *
   * @param index what errors call it
   */
  resize(image: RgbImage, index = 0): RgbImage {
    const { cropSize, resample = RESAMPLING.bilinear, size } = this.options
    const expected = image.height * image.width * 3
    if (image.data.length !== expected || expected === 0) {
      throw new Error(
        `Could not prepare image ${index}: it has ${image.data.length} bytes, expected ${image.height} x ${image.width} x ` +
          `3 = ${expected}, red, green and blue of each pixel; leave a fourth channel (alpha) out.`,
      )
    }
    const resized = size ? resizeImage(image, ...targetOf(image, size), resample) : image
    return cropSize ? cropCenter(resized, cropSize, index) : resized
  }

  /** Writes an image channel by channel. */
  #write({ data, height, width }: RgbImage, result: Float32Array): void {
    const { imageMean = [0, 0, 0], imageStd = [1, 1, 1], rescaleFactor = 1 } = this.options
    const pixels = height * width
    for (let channel = 0; channel < 3; channel++) {
      const [mean, deviation] = [imageMean[channel], imageStd[channel]]
      for (let i = 0; i < pixels; i++) {
        result[channel * pixels + i] = (data[i * 3 + channel] * rescaleFactor - mean) / deviation
      }
    }
  }
}

/** The height and width to resize to. */
function targetOf({ height, width }: RgbImage, size: TargetSize): [height: number, width: number] {
  if ('height' in size) return [size.height, size.width]
  const { shortestEdge: edge } = size
  const long = Math.trunc((edge * Math.max(height, width)) / Math.min(height, width))
  return height <= width ? [edge, long] : [long, edge]
}

function cropCenter(
  { data, height, width }: RgbImage,
  crop: { height: number; width: number },
  index: number,
): RgbImage {
  if (crop.height > height || crop.width > width) {
    throw new Error(
      `Could not crop image ${index}: it is ${height} x ${width}, the crop ${crop.height} x ${crop.width}; resize to at ` +
        'least that size first.',
    )
  }
  const [top, left] = [Math.floor((height - crop.height) / 2), Math.floor((width - crop.width) / 2)]
  const result = new Uint8Array(crop.height * crop.width * 3)
  for (let row = 0; row < crop.height; row++) {
    const start = ((top + row) * width + left) * 3
    result.set(data.subarray(start, start + crop.width * 3), row * crop.width * 3)
  }
  return { ...crop, data: result }
}

function readOptions(reader: PreprocessorReader): ImageProcessorOptions {
  const crops = reader.flag('do_center_crop', false)
  const size = reader.flag('do_resize', true) ? readSize(reader, 'size', crops) : undefined
  const crop = crops ? readSize(reader, 'crop_size', false) : undefined
  if (crop && !('height' in crop)) reader.fail('crop_size', 'a height and a width')
  const normalizes = reader.flag('do_normalize', true)
  return {
    size,
    resample: reader.count('resample', RESAMPLING.bilinear),
    cropSize: crop as ImageProcessorOptions['cropSize'],
    rescaleFactor: reader.flag('do_rescale', true) ? reader.number('rescale_factor', 1 / 255) : undefined,
    imageMean: normalizes ? readChannels(reader, 'image_mean') : undefined,
    imageStd: normalizes ? readChannels(reader, 'image_std') : undefined,
  }
}

/** A size; the older spelling, one number, means the shorter side where the image is cropped then, else both. */
function readSize(reader: PreprocessorReader, key: string, shortest: boolean): TargetSize {
  const value = reader.json[key]
  const isLength = (n: unknown): n is number => Number.isInteger(n) && (n as number) > 0
  if (isLength(value)) return shortest ? { shortestEdge: value } : { height: value, width: value }
  const { height, width, shortest_edge: shortestEdge } = (value ?? {}) as Record<string, unknown>
  if (isLength(height) && isLength(width)) return { height, width }
  if (isLength(shortestEdge)) return { shortestEdge }
  return reader.fail(key, 'a number of pixels, a height and a width, or a shortest_edge')
}

function readChannels(reader: PreprocessorReader, key: string): readonly number[] {
  const value = reader.json[key]
  const isRight = Array.isArray(value) && value.length === 3 && value.every(n => Number.isFinite(n))
  return isRight ? value : reader.fail(key, 'three numbers, of red, green and blue')
}
