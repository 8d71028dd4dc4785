/**
 * @file The thread in which ONNX Runtime works, so that the event loop of the program stays free. Plain JavaScript,
 * because Node starts it from its file, in the sources and in the built package alike.
 */
import { parentPort } from 'node:worker_threads'
import { InferenceSession, Tensor } from 'onnxruntime-node'
import { fillDropoutMask } from './random.js'

/**
 * Each session with the memory of its masks, which is used again at every run, and the constant inputs that it was
 * given last.
 *
 * @type {Map<number, { session: InferenceSession, masks: Map<string, Float32Array>, kept: Map<string, { id: number, tensor: Tensor }> }>}
 */
const sessions = new Map()

/**
 * Values that stay here between runs.
 *
 * @type {Map<number, Float32Array>}
 */
const memories = new Map()

/**
 * @param {{ session: number, model: Uint8Array, options: object }} request
 */
async function create({ session, model, options }) {
  sessions.set(session, {
    session: await InferenceSession.create(model, options),
    masks: new Map(),
    kept: new Map(),
  })
}

/**
 * The tensor that was kept for an input.
 *
 * @param {{ id: number, tensor: Tensor } | undefined} kept
 * @param {string} name
 * @param {number | undefined} id
 */
function keptTensor(kept, name, id) {
  if (kept?.id === id && kept) return kept.tensor
  throw new Error(`The values of the input "${name}" did not arrive; run it again`)
}

/**
 * @typedef {{ count: number, size: number, fromOffset: number, fromStride: number, toOffset: number, toStride: number }} Blocks
 * @typedef {{ id: number, size: number }} Memory
 */

/** @param {Memory} memory */
function valuesOf({ id }) {
  const values = memories.get(id)
  if (values) return values
  throw new Error('Values that were kept between runs are gone: their memory was freed, or the engine was disposed')
}

/**
 * @param {Float32Array} from
 * @param {Float32Array} to
 * @param {Blocks} blocks
 */
function copyBlocks(from, to, { count, size, fromOffset, fromStride, toOffset, toStride }) {
  for (let i = 0; i < count; i++) {
    const start = fromOffset + i * fromStride
    to.set(from.subarray(start, start + size), toOffset + i * toStride)
  }
}

/** @param {{ memories: Memory[] }} request */
function allocate({ memories: wanted }) {
  const made = wanted.map(({ size }) => new Float32Array(size))
  for (const [i, { id }] of wanted.entries()) memories.set(id, made[i])
}

/** @param {{ copies: (Blocks & { from: Memory, to: Memory })[] }} request */
function copy({ copies }) {
  for (const { from, to, ...blocks } of copies) copyBlocks(valuesOf(from), valuesOf(to), blocks)
}

/** @param {{ memories: Memory[] }} request */
function free({ memories: unwanted }) {
  for (const { id } of unwanted) memories.delete(id)
}

/**
 * @param {{
 *   session: number,
 *   feeds: Record<string, { id?: number, dtype?: any, dims?: number[], data?: any, memory?: Memory }>,
 *   random: { name: string, dims: number[], keep: number, site: number }[],
 *   seed: number,
 *   store: Record<string, (Blocks & { to: Memory })[]>,
 * }} request
 */
async function run({ session, feeds, random, seed, store }) {
  const found = sessions.get(session)
  if (!found) throw new Error('This computation was disposed')
  /** @type {Record<string, Tensor>} */
  const inputs = {}
  for (const [name, feed] of Object.entries(feeds)) {
    if (feed.memory) {
      inputs[name] = new Tensor('float32', valuesOf(feed.memory), feed.dims)
      continue
    }
    inputs[name] = feed.data
      ? new Tensor(feed.dtype, feed.data, feed.dims)
      : keptTensor(found.kept.get(name), name, feed.id)
    if (feed.data && feed.id !== undefined) found.kept.set(name, { id: feed.id, tensor: inputs[name] })
  }
  for (const { name, dims, keep, site } of random) {
    const size = dims.reduce((a, b) => a * b, 1)
    let mask = found.masks.get(name)
    if (!mask || mask.length < size) {
      mask = new Float32Array(size)
      found.masks.set(name, mask)
    }
    const used = mask.subarray(0, size)
    fillDropoutMask(used, keep, seed, site)
    inputs[name] = new Tensor('float32', used, dims)
  }
  const results = await found.session.run(inputs)
  for (const [name, copies] of Object.entries(store)) {
    const { [name]: result } = results
    for (const { to, ...blocks } of copies) {
      copyBlocks(/** @type {Float32Array} */ (result.data), valuesOf(to), blocks)
    }
    delete (/** @type {Record<string, Tensor>} */ (results)[name])
  }
  return Object.fromEntries(
    Object.entries(results).map(([name, { type, dims, data }]) => [name, { dtype: type, dims, data }]),
  )
}

/**
 * @param {{ session: number, profile: boolean }} request
 */
async function release({ session, profile }) {
  const found = sessions.get(session)
  sessions.delete(session)
  if (profile) found?.session.endProfiling()
  await found?.session.release()
}

const actions = { create, run, release, allocate, copy, free }

/**
 * @param {{ id: number, action: string, request: any }} call
 */
async function answer({ id, action, request }) {
  try {
    const result = await actions[/** @type {keyof typeof actions} */ (action)](request)
    const buffers = new Set(Object.values(result ?? {}).map(value => /** @type {Float32Array} */ (value.data).buffer))
    parentPort?.postMessage({ id, result }, /** @type {ArrayBuffer[]} */ ([...buffers]))
  } catch (error) {
    parentPort?.postMessage({ id, error: error instanceof Error ? error.message : String(error) })
  }
}

// One after another: ONNX Runtime starts a run only after the messages that wait, which must not touch its masks or
// release its session before it has ended.
let last = Promise.resolve()
let closing = false
parentPort?.on('message', call => {
  if (call.action === 'close') {
    // Whatever waits is no longer wanted; the thread ends by itself once the run under way has ended. Ending it from
    // outside while ONNX Runtime works would take the whole process along.
    closing = true
    last = last.then(() => parentPort?.close())
  } else {
    last = last.then(() => (closing ? undefined : answer(call)))
  }
})
