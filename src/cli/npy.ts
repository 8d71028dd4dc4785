/** @file Files of NumPy: one array of float32. */

const MAGIC = '\x93NUMPY'

/**
 * Rows of equal width as the bytes of a .npy file (version 1.0, little endian, row by row).
 *
 * @param width how long each row is, which no row tells where there is none
 */
export function npyBytes(rows: readonly Float32Array[], width: number): Uint8Array {
  const header = `{'descr': '<f4', 'fortran_order': False, 'shape': (${rows.length}, ${width}), }`
  // Magic, version and length take ten bytes; the data begin at a multiple of 64.
  const padded = `${header.padEnd(Math.ceil((header.length + 11) / 64) * 64 - 11)}\n`
  const start = 10 + padded.length
  const bytes = new Uint8Array(start + rows.length * width * 4)
  const view = new DataView(bytes.buffer)
  for (let i = 0; i < MAGIC.length; i++) bytes[i] = MAGIC.charCodeAt(i)
  bytes.set([1, 0], 6)
  view.setUint16(8, padded.length, true)
  bytes.set(new TextEncoder().encode(padded), 10)
  rows.forEach((row, i) => {
    row.forEach((value, j) => {
      view.setFloat32(start + (i * width + j) * 4, value, true)
    })
  })
  return bytes
}
