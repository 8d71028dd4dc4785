/** @file A float32 copy of a checkpoint stored in another float type, made once and kept in a cache. Node only. */
import { createHash } from 'node:crypto'
import { stat } from 'node:fs/promises'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { toFloat32 } from './cast.ts'
import { bytesPerElement, type Dtype, isFloatDtype } from './dtype.ts'
import { SafetensorsError } from './error.ts'
import { SafetensorsFile } from './file.ts'
import type { TensorInfo, TensorReader } from './reader.ts'
import { saveFile } from './save.ts'
import type { TensorEntry } from './serialize.ts'

// Divisible by the size of every element; small enough that a conversion takes little memory, whatever the tensor.
const PIECE_BYTES = 2 ** 23

/** Where converted copies are kept. */
export interface ConversionOptions {
  /** The cache folder; `$PEFT_TS_CACHE` or `~/.cache/peft-ts` unless given. Copies lie in its folder `converted`. */
  cacheDir?: string
}

/**
 * The same tensors with every floating-point one in float32, which an engine can map into memory where it cannot
 * compute in float16, bfloat16, float8 or float64. A checkpoint without such tensors is returned as it is. Any other is
 * converted, in pieces, to a file in the cache (a float16 model takes twice its size there), which serves every later
 * call until the checkpoint's files change. Integers are copied. The result and the given checkpoint are closed
 * separately.
 */
export async function convertedToFloat32<T extends TensorReader>(
  checkpoint: T,
  options: ConversionOptions = {},
): Promise<T | SafetensorsFile> {
  if (!checkpoint.names.some(name => needsConversion(checkpoint.info(name).dtype))) return checkpoint
  const path = join(options.cacheDir ?? defaultCacheDir(), 'converted', `${await fingerprint(checkpoint)}.safetensors`)
  return (await openCached(path)) ?? (await convert(checkpoint, path))
}

function needsConversion(dtype: Dtype): boolean {
  return isFloatDtype(dtype) && dtype !== 'F32'
}

function defaultCacheDir(): string {
  return process.env.PEFT_TS_CACHE ?? join(homedir(), '.cache', 'peft-ts')
}

async function fingerprint(checkpoint: TensorReader): Promise<string> {
  const hash = createHash('sha256')
  for (const path of [...checkpoint.paths].sort()) {
    const { size, mtimeNs } = await stat(path, { bigint: true })
    hash.update(JSON.stringify([path, String(size), String(mtimeNs)]))
  }
  return hash.digest('hex').slice(0, 32)
}

/** The copy at `path`; `undefined` where there is none, or where it is damaged and has to be made again. */
async function openCached(path: string): Promise<SafetensorsFile | undefined> {
  try {
    return await SafetensorsFile.open(path)
  } catch (error) {
    if (error instanceof SafetensorsError) return undefined
    throw error
  }
}

async function convert(checkpoint: TensorReader, path: string): Promise<SafetensorsFile> {
  const entries = checkpoint.names.map((name): TensorEntry => {
    const info = checkpoint.info(name)
    const dtype = needsConversion(info.dtype) ? 'F32' : info.dtype
    return { name, dtype, shape: info.shape, stream: () => convertedPieces(checkpoint, info) }
  })
  await saveFile(path, entries, checkpoint.metadata)
  return SafetensorsFile.open(path)
}

async function* convertedPieces(checkpoint: TensorReader, info: TensorInfo): AsyncGenerator<ArrayBufferView> {
  const piece = PIECE_BYTES * (bytesPerElement(info.dtype) > 1 ? 1 : 0.25)
  for (let begin = 0; begin < info.byteLength; begin += piece) {
    const bytes = await checkpoint.read(info.name, { begin, end: Math.min(begin + piece, info.byteLength) })
    yield needsConversion(info.dtype) ? toFloat32(info.dtype, bytes) : bytes
  }
}
