/** @file Checkpoints of GPTQ (arXiv 2210.17323), as AutoGPTQ and GPTQModel write them. */
import type { TensorReader } from '../../weights/index.ts'
import type { QuantizedEntry } from '../file.ts'
import {
  type Groups,
  layoutOfGroups,
  madeWhole,
  numberOf,
  type PackedTensors,
  PartReader,
  packGroups,
  type RawConfig,
  stemsOf,
} from './format.ts'

const PARTS = ['qweight', 'qzeros', 'scales', 'g_idx']

/**
 * The matrices of a GPTQ checkpoint: `qweight` int32 `[in * bits / 32, out]`, packed along the inputs, `qzeros` int32
 * `[groups, out * bits / 32]` and `scales` `[groups, out]`. The first version of the format stores zero points less one.
 *
 * @throws where a part is missing or has another shape, the bits are not 4 or 8, or inputs were reordered (desc_act)
 */
export async function readGptq(checkpoint: TensorReader, config: RawConfig): Promise<PackedTensors> {
  const bits = numberOf(config, 'bits')
  if (bits !== 4 && bits !== 8) {
    throw new Error(`The checkpoint is quantised by GPTQ to ${bits} bits, expected 4 or 8; take such a publication`)
  }
  const groupSize = numberOf(config, 'group_size', -1)
  const shift = config.checkpoint_format === 'gptq_v2' ? 0 : 1
  const entries: QuantizedEntry[] = []
  const consumed = new Set<string>()
  for (const stem of stemsOf(checkpoint, 'qweight')) {
    const reader = new PartReader(checkpoint, stem, 'GPTQ', `${stem}qweight`)
    entries.push(await readMatrix(reader, `${stem}weight`, { bits, groupSize, shift }))
    for (const part of PARTS) if (checkpoint.has(stem + part)) consumed.add(stem + part)
  }
  return { entries, consumed }
}

async function readMatrix(
  reader: PartReader,
  name: string,
  { bits, groupSize: given, shift }: { bits: 4 | 8; groupSize: number; shift: number },
): Promise<QuantizedEntry> {
  const perWord = 32 / bits
  const [words, rows] = reader.shape('qweight', ['I32'], 2)
  const columns = words * perWord
  const groupSize = given > 0 ? given : columns
  const groups = Math.ceil(columns / groupSize)
  reader.expect('scales', ['F16', 'BF16', 'F32'], [groups, rows])
  reader.expect('qzeros', ['I32'], [groups, Math.ceil(rows / perWord)])
  if (reader.has('g_idx')) await checkOrder(reader, columns, groupSize)
  const packedZeros = await reader.integers('qzeros')
  const zeros = new Uint16Array(rows * groups)
  const mask = 2 ** bits - 1
  const zeroWords = Math.ceil(rows / perWord)
  for (let group = 0; group < groups; group++) {
    for (let row = 0; row < rows; row++) {
      const word = packedZeros[group * zeroWords + Math.floor(row / perWord)]
      zeros[row * groups + group] = ((word >>> (bits * (row % perWord))) & mask) + shift
    }
  }
  const layout = layoutOfGroups(reader.where, { rows, columns, groupSize, zeros }, bits)
  const stream = madeWhole(async () => {
    const packed = await reader.integers('qweight')
    const codes = new Uint8Array(rows * columns)
    for (let column = 0; column < columns; column++) {
      const start = Math.floor(column / perWord) * rows
      const by = bits * (column % perWord)
      for (let row = 0; row < rows; row++) codes[row * columns + column] = (packed[start + row] >>> by) & mask
    }
    return packGroups({ rows, columns, groupSize, codes, zeros, scales: await turned(reader, groups, rows) }, layout)
  })
  return { name, layout, stream }
}

/** `scales` with the groups of a row beside each other. */
export async function turned(reader: PartReader, groups: number, rows: number): Promise<Groups['scales']> {
  const stored = await reader.floats('scales')
  const scales = new Float32Array(stored.length)
  for (let group = 0; group < groups; group++) {
    for (let row = 0; row < rows; row++) scales[row * groups + group] = stored[group * rows + row]
  }
  return scales
}

async function checkOrder(reader: PartReader, columns: number, groupSize: number): Promise<void> {
  reader.expect('g_idx', ['I32'], [columns])
  const order = await reader.integers('g_idx')
  const at = order.findIndex((group, i) => group !== Math.floor(i / groupSize))
  if (at < 0) return
  throw new Error(
    `${reader.where}: input ${at} belongs to group ${order[at]}, so the inputs were reordered (desc_act), which is not ` +
      'read. Take a publication made with desc_act: false, or the model in float16.',
  )
}
