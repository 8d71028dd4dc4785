/** @file Image files into pixels, with the optional decoder `sharp`. Node only. */
import type { RgbImage } from './image-resize.ts'

/** The endings of the files that can be decoded. */
export const IMAGE_EXTENSIONS: readonly string[] = ['.jpg', '.jpeg', '.png', '.webp', '.gif', '.tif', '.tiff', '.avif']

type Sharp = typeof import('sharp')['default']

let loading: Promise<Sharp> | undefined

/** The decoder, loaded when an image is read for the first time. */
async function loadSharp(): Promise<Sharp> {
  loading ??= import('sharp').then(
    ({ default: sharp }) => {
      // Each file is read once: what a cache of the decoder keeps is memory for nothing.
      sharp.cache(false)
      return sharp
    },
    cause => {
      loading = undefined
      throw new Error(
        `Image files are decoded with the package "sharp", which could not be loaded (${firstLine(cause)}). Install it ` +
          'with: npm install sharp',
        { cause },
      )
    },
  )
  return loading
}

/** Throws where image files cannot be decoded at all. */
export async function requireDecoder(): Promise<void> {
  await loadSharp()
}

/**
 * Decodes an image file (JPEG, PNG, WebP, GIF, TIFF, AVIF) to red, green and blue, upright as its EXIF orientation says.
 * Grey becomes three equal channels, 16 bits become 8, CMYK becomes RGB; an alpha channel is left away, as Pillow's
 * `convert('RGB')` does; of several frames the first is taken.
 *
 * @param source the path of a file, or its bytes
 * @throws when the file is not there, or is no whole image; the message names a path that was given
 */
export async function decodeImage(source: string | Uint8Array): Promise<RgbImage> {
  const sharp = await loadSharp()
  const bytes = typeof source === 'string' ? await readBytes(source, 'an image') : source
  const name = typeof source === 'string' ? source : 'an image'
  try {
    const { data, info } = await sharp(bytes, { failOn: 'truncated', autoOrient: true })
      .toColourspace('srgb')
      .removeAlpha()
      .raw({ depth: 'uchar' })
      .toBuffer({ resolveWithObject: true })
    const { width, height, channels } = info
    return { width, height, data: channels === 3 ? data : greyToRgb(data, channels) }
  } catch (cause) {
    throw new Error(
      `Could not decode ${name}: ${firstLine(cause)}. Expected a whole JPEG, PNG, WebP, GIF, TIFF or AVIF image; replace ` +
        'the file, or leave it out.',
      { cause },
    )
  }
}

function greyToRgb(data: Uint8Array, channels: number): Uint8Array {
  const result = new Uint8Array((data.length / channels) * 3)
  for (let i = 0; i < result.length; i++) result[i] = data[Math.floor(i / 3) * channels]
  return result
}

/** The bytes of a file. Throws, naming it and what it is for. */
export async function readBytes(path: string, what: string): Promise<Uint8Array> {
  const { readFile } = await import('node:fs/promises')
  try {
    return await readFile(path)
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException
    const reason = code === 'ENOENT' ? 'there is no such file' : code === 'EISDIR' ? 'it is a folder' : message
    throw new Error(`Could not read ${what}, ${path}: ${reason}.`, { cause })
  }
}

const firstLine = (cause: unknown) => (cause as Error).message.split('\n')[0].replace(/\.$/, '')
