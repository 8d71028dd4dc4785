/** @file CRC-32C (Castagnoli), the checksum of TFRecord files. */

const REVERSED_POLYNOMIAL = 0x82f63b78

const table = Uint32Array.from({ length: 256 }, (_, byte) => {
  let remainder = byte
  for (let bit = 0; bit < 8; bit++)
    remainder = remainder & 1 ? (remainder >>> 1) ^ REVERSED_POLYNOMIAL : remainder >>> 1
  return remainder
})

/** The checksum of bytes. */
export function crc32c(bytes: Uint8Array): number {
  let remainder = 0xffffffff
  for (const byte of bytes) remainder = table[(remainder ^ byte) & 255] ^ (remainder >>> 8)
  return (remainder ^ 0xffffffff) >>> 0
}

/** The checksum as TFRecord stores it: rotated and moved, so that checksums of data that hold checksums stay good ones. */
export function maskedCrc32c(bytes: Uint8Array): number {
  const sum = crc32c(bytes)
  return (((sum >>> 15) | (sum << 17)) + 0xa282ead8) >>> 0
}
