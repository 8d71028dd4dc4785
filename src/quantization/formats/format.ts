/** @file What readers of other libraries' quantised checkpoints have in common. */
import { asTypedArray, type Dtype, type TensorReader, toFloat32 } from '../../weights/index.ts'
import type { QuantizedEntry } from '../file.ts'
import { fittingBlockSize, type QuantizedLayout, sizesOf } from '../layout.ts'
import { emptyParts } from '../pack.ts'
import { joinParts } from '../tensor.ts'

/** `quantization_config` of a config.json. */
export type RawConfig = Readonly<Record<string, unknown>>

/** What a checkpoint holds in packed form. */
export interface PackedTensors {
  /** The matrices in our form, under the names of their parameters. */
  readonly entries: readonly QuantizedEntry[]
  /** The names of the tensors that they were stored as. */
  readonly consumed: ReadonlySet<string>
}

/** Whole numbers of a matrix, with a scale and a zero point for each group of neighbours in a row. */
export interface Groups {
  readonly rows: number
  readonly columns: number
  readonly groupSize: number
  /** `[rows, columns]` */
  readonly codes: Uint8Array
  /** `[rows, groups]` */
  readonly zeros: Uint16Array
  /** `[rows, groups]` */
  readonly scales: Float32Array
}

/** The layout that holds such groups exactly; codes up to 15 take 4 bits where all zero points do as well. */
export function layoutOfGroups(
  where: string,
  { rows, columns, groupSize, zeros }: Omit<Groups, 'codes' | 'scales'>,
  bits: number,
): QuantizedLayout {
  const scheme = bits === 4 && zeros.every(zero => zero < 16) ? 'int4' : 'int8'
  const middle = scheme === 'int4' ? 8 : 128
  const base = { scheme, rows, columns, symmetric: zeros.every(zero => zero === middle), transposed: false } as const
  const wanted = Math.min(256, groupSize & -groupSize)
  const blockSize = fittingBlockSize(base, wanted)
  if (zeros.some(zero => zero > 255) || blockSize === undefined) {
    throw new Error(
      `${where}: groups of ${groupSize} in rows of ${columns} with ${bits} bits cannot be read; ` +
        'take a publication with groups of 32, 64 or 128 values',
    )
  }
  return { ...base, blockSize }
}

/** Groups in the form of a layout. */
export function packGroups(groups: Groups, layout: QuantizedLayout): Uint8Array {
  const { rows, columns, groupSize, codes, zeros, scales } = groups
  const parts = emptyParts(layout)
  const { blocks } = sizesOf(layout)
  const [perRow, groupsPerRow] = [columns / layout.blockSize, columns / groupSize]
  if (layout.scheme === 'int8') parts.packed.set(codes)
  else for (let i = 0; i < rows * columns; i += 2) parts.packed[i >> 1] = codes[i] | (codes[i + 1] << 4)
  for (let block = 0; block < blocks; block++) {
    const row = Math.floor(block / perRow)
    const group = row * groupsPerRow + Math.floor(((block % perRow) * layout.blockSize) / groupSize)
    parts.scales[block] = scales[group]
    if (layout.scheme === 'int4') parts.zeroPoints[block >> 1] |= zeros[group] << (4 * (block & 1))
    else if (!layout.symmetric) parts.zeroPoints[block] = zeros[group]
  }
  return joinParts(parts)
}

/** Reads tensors of a checkpoint that must be there, in a type and shape that are expected. */
export class PartReader {
  readonly checkpoint: TensorReader
  /** Where the matrix is, for messages. */
  readonly where: string
  readonly #prefix: string
  readonly #method: string

  constructor(checkpoint: TensorReader, prefix: string, method: string, first: string) {
    this.checkpoint = checkpoint
    this.#prefix = prefix
    this.#method = method
    this.where = `${checkpoint.info(first).path}: "${prefix}"`
  }

  /** Whether there is a part of this name. */
  has(part: string): boolean {
    return this.checkpoint.has(this.#prefix + part)
  }

  /** The shape of a part. Throws where it is missing or has another type or number of axes. */
  shape(part: string, dtypes: readonly Dtype[], rank?: number): readonly number[] {
    const name = this.#prefix + part
    if (!this.has(part)) {
      throw new Error(
        `${this.where}: the tensor "${name}" is missing, which ${this.#method} needs; take the whole checkpoint`,
      )
    }
    const { dtype, shape } = this.checkpoint.info(name)
    if (!dtypes.includes(dtype) || (rank !== undefined && shape.length !== rank)) {
      throw new Error(
        `${this.where}: the tensor "${name}" is ${dtype} [${shape.join(', ')}], expected ${dtypes.join(' or ')}` +
          `${rank === undefined ? '' : ` with ${rank} axes`}; the checkpoint is not what ${this.#method} writes`,
      )
    }
    return shape
  }

  /** Throws where a part has another shape. */
  expect(part: string, dtypes: readonly Dtype[], shape: readonly number[]): void {
    const got = this.shape(part, dtypes)
    if (got.join() === shape.join()) return
    throw new Error(
      `${this.where}: the tensor "${this.#prefix + part}" has shape [${got.join(', ')}], expected [${shape.join(', ')}]; ` +
        'config.json does not describe these weights',
    )
  }

  /** A part's bytes. */
  bytes(part: string): Promise<Uint8Array> {
    return this.checkpoint.read(this.#prefix + part)
  }

  /** A part as float32. */
  async floats(part: string): Promise<Float32Array> {
    const { dtype } = this.checkpoint.info(this.#prefix + part)
    return toFloat32(dtype, await this.bytes(part))
  }

  /** A part of 32-bit integers. */
  async integers(part: string): Promise<Int32Array> {
    return asTypedArray('I32', await this.bytes(part))
  }
}

/** The names in a checkpoint that end with `ending`, without it. */
export function stemsOf(checkpoint: TensorReader, ending: string): string[] {
  return checkpoint.names.filter(name => name.endsWith(ending)).map(name => name.slice(0, -ending.length))
}

/** A number of a configuration; `otherwise` where there is none. Throws for anything else. */
export function numberOf(config: RawConfig, key: string, otherwise?: number): number {
  const value = config[key] ?? otherwise
  if (typeof value === 'number' && Number.isInteger(value)) return value
  throw new Error(`config.json: quantization_config.${key} is ${JSON.stringify(value)}, expected a whole number`)
}

/** Packed bytes that are made when they are written. */
export function madeWhole(make: () => Promise<Uint8Array>): QuantizedEntry['stream'] {
  return async function* () {
    yield await make()
  }
}
