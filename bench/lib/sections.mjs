/** @file The measurements: which processes run, in which order, with which settings. */
import { existsSync, renameSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { flags, runJson } from './child.mjs'
import { CACHE, ROOT, SHARED } from './paths.mjs'
import { SHAPES } from './shapes.mjs'

/**
 * @typedef {object} Plan
 * @property {import('./peer.mjs').Peer | undefined} peer
 * @property {string[]} shapes
 * @property {number} steps measured steps of a process
 * @property {number} repeat processes of each kind
 * @property {number | undefined} rows training rows of the tasks; by default those of {@link TASKS}
 * @typedef {{ settings: Record<string, number>, rows: any[] }} Measured
 */

/** The settings of the tasks; those of SST-2 are the peer's. An epoch is of all rows unless told otherwise. */
const TASKS = {
  sst2: { rows: 8000, epochs: 2, batch: 32, seed: 0, rates: { lora: 2e-3, full: 3e-4, head: 5e-3 } },
  epoch: { epochs: 1, batch: 32, rate: 2e-3 },
  wikisql: { rows: 1000, epochs: 3, batch: 8, seed: 0, rates: { base: undefined, lora: 2e-3, full: 5e-4 } },
}

/** Shapes that generate, on both sides. */
const GENERATORS = ['smollm2-135m', 'qwen2.5-0.5b']
/** How ours generates: with weights as they are, left in their file or repacked and kept, and with packed ones. */
const GENERATIONS = [
  { mode: 'small', quantize: '' },
  { mode: 'packed', quantize: '' },
  { mode: 'fast', quantize: 'int8' },
]

/** How ours takes steps. */
const STEP_OPTIONS = {
  fast: { mode: 'fast' },
  small: { mode: 'small' },
  recomputed: { mode: 'small', checkpointing: 1 },
  int8: { mode: 'fast', quantize: 'int8-channel', products: 'int8-gradients' },
  smallHalf: { mode: 'small', quantize: 'bfloat16' },
  recomputedHalf: { mode: 'small', quantize: 'bfloat16', checkpointing: 1 },
}
const STEPS = /** @type {(keyof typeof STEP_OPTIONS)[]} */ (Object.keys(STEP_OPTIONS))

/** Bases that are quantised, in the order in which they are measured. */
const QUANTIZED = [
  { shape: 'smollm2-135m', quantize: 'int8' },
  { shape: 'qwen2.5-0.5b', quantize: 'nf4' },
  { shape: 'qwen2.5-3b', quantize: 'int4' },
  { shape: 'qwen2.5-3b', quantize: 'nf4' },
]
/** Bases that 200 steps are taken on, and how products with them are computed where there is a choice. */
const QUANTIZED_LOSSES = [
  ...[[''], ['int8'], ['int8-channel', 'int8'], ['int8-channel', 'int8-gradients'], ['int4'], ['nf4']],
]
/** What 200 steps on quantised bases are compared by. */
const QUANTIZED_LOSS = { steps: 200, batch: 4, rate: 2e-3, seeds: 3 }

/** @type {Record<'step' | 'generate' | 'mixed' | 'quantized' | 'quantizedLoss' | 'epoch' | 'sst2' | 'wikisql', (plan: Plan) => Measured>} */
export const SECTIONS = {
  ...{ step: measureStep, generate: measureGenerate, mixed: measureMixed },
  ...{ quantized: measureQuantized, quantizedLoss: measureQuantizedLoss },
  ...{ epoch: measureEpoch, sst2: measureSst2, wikisql: measureWikisql },
}

/** Steps on the same shapes and weights, peer and ours in turn. @param {Plan} plan @returns {Measured} */
function measureStep({ peer, shapes, steps, repeat }) {
  const measured = shapes.filter(shape => !SHAPES[shape].isLarge)
  const rows = measured.map(shape => {
    const model = weightsOf(shape, peer)
    const { batch, seq } = SHAPES[shape]
    /** @type {import('./results.ts').StepRow} */
    const row = {
      shape,
      batch,
      seq,
      peer: [],
      fast: [],
      small: [],
      recomputed: [],
      int8: [],
      smallHalf: [],
      recomputedHalf: [],
    }
    for (let i = 1; i <= repeat; i++) {
      const title = `step ${shape} ${i}/${repeat}`
      if (peer) row.peer.push(stepRun(`${title} peer`, peer.run('hf_step.py', { shape, batch, seq, steps })))
      for (const way of STEPS) {
        if (way.endsWith('Half') && !SHAPES[shape].isHalf) continue
        row[way].push(stepRun(`${title} ours ${way}`, ours('step.mjs', { shape, model, steps, ...STEP_OPTIONS[way] })))
      }
    }
    return row
  })
  return { settings: { steps, repeat }, rows }
}

/** @param {string} title @param {any} output @returns {import('./results.ts').StepRun} */
function stepRun(title, { seconds, min, peak_rss_mb, first_step_seconds, loss }) {
  console.error(`${title}: ${seconds.toFixed(2)} s a step, ${peak_rss_mb} MB, first loss ${loss[0].toFixed(4)}`)
  return { seconds, min, peak_rss_mb, first_loss: loss[0], first_step_seconds }
}

/** 128 tokens after 128, by one text and by eight at once. @param {Plan} plan @returns {Measured} */
function measureGenerate({ peer, shapes }) {
  const rows = shapes
    .filter(shape => GENERATORS.includes(shape))
    .flatMap(shape => [1, 8].flatMap(batch => generationRows(peer, shape, batch)))
  return { settings: { prompt: 128, new: 128 }, rows }
}

/** @param {Plan['peer']} peer @param {string} shape @param {number} batch @returns {import('./results.ts').GenerationRow[]} */
function generationRows(peer, shape, batch) {
  const model = weightsOf(shape, peer)
  const measured = [
    ...(peer ? [{ who: 'peer', ...peer.run('hf_generate.py', { shape, batch }) }] : []),
    ...GENERATIONS.map(how => ({
      who: ['ours', how.mode, how.quantize].filter(Boolean).join(' '),
      ...ours('generate.mjs', { shape, batch, model, mode: how.mode, quantize: how.quantize || undefined }),
    })),
  ]
  return measured.map(({ who, tokens_per_second, first_token_seconds, start_seconds, peak_rss_mb }) => {
    console.error(`generate ${shape} x ${batch} ${who}: ${tokens_per_second.toFixed(1)} tokens/s, ${peak_rss_mb} MB`)
    return { who, shape, batch, tokens_per_second, first_token_seconds, start_seconds, peak_rss_mb }
  })
}

/** Batches of many adapters, of sentences and of single tokens; loading and switching. @param {Plan} plan @returns {Measured} */
function measureMixed({ peer, rows: load = 100 }) {
  const model = weightsOf('bert-base', peer)
  const rows = [32, 1].flatMap(seq => {
    const options = { batch: 64, seq, load }
    const title = `mixed 64 x ${seq}`
    return [
      ...(peer ? [mixedRun(`${title} peer`, 'peer', peer.run('hf_mixed.py', options))] : []),
      mixedRun(`${title} ours`, 'ours', ours('mixed.mjs', { model, ...options })),
    ]
  })
  return { settings: { load }, rows }
}

/** @param {string} title @param {'peer' | 'ours'} who @param {any} output @returns {import('./results.ts').MixedRow} */
function mixedRun(title, who, output) {
  const { seconds } = output
  console.error(`${title}: ${seconds[1].toFixed(3)} s with 1 adapter, ${seconds[32].toFixed(3)} s with 32`)
  return { who, ...output }
}

/** Steps on quantised bases, layers computed twice, beside what `peft info` foretells. @param {Plan} plan @returns {Measured} */
function measureQuantized({ peer, shapes }) {
  const rows = QUANTIZED.filter(({ shape }) => shapes.includes(shape)).map(({ shape, quantize }) => {
    const { batch, seq } = SHAPES[shape]
    const model = weightsOf(shape, peer)
    const { memory_bytes } = runJson(process.execPath, [
      ...[join(ROOT, 'dist/cli/main.js'), 'info', model, '--json', '--gradient-checkpointing'],
      ...flags({ quantize, 'batch-size': batch, sequence: seq, set: 'r=8' }),
    ])
    const forecast_mb = memory_bytes.total / 2 ** 20
    const options = { shape, model, quantize, checkpointing: 1, steps: 1, warmup: 1 }
    const { seconds, peak_rss_mb, loss } = ours('step.mjs', options)
    const title = `quantized ${shape} ${quantize}`
    console.error(`${title}: ${seconds.toFixed(1)} s a step, ${peak_rss_mb} MB, foretold ${forecast_mb.toFixed(0)} MB`)
    return { shape, batch, seq, quantize, seconds, peak_rss_mb, forecast_mb, first_loss: loss[0] }
  })
  return { settings: { steps: 1 }, rows }
}

/** The loss after some training on quantised bases, by seeds. @returns {Measured} */
function measureQuantizedLoss() {
  const { seeds, ...settings } = QUANTIZED_LOSS
  const rows = QUANTIZED_LOSSES.map(([quantize, products]) => {
    const runs = Array.from({ length: seeds }, (_, seed) =>
      ours('quantized-loss.mjs', { quantize: quantize || undefined, products, seed, ...settings }),
    )
    const losses = runs.map(({ loss }) => loss)
    const name = [quantize || 'f32', products].filter(Boolean).join(', ')
    console.error(`quantized loss ${name}: ${losses.map(loss => loss.toFixed(4)).join(', ')}`)
    return { quantize: name, first_loss: runs[0].first_loss, losses }
  })
  return { settings: QUANTIZED_LOSS, rows }
}

/** The folder with the base model that both sides measure; it is made once, by the peer where there is one. */
function weightsOf(/** @type {string} */ shape, /** @type {Plan['peer']} */ peer) {
  const folder = join(CACHE, shape)
  if (existsSync(folder)) return folder
  console.error(`writing a model of the shape ${shape} to ${folder}`)
  const fresh = `${folder}.tmp`
  rmSync(fresh, { recursive: true, force: true })
  if (peer && !SHAPES[shape].isLarge) peer.run('hf_step.py', { shape, batch: 1, seq: 8, steps: 1, save: fresh })
  else ours('weights.mjs', { shape, output: fresh })
  renameSync(fresh, folder)
  return folder
}

/** @param {Plan} plan @returns {Measured} */
function measureSst2({ peer, rows: limit }) {
  const { rates, ...defaults } = TASKS.sst2
  const settings = { ...defaults, rows: limit ?? defaults.rows }
  const folders = { model: shared('models/mini-bert'), data: shared('data/sst2') }
  const rows = Object.entries(rates).map(([method, rate]) => {
    const options = { method, rate, ...settings }
    return {
      ours: taskRun(`sst2 ${method} ours`, ours('sst2.mjs', options)),
      peer: peer && taskRun(`sst2 ${method} peer`, peer.run('hf_sst2.py', { ...folders, ...options })),
    }
  })
  return { settings: { ...settings, ...rateSettings(rates) }, rows }
}

/**
 * One pass over SST-2 with its real lengths, LoRA, ours with our defaults and the peer's Trainer with its own, in turn:
 * one process of each with every seed.
 *
 * @param {Plan} plan
 * @returns {Measured}
 */
function measureEpoch({ peer, rows: limit = 0, repeat }) {
  const folders = { model: shared('models/mini-bert'), data: shared('data/sst2') }
  const rows = Array.from({ length: repeat }, (_, seed) => {
    const options = { method: 'lora', ...TASKS.epoch, rows: limit, seed }
    return {
      seed,
      ours: taskRun(`epoch seed ${seed} ours`, ours('sst2.mjs', options)),
      peer: peer && taskRun(`epoch seed ${seed} peer`, peer.run('hf_sst2.py', { ...folders, ...options })),
    }
  })
  return { settings: { ...TASKS.epoch, ...(limit && { rows: limit }), seeds: repeat }, rows }
}

/** @param {Plan} plan @returns {Measured} */
function measureWikisql({ rows: limit }) {
  const { rates, ...defaults } = TASKS.wikisql
  const settings = { ...defaults, rows: limit ?? defaults.rows }
  shared('models/mini-llama')
  shared('data/wikisql')
  const rows = Object.entries(rates).map(([method, rate]) => ({
    ours: taskRun(`wikisql ${method} ours`, ours('wikisql.mjs', { method, rate, ...settings })),
  }))
  return { settings: { ...settings, ...rateSettings(rates) }, rows }
}

/** The learning rates as settings. @param {Record<string, number | undefined>} rates */
function rateSettings(rates) {
  return Object.fromEntries(
    Object.entries(rates).flatMap(([method, rate]) => (rate === undefined ? [] : [[`rate_${method}`, rate]])),
  )
}

/** @param {string} title @param {any} output @returns {import('./results.ts').TaskRun} */
function taskRun(title, { method, seconds, peak_rss_mb, trainable, all, file_mb, accuracy, loss, perplexity }) {
  const score = accuracy === undefined ? `loss ${loss.toFixed(3)}` : `accuracy ${accuracy.toFixed(3)}`
  console.error(`${title}: ${score}${seconds === undefined ? '' : ` in ${seconds.toFixed(1)} s`}, ${peak_rss_mb} MB`)
  return { method, seconds, peak_rss_mb, trainable, all, file_mb, accuracy, loss, perplexity }
}

/** Runs one of our measuring programs on plain Node. */
function ours(/** @type {string} */ program, /** @type {Record<string, string | number | undefined>} */ options) {
  return runJson(process.execPath, [join(ROOT, 'bench', program), ...flags(options)])
}

/** A path in the shared folder. Throws when it is not there. @param {string} path */
function shared(path) {
  const full = join(SHARED, path)
  if (!existsSync(full)) throw new Error(`${full} is not there; put it there, or choose other measurements with --only`)
  return full
}
