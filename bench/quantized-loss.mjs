/**
 * @file LoRA on a quantised base against the float32 one: `node bench/quantized-loss.mjs --quantize int4 --seed 0`. WikiSQL on
 * mini-llama; the same seed is the same adapter, the same rows in the same order. Prints one line of JSON.
 */
import { join } from 'node:path'
import { AutoModelForCausalLM, AutoTokenizer, getPeftModel, LoraConfig, loadDataset, Trainer } from 'peft-ts'
import { peakMemory, readOptions } from './lib/measure.mjs'
import { SHARED } from './lib/paths.mjs'

const { quantize, products, steps, rate, batch, seed } = readOptions({
  ...{ quantize: '', products: 'auto' },
  ...{ steps: 200, rate: 2e-3, batch: 4, seed: 0 },
})
const folder = join(SHARED, 'models/mini-llama')
const data = join(SHARED, 'data/wikisql')

const scheme = /** @type {import('peft-ts').QuantizeName | ''} */ (quantize)
const base = await AutoModelForCausalLM.fromPretrained(folder, scheme ? { quantize: scheme } : {})
const trainer = new Trainer({
  model: getPeftModel(
    base,
    new LoraConfig({ r: 8, loraAlpha: 16, taskType: 'CAUSAL_LM', targetModules: ['q_proj', 'v_proj'] }),
    { seed },
  ),
  tokenizer: await AutoTokenizer.fromPretrained(folder),
  trainDataset: await loadDataset(join(data, 'train.jsonl'), { limit: steps * batch }),
  evalDataset: await loadDataset(join(data, 'test.jsonl')),
  args: {
    learningRate: rate,
    maxSteps: steps,
    perDeviceTrainBatchSize: batch,
    perDeviceEvalBatchSize: 8,
    quantizedProducts: /** @type {any} */ (products),
    seed,
  },
})
const before = await trainer.evaluate()
const { trainingLoss, globalStep } = await trainer.train()
const after = await trainer.evaluate()
console.log(
  JSON.stringify({
    quantize: quantize || 'f32',
    seed,
    steps: globalStep,
    first_loss: before.eval_loss,
    loss: after.eval_loss,
    training_loss: trainingLoss,
    peak_rss_mb: peakMemory(),
  }),
)
