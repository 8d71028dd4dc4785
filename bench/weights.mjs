/** @file Writes a model of a published shape with random weights: `node bench/weights.mjs --shape bert-base --output DIR`. */
import { AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification } from 'peft-ts'
import { readOptions } from './lib/measure.mjs'
import { SHAPES } from './lib/shapes.mjs'

const { shape, output } = readOptions({ shape: 'bert-base', output: '' })
const { config, task } = SHAPES[shape]
const auto = task === 'SEQ_CLS' ? AutoModelForSequenceClassification : AutoModelForCausalLM
const model = auto.fromConfig(AutoConfig.fromJSON(config))
model.initialize(0)
await model.savePretrained(output)
console.log(JSON.stringify({ shape, output }))
