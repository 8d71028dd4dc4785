/** @file What the configurations of vision transformers share. */
import { type ConfigReader, describeValue } from './reader.ts'

/** Height and width, in pixels. */
export type ImageSize = readonly [height: number, width: number]

/** The images that a model takes, and the patches that they are cut into. */
export interface PatchFields {
  /** The images' size; a single number in the file means a square. */
  readonly image_size: ImageSize
  /** The patches' size; a single number in the file means a square. */
  readonly patch_size: ImageSize
  readonly num_channels: number
}

/** Reads the sizes of images and patches. Throws where patches do not fill the images. */
export function readPatches(reader: ConfigReader, defaults: { image_size: number; patch_size: number }): PatchFields {
  const image_size = readSize(reader, 'image_size', defaults.image_size)
  const patch_size = readSize(reader, 'patch_size', defaults.patch_size)
  if (image_size.some((length, i) => length < patch_size[i])) {
    reader.fail('patch_size', `patches no larger than the images ("image_size", ${image_size.join(' x ')})`)
  }
  return { image_size, patch_size, num_channels: reader.integer('num_channels', 3) }
}

function readSize(reader: ConfigReader, key: string, fallback: number): ImageSize {
  const value = reader.get(key) ?? fallback
  const size = typeof value === 'number' ? [value, value] : value
  const isSize = Array.isArray(size) && size.length === 2 && size.every(n => Number.isInteger(n) && n > 0)
  if (isSize) return size as unknown as ImageSize
  return reader.fail(key, `a number of pixels or two, height and width (not ${describeValue(value)})`)
}
