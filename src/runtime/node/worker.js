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
 * @param {{
 *   session: number,
 *   feeds: Record<string, { id?: number, dtype?: any, dims?: number[], data?: any }>,
 *   random: { name: string, dims: number[], keep: number, site: number }[],
 *   seed: number,
 * }} request
 */
async function run({ session, feeds, random, seed }) {
  const found = sessions.get(session)
  if (!found) throw new Error('This computation was disposed')
  /** @type {Record<string, Tensor>} */
  const inputs = {}
  for (const [name, feed] of Object.entries(feeds)) {
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

const actions = { create, run, release }

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
