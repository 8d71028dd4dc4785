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
  /** Tensors to put together; their parts are not in the result. */
  joined?: readonly JoinedTensor[]
}

/** A tensor that a checkpoint holds in parts of one type, one behind the other. */
export interface JoinedTensor {
  readonly name: string
  /** The names of its parts, in their order. */
  readonly parts: readonly string[]
  readonly shape: readonly number[]
  readonly dtype: Dtype
  /** The file of its first part. */
  readonly path: string
}

/**
 * The same tensors with every floating-point one in float32, which an engine can map into memory where it cannot
 * compute in float16, bfloat16, float8 or float64, and with tensors that are stored in parts put together. A checkpoint
 * without either is returned as it is. Any other is
 * converted, in pieces, to a file in the cache (a float16 model takes twice its size there), which serves every later
 * call until the checkpoint's files change. Integers are copied. The result and the given checkpoint are closed
 * separately.
 */
export async function convertedToFloat32<T extends TensorReader>(
  checkpoint: T,
  options: ConversionOptions = {},
): Promise<T | SafetensorsFile> {
  const { cacheDir = defaultCacheDir(), joined = [] } = options
  const asItIs = joined.length === 0 && !checkpoint.names.some(name => needsConversion(checkpoint.info(name).dtype))
  if (asItIs) return checkpoint
  const path = join(
    cacheDir,
    'converted',
    `${await fingerprint(
      checkpoint,
      joined.map(({ name, parts, shape }) => [name, parts, shape]),
    )}.safetensors`,
  )
  return (await openCached(path)) ?? (await convert(checkpoint, joined, path))
}

function needsConversion(dtype: Dtype): boolean {
  return isFloatDtype(dtype) && dtype !== 'F32'
}

/** Where copies of checkpoints in other forms are kept: `$PEFT_TS_CACHE`, or `~/.cache/peft-ts`. */
export function defaultCacheDir(): string {
  return process.env.PEFT_TS_CACHE ?? join(homedir(), '.cache', 'peft-ts')
}

/** A name for what is made of a checkpoint's files: another one when a file, or what `settings` say (JSON), changes. */
export async function fingerprint(checkpoint: TensorReader, settings: readonly unknown[]): Promise<string> {
  const hash = createHash('sha256')
  for (const path of [...checkpoint.paths].sort()) {
    const { size, mtimeNs } = await stat(path, { bigint: true })
    hash.update(JSON.stringify([path, String(size), String(mtimeNs)]))
  }
  for (const setting of settings) hash.update(JSON.stringify(setting))
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

async function convert(
  checkpoint: TensorReader,
  joined: readonly JoinedTensor[],
  path: string,
): Promise<SafetensorsFile> {
  const parts = new Set(joined.flatMap(tensor => tensor.parts))
  const whole = checkpoint.names.filter(name => !parts.has(name))
  await saveFile(path, float32Entries(checkpoint, [...whole, ...joined]), checkpoint.metadata)
  return SafetensorsFile.open(path)
}

/** Tensors of a checkpoint, or such put together, to be written with every floating-point one in float32, in pieces. */
export function float32Entries(checkpoint: TensorReader, tensors: readonly (string | JoinedTensor)[]): TensorEntry[] {
  return tensors.map(tensor => {
    const joined = typeof tensor === 'string' ? { ...checkpoint.info(tensor), name: tensor, parts: [tensor] } : tensor
    const { name, dtype, shape, parts } = joined
    const infos = parts.map(part => checkpoint.info(part))
    const stream = () => convertedPieces(checkpoint, infos)
    return { name, dtype: needsConversion(dtype) ? 'F32' : dtype, shape, stream }
  })
}

async function* convertedPieces(
  checkpoint: TensorReader,
  parts: readonly TensorInfo[],
): AsyncGenerator<ArrayBufferView> {
  for (const { name, dtype, byteLength } of parts) {
    const piece = PIECE_BYTES * (bytesPerElement(dtype) > 1 ? 1 : 0.25)
    for (let begin = 0; begin < byteLength; begin += piece) {
      const bytes = await checkpoint.read(name, { begin, end: Math.min(begin + piece, byteLength) })
      yield needsConversion(dtype) ? toFloat32(dtype, bytes) : bytes
    }
  }
}
