/** @file The element types of safetensors, their sizes, and typed-array views of their bytes. */

/** The element types that can be read and written, with the bytes that one element takes. */
export const DTYPE_BYTES = {
  BOOL: 1,
  U8: 1,
  I8: 1,
  F8_E5M2: 1,
  F8_E4M3: 1,
  I16: 2,
  U16: 2,
  F16: 2,
  BF16: 2,
  I32: 4,
  U32: 4,
  F32: 4,
  F64: 8,
  I64: 8,
  U64: 8,
} as const

/** An element type, under its name in a safetensors header. */
export type Dtype = keyof typeof DTYPE_BYTES

/** All element types, in the order of the format: a file holds its tensors from the last of these to the first. */
export const DTYPES = Object.keys(DTYPE_BYTES) as Dtype[]

const KNOWN_BUT_UNREADABLE = new Set(['C64', 'F4', 'F6_E2M3', 'F6_E3M2', 'F8_E8M0', 'F8_E4M3FNUZ', 'F8_E5M2FNUZ'])

const FLOATS: ReadonlySet<Dtype> = new Set<Dtype>(['F64', 'F32', 'F16', 'BF16', 'F8_E4M3', 'F8_E5M2'])

/** Whether `name` is an element type that can be read. */
export function isDtype(name: unknown): name is Dtype {
  return typeof name === 'string' && Object.hasOwn(DTYPE_BYTES, name)
}

/** Whether `dtype` is a floating-point type. */
export function isFloatDtype(dtype: Dtype): boolean {
  return FLOATS.has(dtype)
}

/** Why `name` is no element type that can be read, and what to do about it. */
export function explainUnknownDtype(name: unknown): string {
  const expected = `expected one of ${DTYPES.join(', ')}`
  if (typeof name !== 'string') return `dtype is ${typeof name === 'bigint' ? name : JSON.stringify(name)}, ${expected}`
  if (!KNOWN_BUT_UNREADABLE.has(name)) return `unknown dtype "${name}", ${expected}`
  return `dtype ${name} is part of the format but not supported here, ${expected}; convert the tensor in Python, for example with .float()`
}

/** The bytes of one element of `dtype`. A name from outside the type (`C64`, a typo) is a `TypeError`. */
export function bytesPerElement(dtype: Dtype): number {
  if (!isDtype(dtype)) throw new TypeError(`bytesPerElement: ${explainUnknownDtype(dtype)}.`)
  return DTYPE_BYTES[dtype]
}

/** The number of elements of `shape`: 1 for a scalar, 0 where a dimension is 0. */
export function elementCount(shape: readonly number[]): number {
  return shape.reduce((count, size) => count * size, 1)
}

const ARRAYS = {
  BOOL: Uint8Array,
  U8: Uint8Array,
  I8: Int8Array,
  F8_E5M2: Uint8Array,
  F8_E4M3: Uint8Array,
  I16: Int16Array,
  U16: Uint16Array,
  F16: Uint16Array,
  BF16: Uint16Array,
  I32: Int32Array,
  U32: Uint32Array,
  F32: Float32Array,
  F64: Float64Array,
  I64: BigInt64Array,
  U64: BigUint64Array,
} as const satisfies Record<Dtype, unknown>

/** The typed array that holds `D`; 16-bit and 8-bit floats are held as the unsigned integers of their bits. */
export type TypedArrayOf<D extends Dtype> = InstanceType<(typeof ARRAYS)[D]>

/**
 * The elements of `bytes` as a typed array. It shares memory with `bytes` where its position allows that, and is a
 * copy only where it is misaligned. Safetensors is little-endian, as is every platform that JavaScript runs on today.
 */
export function asTypedArray<D extends Dtype>(dtype: D, bytes: Uint8Array): TypedArrayOf<D> {
  const size = bytesPerElement(dtype)
  if (bytes.byteLength % size !== 0) {
    throw new RangeError(
      `asTypedArray: got ${bytes.byteLength} bytes, expected a multiple of ${size} (the bytes of one ${dtype} element).`,
    )
  }
  const aligned = bytes.byteOffset % size === 0 ? bytes : Uint8Array.from(bytes)
  const TypedArray = ARRAYS[dtype] as unknown as new (
    buffer: ArrayBufferLike,
    offset: number,
    length: number,
  ) => TypedArrayOf<D>
  return new TypedArray(aligned.buffer, aligned.byteOffset, aligned.byteLength / size)
}

/** The bytes behind any typed array or `DataView`, without a copy. */
export function asBytes(view: ArrayBufferView): Uint8Array {
  return view instanceof Uint8Array ? view : new Uint8Array(view.buffer, view.byteOffset, view.byteLength)
}
