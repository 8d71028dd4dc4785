/** @file The Trainer on adapters that put virtual tokens in front of a text. */
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { temporaryFolder } from '../../test/temporary.ts'
import type { Feature } from '../data/index.ts'
import { type AnyPeftConfig, getPeftModel, PeftModel, PromptEncoderConfig, PromptTuningConfig } from '../peft/index.ts'
import { outputs, tiny } from '../peft/prompt-learning/testing/tiny.ts'
import { floats, tensorData } from '../runtime/index.ts'
import { Trainer } from './trainer.ts'

/** Two sentences of different lengths, which a prompt can call forth. */
const TEXTS = [
  [5, 9, 2, 30, 31],
  [11, 12, 13],
]
const data: Feature[] = TEXTS.map(inputIds => ({ inputIds, labels: [...inputIds] }))

describe.each<[string, () => AnyPeftConfig]>([
  ['prompt tuning', () => new PromptTuningConfig({ numVirtualTokens: 4, promptTuningInit: 'SAMPLE_VOCAB' })],
  ['P-tuning', () => new PromptEncoderConfig({ numVirtualTokens: 4, encoderHiddenSize: 16 })],
])('the Trainer with %s', (_, config) => {
  it('learns, leaves the base as it was, and saves what it takes to go on', async () => {
    const base = tiny('causal', 'llama')
    const before = base.parameters().map(parameter => parameter.data.slice())
    const model = getPeftModel(base, config())
    const outputDir = join(await temporaryFolder(), 'adapter')
    const args = { learningRate: 0.03, perDeviceTrainBatchSize: 2, numTrainEpochs: 30, threads: 1, outputDir }
    const trainer = new Trainer({ model, trainDataset: data, evalDataset: data, padTokenId: 0, args })
    const { eval_loss: first } = await trainer.evaluate()
    await trainer.train()
    expect((await trainer.evaluate()).eval_loss).toBeLessThan(0.8 * (first as number))
    expect(base.parameters().map(parameter => parameter.data)).toEqual(before)
    expect(await readdir(outputDir)).toContain('adapter_model.safetensors')
    const back = await PeftModel.fromPretrained(base, outputDir)
    const batch = { input_ids: tensorData('int64', [TEXTS[1]]) }
    const [a, b] = [await outputs(back, batch, 'logits'), await outputs(model, batch, 'logits')]
    for (const [i, value] of floats(a.logits).entries()) expect(value).toBeCloseTo(floats(b.logits)[i], 4)
  })

  it('predicts for the tokens of the text, not for those before it', async () => {
    const model = getPeftModel(tiny('causal', 'llama'), config())
    const args = { perDeviceEvalBatchSize: 2, threads: 1 }
    const { logits } = await new Trainer({ model, trainDataset: data, padTokenId: 0, args }).predict(data)
    for (const [i, text] of TEXTS.entries()) {
      const alone = floats((await outputs(model, { input_ids: tensorData('int64', [text]) }, 'logits')).logits)
      const expected = alone.slice(-40 * text.length)
      expect(logits[i]).toHaveLength(expected.length)
      for (const [at, value] of expected.entries()) expect(logits[i][at]).toBeCloseTo(value, 4)
    }
  })
})

describe('the Trainer with virtual tokens', () => {
  const noDropout = { resid_pdrop: 0, embd_pdrop: 0, attn_pdrop: 0 }
  const prompted = () =>
    getPeftModel(tiny('causal', 'gpt2', noDropout), new PromptTuningConfig({ numVirtualTokens: 4 }))

  it('weighs texts of different lengths as one batch of them would', async () => {
    const losses = []
    for (const perDeviceEvalBatchSize of [1, 2]) {
      const args = { perDeviceEvalBatchSize, threads: 1 }
      const trainer = new Trainer({ model: prompted(), trainDataset: data, evalDataset: data, padTokenId: 0, args })
      losses.push((await trainer.evaluate()).eval_loss as number)
    }
    expect(losses[0]).toBeCloseTo(losses[1], 5)
    const steps = []
    for (const gradientAccumulationSteps of [1, 2]) {
      const args = {
        perDeviceTrainBatchSize: 2 / gradientAccumulationSteps,
        gradientAccumulationSteps,
        maxSteps: 2,
        threads: 1,
      }
      const model = prompted()
      await new Trainer({ model, trainDataset: data, padTokenId: 0, args: { ...args, learningRate: 0.01 } }).train()
      steps.push(model.stateDict().get('prompt_embeddings')!.data)
    }
    for (const [i, value] of steps[0].entries()) expect(value).toBeCloseTo(steps[1][i], 4)
  })

  it('refuses texts that leave no positions for them', () => {
    const long: Feature[] = [{ inputIds: Array(30).fill(1), labels: Array(30).fill(1) }]
    const start = () => new Trainer({ model: prompted(), trainDataset: long, padTokenId: 0 })
    expect(start).toThrow(/got 30 tokens, the model takes at most 28/)
  })
})
