/**
 * @file Measures generation with an active LoRA adapter that is not merged: `node bench/generate.mjs --shape smollm2-135m
 * --model DIR --batch 1 --mode fast`; `--quantize int8` for packed weights. Prints one line of JSON.
 */
import { AutoModelForCausalLM, getPeftModel, LoraConfig } from 'peft-ts'
import { peakMemory, readOptions } from './lib/measure.mjs'
import { SHAPES } from './lib/shapes.mjs'
import { median } from './lib/statistics.mjs'

const options = readOptions({
  ...{ shape: 'smollm2-135m', model: '', batch: 1, prompt: 128, new: 128, runs: 3, mode: 'fast', quantize: '' },
})
const { targetModules } = SHAPES[options.shape]
const mode = options.mode === 'small' ? 'small' : 'fast'
const keepPacked = options.mode === 'packed'

const base = await AutoModelForCausalLM.fromPretrained(options.model, {
  onWarning: () => {},
  ...(options.quantize && { quantize: /** @type {any} */ (options.quantize) }),
})
const config = new LoraConfig({ r: 8, loraAlpha: 16, taskType: 'CAUSAL_LM', targetModules, initLoraWeights: false })
const model = getPeftModel(base, config)
const { vocab_size } = /** @type {import('../src/models/index.ts').TextConfig} */ (/** @type {unknown} */ (base.config))
const prompts = Array.from({ length: options.batch }, (_, row) =>
  Array.from({ length: options.prompt }, (_, i) => (i * 7919 + row * 31) % vocab_size),
)

const started = performance.now()
await generate(4)
const first = (performance.now() - started) / 1000
const rates = []
const firsts = []
for (let i = 0; i < options.runs; i++) {
  firsts.push(await generate(1))
  rates.push((options.batch * options.new) / (await generate(options.new)))
}
console.log(
  JSON.stringify({
    ...{ shape: options.shape, batch: options.batch, mode: options.mode, quantize: options.quantize },
    tokens_per_second: median(rates),
    first_token_seconds: median(firsts),
    start_seconds: first,
    peak_rss_mb: peakMemory(),
  }),
)

/** Seconds for so many new tokens of each row. @param {number} count */
async function generate(count) {
  const before = performance.now()
  const { newTokens } = await model.generate(prompts, {
    ...{ maxNewTokens: count, eosTokenId: null, doSample: false, mode, keepPacked },
  })
  if (newTokens.some(tokens => tokens.length !== count)) throw new Error('a text ended early')
  return (performance.now() - before) / 1000
}
