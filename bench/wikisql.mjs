/** @file WikiSQL on mini-llama with one method: `node bench/wikisql.mjs --method lora`. Prints one line of JSON. */
import { join } from 'node:path'
import {
  AutoModelForCausalLM,
  AutoTokenizer,
  getPeftModel,
  LoraConfig,
  loadDataset,
  setTrainable,
  Trainer,
} from 'peft-ts'
import { countParameters, peakMemory, readOptions, trainAndEvaluate } from './lib/measure.mjs'
import { SHARED } from './lib/paths.mjs'

const { method, rows, epochs, rate, batch, seed } = readOptions({
  method: 'lora',
  rows: 1000,
  epochs: 3,
  rate: 2e-3,
  batch: 8,
  seed: 0,
})
const folder = join(SHARED, 'models/mini-llama')
const data = join(SHARED, 'data/wikisql')

const base = await AutoModelForCausalLM.fromPretrained(folder)
const trainer = new Trainer({
  model: prepare(),
  tokenizer: await AutoTokenizer.fromPretrained(folder),
  trainDataset: await loadDataset(join(data, 'train.jsonl'), { limit: rows }),
  evalDataset: await loadDataset(join(data, 'test.jsonl')),
  args: {
    learningRate: rate,
    numTrainEpochs: epochs,
    perDeviceTrainBatchSize: batch,
    perDeviceEvalBatchSize: 8,
    seed,
  },
})
const { metrics, ...figures } =
  method === 'base' ? await evaluate() : await trainAndEvaluate(trainer, `wikisql-${method}`)
console.log(JSON.stringify({ method, ...figures, loss: metrics.eval_loss, perplexity: metrics.eval_perplexity }))

/** The figures of the base as it is. */
async function evaluate() {
  const metrics = await trainer.evaluate()
  return { metrics, ...countParameters(base), trainable: 0, peak_rss_mb: peakMemory() }
}

/** The model with those parameters trainable that the method trains. */
function prepare() {
  switch (method) {
    case 'base':
      return base
    case 'lora':
      return getPeftModel(
        base,
        new LoraConfig({ r: 8, loraAlpha: 16, taskType: 'CAUSAL_LM', targetModules: 'all-linear' }),
        { seed },
      )
    case 'full':
      setTrainable(base, () => true)
      return base
    default:
      throw new Error(`--method is ${method}, expected base, lora or full`)
  }
}
