/** @file The adapters of the oracle on every architecture, as AdapterHub has written them: computed, trained, saved. */
import '../index.ts'
import { describeHubCases } from './testing/battery.ts'

/** The names of a method's cases on several base models. */
const on = (method: string, bases: string) => bases.split(' ').map(base => `${method}-${base}`)

const BOTTLENECK = [
  ...on('seq_bn', 'bert roberta gpt2 llama t5 bart vit qwen2 distilbert with-head'),
  ...on('double_seq_bn', 'bert roberta gpt2 llama t5 bart vit qwen2 distilbert'),
  ...on('par_bn', 'bert roberta gpt2 llama t5 bart vit qwen2'),
  ...on('scaled_par_bn', 'bert gpt2 t5 vit'),
  ...on('cross_adapter', 't5 bart'),
]

describeHubCases(BOTTLENECK)
