/** @file Writes a model of a published shape with random weights: `node bench/weights.mjs --shape bert-base --output DIR`. */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification } from 'peft-ts'
import { fromFloat32, saveFile } from 'peft-ts/safetensors'
import { readOptions } from './lib/measure.mjs'
import { SHAPES } from './lib/shapes.mjs'

const { shape, output } = readOptions({ shape: 'bert-base', output: '' })
const { config, task, dtype } = SHAPES[shape]
const auto = task === 'SEQ_CLS' ? AutoModelForSequenceClassification : AutoModelForCausalLM
const model = auto.fromConfig(AutoConfig.fromJSON(config))
if (dtype) await saveStreamed(dtype)
else {
  model.initialize(0)
  await model.savePretrained(output)
}
console.log(JSON.stringify({ shape, output }))

/** Writes the weights piece by piece: those that are too many for the memory of one process. @param {'BF16'} as */
async function saveStreamed(as) {
  const { initializer_range: deviation } = /** @type {import('../src/models/index.ts').TextConfig} */ (model.config)
  const table = normalTable(/** @type {number} */ (deviation), as)
  const entries = [...model.namedTensors()].map(([name, { shape: dims, size }], i) => {
    const entry = { name, dtype: as, shape: dims }
    if (dims.length === 2) return { ...entry, stream: () => drawn(size, i + 1, table) }
    const value = name.endsWith('norm.weight') ? 1 : 0
    return { ...entry, read: () => fromFloat32(as, new Float32Array(size).fill(value)) }
  })
  await saveFile(join(output, 'model.safetensors'), entries, { format: 'pt' })
  await writeFile(join(output, 'config.json'), `${JSON.stringify({ ...config, dtype: 'bfloat16' }, null, 2)}\n`)
}

/** 65,536 equally likely values of a normal distribution. @param {number} deviation @param {'BF16'} as */
function normalTable(deviation, as) {
  const values = Float32Array.from({ length: 65536 }, (_, i) => deviation * quantile((i + 0.5) / 65536))
  const { buffer, byteOffset } = fromFloat32(as, values)
  return new Uint16Array(buffer, byteOffset, values.length)
}

/** The normal distribution's inverse, by bisection. @param {number} share */
function quantile(share) {
  let [low, high] = [-6, 6]
  for (let i = 0; i < 40; i++) {
    const middle = (low + high) / 2
    if (cumulative(middle) < share) low = middle
    else high = middle
  }
  return (low + high) / 2
}

/** The normal distribution's integral, to 1e-7 (Abramowitz and Stegun 26.2.17). @param {number} x */
function cumulative(x) {
  const t = 1 / (1 + 0.2316419 * Math.abs(x))
  const sum = t * (0.31938153 + t * (-0.356563782 + t * (1.781477937 + t * (-1.821255978 + t * 1.330274429))))
  const tail = (Math.exp((-x * x) / 2) / Math.sqrt(2 * Math.PI)) * sum
  return x < 0 ? tail : 1 - tail
}

/** So many drawn values, in pieces. @param {number} size @param {number} seed @param {Uint16Array} table */
function* drawn(size, seed, table) {
  const piece = new Uint16Array(2 ** 20)
  let state = Math.imul(seed, 0x9e3779b1) | 1
  for (let left = size; left > 0; left -= piece.length) {
    const length = Math.min(left, piece.length)
    for (let i = 0; i < length; i++) {
      state ^= state << 13
      state ^= state >>> 17
      state ^= state << 5
      piece[i] = table[state >>> 16]
    }
    yield piece.subarray(0, length)
  }
}
