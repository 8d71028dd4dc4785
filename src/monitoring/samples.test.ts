import { describe, expect, it } from 'vitest'
import { temporaryFolder } from '../../test/temporary.ts'
import { saveTinyLlama } from '../cli/testing/peft.ts'
import { AutoTokenizer, Dataset, type Tokenizer, tokenizeCausalLM } from '../data/index.ts'
import { AutoModelForCausalLM } from '../models/index.ts'
import type { TrainableModel } from '../training/index.ts'
import { trainingSamples } from './samples.ts'
import { evaluationOf } from './testing/training.ts'

const tokenizer = {
  decode: (tokens: Iterable<number>) => [...tokens].map(token => `w${token}`).join(' '),
} as unknown as Tokenizer

const classifier = { task: 'SEQ_CLS', config: { id2label: { 0: 'bad', 1: 'good' } } } as unknown as TrainableModel

describe('samples of a training', () => {
  it('are the predictions of an evaluation for examples spread over the data, with their confidence', async () => {
    const data = Array.from({ length: 6 }, (_, i) => ({ inputIds: [i], labels: i % 2 }))
    const samples = trainingSamples({ model: classifier, tokenizer, data, count: 2 })
    const log = evaluationOf(10)
    const logits = data.map((_, i) => Float32Array.of(0, i === 4 ? Math.log(3) : -Math.log(4)))
    samples.consider({ step: 10, logits, labels: [] })
    const event = await samples.at(log)
    expect(event).toMatchObject({ event: 'samples', step: 10, kind: 'prediction' })
    expect(event?.samples.map(({ input, expected, output }) => [input, expected, output])).toEqual([
      ['w1', 'good', 'bad'],
      ['w4', 'bad', 'good'],
    ])
    expect(event?.samples.map(({ confidence }) => confidence!.toFixed(4))).toEqual(['0.8000', '0.7500'])
    expect(samples.at(log)).toBe(samples.at(log))
    expect(await samples.at(evaluationOf(20))).toBeUndefined()
  })

  it('are texts that a language model writes to the prompts of the data', async () => {
    const folder = await saveTinyLlama(await temporaryFolder({}))
    const [model, words] = [
      await AutoModelForCausalLM.fromPretrained(folder),
      await AutoTokenizer.fromPretrained(folder),
    ]
    const rows = new Dataset([
      { prompt: 'a b', completion: ' c d' },
      { prompt: 'a b c', completion: ' d' },
    ])
    const data = tokenizeCausalLM(rows, words)
    const samples = trainingSamples({ model, tokenizer: words, data, maxNewTokens: 3 })
    const event = await samples.at(evaluationOf(1))
    expect(event?.kind).toBe('generation')
    expect(event?.samples.map(({ input, expected }) => [input, expected])).toEqual([
      ['a b', ' c d'],
      ['a b c', ' d'],
    ])
    const [{ inputIds, labels }] = data.features
    const prompt = inputIds.slice(
      0,
      (labels as number[]).findIndex(label => label >= 0),
    )
    const { newTokens } = await model.generate(prompt, { maxNewTokens: 3 })
    expect(event?.samples[0].output).toBe(words.decode(newTokens[0], { skipSpecialTokens: true }))
  })

  it('that cannot be made are told once and do not end the training', async () => {
    const told: string[] = []
    const model = { task: 'CAUSAL_LM', config: {} } as unknown as TrainableModel
    const data = [{ inputIds: [1, 2], labels: [-100, 2] }]
    const samples = trainingSamples({ model, tokenizer, data, onWarning: message => told.push(message) })
    expect(await samples.at(evaluationOf(1))).toBeUndefined()
    expect(await samples.at(evaluationOf(2))).toBeUndefined()
    expect(told).toEqual([expect.stringMatching(/^Samples could not be made, the training goes on without them: /)])
  })
})
