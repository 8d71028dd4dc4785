/** @file Checkpoints of bitsandbytes: 4-bit tables (arXiv 2305.14314) and LLM.int8() (arXiv 2208.07339). */
import type { TensorReader } from '../../weights/index.ts'
import { CODEBOOKS } from '../codebook.ts'
import type { QuantizedEntry } from '../file.ts'
import { explainMisfit, fittingBlockSize, type QuantizedLayout } from '../layout.ts'
import { joinParts } from '../tensor.ts'
import { madeWhole, type PackedTensors, PartReader, type RawConfig, stemsOf } from './format.ts'

const STATE = 'quant_state.bitsandbytes__'

/** What bitsandbytes writes beside packed weights, as JSON in a tensor of bytes. */
interface QuantState {
  quant_type: 'nf4' | 'fp4'
  blocksize: number
  shape: [number, number]
  nested_blocksize?: number
  nested_offset?: number
}

/**
 * The matrices of a checkpoint of bitsandbytes. In 4 bits: `weight` uint8 `[n / 2, 1]`, `weight.absmax`,
 * `weight.quant_map`, and with double quantisation `weight.nested_absmax` and `weight.nested_quant_map`. In 8 bits:
 * `weight` int8 and `SCB`, the largest magnitude of each row.
 *
 * @throws where a part is missing or has another shape, or the table is another one
 */
export async function readBitsAndBytes(checkpoint: TensorReader, _config: RawConfig): Promise<PackedTensors> {
  const entries: QuantizedEntry[] = []
  const consumed = new Set<string>()
  for (const type of ['nf4', 'fp4'] as const) {
    for (const stem of stemsOf(checkpoint, `.${STATE}${type}`)) {
      const reader = new PartReader(checkpoint, stem, 'bitsandbytes', `${stem}.${STATE}${type}`)
      entries.push(await readTable(reader, stem, type))
      for (const name of checkpoint.names) if (name === stem || name.startsWith(`${stem}.`)) consumed.add(name)
    }
  }
  for (const stem of stemsOf(checkpoint, '.SCB')) {
    const reader = new PartReader(checkpoint, `${stem}.`, 'bitsandbytes', `${stem}.SCB`)
    entries.push(readRows(reader, `${stem}.weight`))
    for (const part of ['weight', 'SCB', 'weight_format']) consumed.add(`${stem}.${part}`)
  }
  return { entries, consumed }
}

async function readTable(reader: PartReader, name: string, scheme: 'nf4' | 'fp4'): Promise<QuantizedEntry> {
  const state = parseState(await reader.bytes(`.${STATE}${scheme}`), reader.where)
  const [rows, columns] = state.shape
  const layout: QuantizedLayout = {
    scheme,
    rows,
    columns,
    blockSize: state.blocksize,
    symmetric: true,
    transposed: false,
  }
  const misfit = explainMisfit(layout)
  if (misfit) throw new Error(`${reader.where}: it cannot be read, because ${misfit}; take the model in float16`)
  const [bytes, blocks] = [(rows * columns) / 2, (rows * columns) / state.blocksize]
  const packedShape = reader.shape('', ['U8'])
  if (packedShape.reduce((a, b) => a * b, 1) !== bytes) reader.expect('', ['U8'], [bytes, 1])
  await checkTable(reader, scheme)
  const isNested = reader.has('.nested_absmax')
  reader.expect('.absmax', isNested ? ['U8'] : ['F32'], [blocks])
  if (isNested) {
    reader.expect('.nested_quant_map', ['F32'], [256])
    reader.expect('.nested_absmax', ['F32'], [Math.ceil(blocks / (state.nested_blocksize ?? 256))])
  }
  const stream = madeWhole(async () => {
    const scales = isNested ? await nestedScales(reader, state) : await reader.floats('.absmax')
    return joinParts({ packed: await reader.bytes(''), scales, zeroPoints: new Uint8Array() })
  })
  return { name, layout, stream }
}

function parseState(bytes: Uint8Array, where: string): QuantState {
  try {
    const state = JSON.parse(new TextDecoder().decode(bytes))
    const numbers = [state.blocksize, ...state.shape]
    if (state.shape.length === 2 && numbers.every(Number.isInteger)) return state
  } catch {
    // The message below says what was expected.
  }
  throw new Error(
    `${where}: the quantisation state of bitsandbytes is not JSON with a blocksize and a shape of two axes; ` +
      'the file is damaged, download it again',
  )
}

async function checkTable(reader: PartReader, scheme: 'nf4' | 'fp4'): Promise<void> {
  reader.expect('.quant_map', ['F32'], [16])
  const table = await reader.floats('.quant_map')
  if (table.every((value, i) => Math.abs(value - CODEBOOKS[scheme][i]) < 1e-6)) return
  throw new Error(`${reader.where}: its table is [${[...table].join(', ')}], which is not ${scheme}`)
}

async function nestedScales(reader: PartReader, state: QuantState): Promise<Float32Array> {
  const [codes, map, scales] = await Promise.all([
    reader.bytes('.absmax'),
    reader.floats('.nested_quant_map'),
    reader.floats('.nested_absmax'),
  ])
  const { nested_blocksize: size = 256, nested_offset: offset = 0 } = state
  return Float32Array.from(codes, (code, i) => Math.fround(map[code] * scales[Math.floor(i / size)]) + offset)
}

function readRows(reader: PartReader, name: string): QuantizedEntry {
  const [rows, columns] = reader.shape('weight', ['I8'], 2)
  reader.expect('SCB', ['F32', 'F16', 'BF16'], [rows])
  const base = { scheme: 'int8', rows, columns, symmetric: true, transposed: false } as const
  const blockSize = fittingBlockSize(base, 128)
  if (blockSize === undefined) {
    throw new Error(`${reader.where}: rows of ${columns} values in 8 bits cannot be read; take the model in float16`)
  }
  const stream = madeWhole(async () => {
    const [values, largest] = await Promise.all([reader.bytes('weight'), reader.floats('SCB')])
    const perRow = columns / blockSize
    const scales = Float32Array.from({ length: rows * perRow }, (_, i) => largest[Math.floor(i / perRow)] / 127)
    // From two's complement to zero in the middle.
    const packed = values.map(value => value ^ 128)
    return joinParts({ packed, scales, zeroPoints: new Uint8Array() })
  })
  return { name, layout: { ...base, blockSize }, stream }
}
