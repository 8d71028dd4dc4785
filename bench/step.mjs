/** @file Measures our LoRA training step: `node bench/step.mjs --shape bert-base --model DIR`. Prints one line of JSON. */
import {
  AdamW,
  AutoModelForCausalLM,
  AutoModelForSequenceClassification,
  clipGradNorm,
  getPeftModel,
  LoraConfig,
  tensorData,
  trainableParameters,
  valueAndGrad,
} from 'peft-ts'
import { peakMemory, readOptions, residentMemory } from './lib/measure.mjs'
import { SHAPES } from './lib/shapes.mjs'
import { median } from './lib/statistics.mjs'

const options = readOptions({
  ...{ shape: 'bert-base', model: '', mode: 'fast', checkpointing: 0, quantize: '', products: 'auto', steps: 5 },
  // As many as the peer's script leaves out.
  warmup: 2,
})
const { batch, seq, task, targetModules } = SHAPES[options.shape]
const mode = options.mode === 'small' ? 'small' : 'fast'

const auto = task === 'SEQ_CLS' ? AutoModelForSequenceClassification : AutoModelForCausalLM
const base = await auto.fromPretrained(
  options.model,
  options.quantize ? { quantize: /** @type {any} */ (options.quantize) } : {},
)
const model = getPeftModel(base, new LoraConfig({ r: 8, loraAlpha: 16, taskType: task, targetModules }))
const data = makeBatch(/** @type {import('../src/models/index.ts').TextConfig} */ (base.config).vocab_size)

const started = performance.now()
const step = await valueAndGrad(model, (peft, inputs) => /** @type {any} */ (peft.forward(inputs).loss), {
  mode,
  gradientCheckpointing: options.checkpointing > 0,
  quantizedProducts: /** @type {any} */ (options.products),
  inputs: model.inputSpecs(),
})
const optimizer = new AdamW(trainableParameters(model), { lr: 1e-4 })
const times = []
const losses = []
let firstStep = 0
for (let i = 0; i < options.steps + options.warmup; i++) {
  const before = performance.now()
  const { value, grads } = await step(data, { seed: i })
  clipGradNorm(grads, 1)
  optimizer.step(grads)
  const after = performance.now()
  losses.push(value)
  if (i === 0) firstStep = (after - started) / 1000
  if (i >= options.warmup) times.push((after - before) / 1000)
}
console.log(
  JSON.stringify({
    shape: options.shape,
    mode,
    seconds: median(times),
    min: Math.min(...times),
    peak_rss_mb: peakMemory(),
    ...residentMemory(),
    first_step_seconds: firstStep,
    loss: losses,
  }),
)

/** The same batch for every step, no padding: which tokens it holds does not matter to the speed. @param {number} vocabulary */
function makeBatch(vocabulary) {
  const ids = BigInt64Array.from({ length: batch * seq }, (_, i) => BigInt((i * 7919) % vocabulary))
  return {
    input_ids: tensorData('int64', ids, [batch, seq]),
    attention_mask: tensorData('int64', new BigInt64Array(batch * seq).fill(1n), [batch, seq]),
    labels:
      task === 'SEQ_CLS'
        ? tensorData(
            'int64',
            Array.from({ length: batch }, (_, i) => i % 2),
          )
        : tensorData('int64', ids, [batch, seq]),
  }
}
