/** @file SST-2 on mini-bert with one method: `node bench/sst2.mjs --method lora`. Prints one line of JSON. */
import { join } from 'node:path'
import {
  AutoModelForSequenceClassification,
  AutoTokenizer,
  getPeftModel,
  LoraConfig,
  loadDataset,
  setTrainable,
  Trainer,
  trainHead,
} from 'peft-ts'
import { readOptions, trainAndEvaluate } from './lib/measure.mjs'
import { SHARED } from './lib/paths.mjs'

const { method, rows, epochs, rate, batch, seed } = readOptions({
  method: 'lora',
  rows: 8000,
  epochs: 2,
  rate: 2e-3,
  batch: 32,
  seed: 0,
})
const folder = join(SHARED, 'models/mini-bert')
const data = join(SHARED, 'data/sst2')

const base = await AutoModelForSequenceClassification.fromPretrained(folder, { numLabels: 2, seed })
const trainer = new Trainer({
  model: prepare(),
  tokenizer: await AutoTokenizer.fromPretrained(folder),
  trainDataset: await loadDataset(join(data, 'train.tsv'), { limit: rows || undefined }),
  evalDataset: await loadDataset(join(data, 'test.tsv')),
  tokenization: { textColumn: 'sentence', labelColumn: 'label', maxLength: 128, overlong: 'truncate' },
  args: {
    learningRate: rate,
    numTrainEpochs: epochs,
    perDeviceTrainBatchSize: batch,
    perDeviceEvalBatchSize: 64,
    seed,
  },
})
const { metrics, ...figures } = await trainAndEvaluate(trainer, `sst2-${method}`)
console.log(JSON.stringify({ method, ...figures, accuracy: metrics.eval_accuracy, loss: metrics.eval_loss }))

/** The model with those parameters trainable that the method trains. */
function prepare() {
  switch (method) {
    case 'lora':
      return getPeftModel(
        base,
        new LoraConfig({ r: 8, loraAlpha: 16, taskType: 'SEQ_CLS', targetModules: ['query', 'value'] }),
        { seed },
      )
    case 'full':
      setTrainable(base, () => true)
      return base
    case 'head':
      trainHead(base)
      return base
    default:
      throw new Error(`--method is ${method}, expected lora, full or head`)
  }
}
