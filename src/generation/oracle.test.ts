/** @file Greedy continuations against Transformers'. */
import { afterAll, describe, expect, it } from 'vitest'
import { oracleCase, skippable } from '../../test/shared.ts'
import { AutoModelForCausalLM, AutoModelForSeq2SeqLM } from '../models/index.ts'
import { goldenTensors } from '../models/testing/oracle.ts'
import { Engine, NodeBackend } from '../runtime/index.ts'
import { generate } from './index.ts'

const engine = new Engine(new NodeBackend())
afterAll(() => engine.dispose())

const seq2seq = ['t5-seq2seq', 'flan-t5-seq2seq', 'mt5-seq2seq', 'bart-seq2seq']

describe.each(seq2seq)('generate behind an encoder', name => {
  const folder = oracleCase('models', name)

  it.skipIf(!folder)(
    skippable(`oracle: ${name} answers as in Transformers`, !folder && 'no copy of the oracle here'),
    async () => {
      const model = await AutoModelForSeq2SeqLM.fromPretrained(folder!, { onWarning: () => {} })
      const tokens = (key: string) => Array.from(goldenTensors(folder!, key)[''].data as BigInt64Array, Number)
      const [prompt, expected] = [tokens('in.generate'), tokens('out.generate')]
      for (const cacheBucket of [3, 64]) {
        const options = { engine, eosTokenId: null, maxNewTokens: expected.length - 1, cacheBucket }
        const { sequences } = await generate(model, [prompt, prompt.slice(2)], options)
        expect(sequences[0]).toEqual(expected)
      }
    },
  )
})

describe.each(['llama-causal', 'llama-rope-scaled-causal', 'qwen2-causal', 'gpt2-causal'])('generate', name => {
  const folder = oracleCase('models', name)

  it.skipIf(!folder)(
    skippable(`oracle: ${name} continues as in Transformers`, !folder && 'no copy of the oracle here'),
    async () => {
      const model = await AutoModelForCausalLM.fromPretrained(folder!)
      const tokens = (key: string) => Array.from(goldenTensors(folder!, key)[''].data as BigInt64Array, Number)
      const [prompt, expected] = [tokens('in.generate'), tokens('out.generate')]
      for (const cacheBucket of [4, 64]) {
        const options = { engine, eosTokenId: null, maxNewTokens: expected.length - prompt.length, cacheBucket }
        const { sequences } = await generate(model, [prompt, prompt.slice(2)], options)
        expect(sequences[0]).toEqual(expected)
      }
    },
  )
})
