/** @file Byte-level byte-pair encoding, learnt from text: the alphabet, the pre-tokens and the merges. */

/** GPT-2's rule for the pieces of a text that merges never cross. */
const PRE_TOKEN = /'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+/gu

/**
 * One printable character for each byte, as byte-level tokenizers write them: printable bytes stand for
 * themselves, the others are moved behind U+0100 in their order.
 */
export const BYTE_CHARACTERS: readonly string[] = byteCharacters()

/** A pair of adjacent tokens that become one. */
export type Merge = readonly [left: string, right: string]

/**
 * Learns up to `count` merges from `texts`, always the most frequent pair next; of equally frequent pairs the one
 * that sorts first by code unit. Stops early when no pair occurs twice.
 */
export function learnMerges(texts: Iterable<string>, count: number): Merge[] {
  const pieces = countPieces(texts)
  const merges: Merge[] = []
  while (merges.length < count) {
    const best = mostFrequentPair(pieces)
    if (!best) break
    merges.push(best)
    for (const piece of pieces) applyMerge(piece.tokens, best)
  }
  return merges
}

interface Piece {
  tokens: string[]
  count: number
}

function countPieces(texts: Iterable<string>): Piece[] {
  const counts = new Map<string, number>()
  for (const text of texts) {
    for (const [piece] of text.matchAll(PRE_TOKEN)) counts.set(piece, (counts.get(piece) ?? 0) + 1)
  }
  const encoder = new TextEncoder()
  return [...counts].map(([piece, count]) => ({
    tokens: Array.from(encoder.encode(piece), byte => BYTE_CHARACTERS[byte]),
    count,
  }))
}

function mostFrequentPair(pieces: readonly Piece[]): Merge | undefined {
  const counts = new Map<string, number>()
  for (const { tokens, count } of pieces) {
    for (let i = 1; i < tokens.length; i++) {
      const pair = `${tokens[i - 1]} ${tokens[i]}`
      counts.set(pair, (counts.get(pair) ?? 0) + count)
    }
  }
  let best: string | undefined
  let most = 1
  for (const [pair, count] of counts) {
    if (count > most || (count === most && best !== undefined && pair < best)) {
      best = pair
      most = count
    }
  }
  if (best === undefined) return undefined
  const [left, right] = best.split(' ')
  return [left, right]
}

function applyMerge(tokens: string[], [left, right]: Merge): void {
  let written = 0
  for (let i = 0; i < tokens.length; i++) {
    const joins = tokens[i] === left && tokens[i + 1] === right
    tokens[written++] = joins ? left + right : tokens[i]
    if (joins) i++
  }
  tokens.length = written
}

function byteCharacters(): string[] {
  const printable = (byte: number) => (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174
  let moved = 0
  return Array.from({ length: 256 }, (_, byte) => String.fromCharCode(printable(byte) ? byte : 256 + moved++))
}
