/** @file Checkpoints of AWQ (arXiv 2306.00978) in the layout of its GEMM kernels. */
import type { TensorReader } from '../../weights/index.ts'
import type { QuantizedEntry } from '../file.ts'
import {
  layoutOfGroups,
  madeWhole,
  numberOf,
  type PackedTensors,
  PartReader,
  packGroups,
  type RawConfig,
  stemsOf,
} from './format.ts'
import { turned } from './gptq.ts'

const PARTS = ['qweight', 'qzeros', 'scales']
/** Which of eight neighbouring outputs each 4 bits of a word hold, from the lowest. */
const ORDER = [0, 2, 4, 6, 1, 3, 5, 7]

/**
 * The matrices of an AWQ checkpoint: `qweight` int32 `[in, out / 8]`, eight outputs a word, `qzeros` int32
 * `[groups, out / 8]` in the same order, and `scales` `[groups, out]`.
 *
 * @throws where a part is missing or has another shape, or the layout is another one
 */
export async function readAwq(checkpoint: TensorReader, config: RawConfig): Promise<PackedTensors> {
  const bits = numberOf(config, 'bits', config.w_bit as number | undefined)
  const version = String(config.version ?? config.format ?? 'gemm').toLowerCase()
  if (bits !== 4 || version !== 'gemm') {
    throw new Error(
      `The checkpoint is quantised by AWQ to ${bits} bits in the layout "${version}", expected 4 bits in "gemm"; ` +
        'take such a publication',
    )
  }
  const given = numberOf(config, 'group_size', (config.q_group_size as number | undefined) ?? 128)
  const entries: QuantizedEntry[] = []
  const consumed = new Set<string>()
  for (const stem of stemsOf(checkpoint, 'qweight')) {
    const reader = new PartReader(checkpoint, stem, 'AWQ', `${stem}qweight`)
    entries.push(await readMatrix(reader, `${stem}weight`, given))
    for (const part of PARTS) consumed.add(stem + part)
  }
  return { entries, consumed }
}

async function readMatrix(reader: PartReader, name: string, given: number): Promise<QuantizedEntry> {
  const [columns, words] = reader.shape('qweight', ['I32'], 2)
  const rows = words * 8
  const groupSize = given > 0 ? given : columns
  const groups = Math.ceil(columns / groupSize)
  reader.expect('scales', ['F16', 'BF16', 'F32'], [groups, rows])
  reader.expect('qzeros', ['I32'], [groups, words])
  const zeros = Uint16Array.from(turnedCodes(await reader.integers('qzeros'), groups, rows))
  const layout = layoutOfGroups(reader.where, { rows, columns, groupSize, zeros }, 4)
  const stream = madeWhole(async () => {
    const codes = turnedCodes(await reader.integers('qweight'), columns, rows)
    return packGroups({ rows, columns, groupSize, codes, zeros, scales: await turned(reader, groups, rows) }, layout)
  })
  return { name, layout, stream }
}

/** The codes of `lines` times `rows` values packed along the rows, turned round: `[rows, lines]`. */
function turnedCodes(packed: Int32Array, lines: number, rows: number): Uint8Array {
  const codes = new Uint8Array(lines * rows)
  for (let line = 0; line < lines; line++) {
    for (let word = 0; word < rows / 8; word++) {
      const value = packed[(line * rows) / 8 + word]
      for (const [i, output] of ORDER.entries()) codes[(word * 8 + output) * lines + line] = (value >>> (4 * i)) & 15
    }
  }
  return codes
}
