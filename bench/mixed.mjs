/**
 * @file Measures batches whose rows use different adapters, loading many and switching: `node bench/mixed.mjs --model DIR`;
 * without a model, BERT-base's shape with random weights. Prints one line of JSON.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  AutoConfig,
  AutoModelForSequenceClassification,
  compile,
  getPeftModel,
  LoraConfig,
  PeftModel,
  tensorData,
} from 'peft-ts'
import { peakMemory, readOptions } from './lib/measure.mjs'
import { SHAPES } from './lib/shapes.mjs'
import { median } from './lib/statistics.mjs'

const options = readOptions({ model: '', batch: 64, seq: 32, load: 100, runs: 4 })
const { batch, seq, load, runs } = options
const COUNTS = [1, 8, 32]
const SWITCHES = 10

const { targetModules, config } = SHAPES['bert-base']
const folder = await mkdtemp(join(tmpdir(), 'peft-ts-bench-'))
try {
  const base = options.model
    ? await AutoModelForSequenceClassification.fromPretrained(options.model, { onWarning: () => {} })
    : AutoModelForSequenceClassification.fromConfig(AutoConfig.fromJSON(config))
  if (!options.model) base.initialize(0)
  await getPeftModel(base, new LoraConfig({ r: 8, targetModules, initLoraWeights: false })).savePretrained(folder)
  const peft = new PeftModel(base)
  const loads = []
  for (let i = 0; i < Math.max(load, ...COUNTS); i++) loads.push(await timed(() => peft.loadAdapter(folder, `a${i}`)))

  /** @type {Record<string, number>} */
  const seconds = { single: await measure(undefined) }
  for (const count of COUNTS) {
    seconds[count] = await measure(Array.from({ length: batch }, (_, row) => `a${row % count}`))
  }
  console.log(
    JSON.stringify({
      ...{ batch, seq, seconds },
      first_load: loads[0],
      last_load: median(loads.slice(-5)),
      ...(await switching(peft)),
      peak_rss_mb: peakMemory(),
    }),
  )

  /** Median seconds of a batch, the first run left out. @param {string[] | undefined} rows the adapter of each row */
  async function measure(rows) {
    const chosen = rows && peft.adapterRows(rows)
    const run = await compile(peft, (model, inputs) => {
      const names = chosen && { adapter_names: chosen.names }
      return { logits: /** @type {any} */ (model.forward({ ...inputs, ...names }).logits) }
    })
    const inputs = {
      ...tokens(/** @type {any} */ (base.config).vocab_size),
      ...(chosen && { adapter_indices: chosen.indices }),
    }
    const times = []
    for (let i = 0; i < runs; i++) times.push(await timed(() => run(inputs)))
    await run.dispose()
    return median(times.slice(1))
  }
} finally {
  await rm(folder, { recursive: true, force: true })
}

/**
 * What a switch costs beside the run that follows it: the difference of runs with and without one is noise, so both
 * sides are measured without a model's work, on one token.
 *
 * @param {PeftModel<any>} peft
 */
async function switching(peft) {
  const run = await compile(peft, (model, inputs) => ({
    logits: /** @type {any} */ (model.forward(inputs).logits),
  }))
  const one = { input_ids: tensorData('int64', [[1]]), attention_mask: tensorData('int64', [[1]]) }
  const first = []
  const again = []
  const runOnly = []
  await run(one)
  for (let i = 0; i < SWITCHES; i++) {
    const started = performance.now()
    peft.setAdapter(`a${i + 2}`)
    first.push((performance.now() - started) / 1000 + startOf(() => run(one)))
    await Promise.resolve()
  }
  for (let i = 0; i < SWITCHES; i++) {
    const started = performance.now()
    peft.setAdapter(`a${i % 2}`)
    again.push((performance.now() - started) / 1000 + startOf(() => run(one)))
    runOnly.push(startOf(() => run(one)))
  }
  await run(one)
  await run.dispose()
  return { switch: median(again), first_switch: median(first), without_switch: median(runOnly) }
}

/** The seconds until a run first waits: values are copied then, and sent afterwards, which does not count here. @param {() => Promise<unknown>} run */
function startOf(run) {
  const started = performance.now()
  const done = run()
  const seconds = (performance.now() - started) / 1000
  done.catch(error => {
    throw error
  })
  return seconds
}

/** @param {() => Promise<unknown>} work */
async function timed(work) {
  const started = performance.now()
  await work()
  return (performance.now() - started) / 1000
}

/** The same tokens for every run: which ones does not matter to the speed. @param {number} vocabulary */
function tokens(vocabulary) {
  const ids = BigInt64Array.from({ length: batch * seq }, (_, i) => BigInt((i * 7919) % vocabulary))
  return {
    input_ids: tensorData('int64', ids, [batch, seq]),
    attention_mask: tensorData('int64', new BigInt64Array(batch * seq).fill(1n), [batch, seq]),
  }
}
