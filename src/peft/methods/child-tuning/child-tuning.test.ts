/** @file Tests of Child-Tuning: D trains a fixed part, F another random part in each step. */
import { describe, expect, it } from 'vitest'
import { temporaryFolder } from '../../../../test/temporary.ts'
import { Gradients, Parameter, ParameterVector } from '../../../nn/index.ts'
import { AdamW, prepareAdapters, SGD } from '../../../training/index.ts'
import { SafetensorsFile } from '../../../weights/index.ts'
import { getPeftModel, type PeftModel } from '../../index.ts'
import { BATCHES, classifier, stepOf, train } from '../../sparse/testing/classifier.ts'
import { ChildTuningConfig, type ChildTuningConfigOptions } from './index.ts'
import { RandomPart } from './random-part.ts'

const model = (options: ChildTuningConfigOptions) =>
  getPeftModel(classifier(), new ChildTuningConfig(options)) as PeftModel

async function changed(peft: PeftModel): Promise<{ changed: number; all: number }> {
  const base = new Map(peft.getBaseModel().namedParameters())
  let count = 0
  let all = 0
  for (const [name, parameter] of (await peft.mergeAndUnload()).namedParameters()) {
    const [own, other] = [await parameter.read(), await base.get(name)!.read()]
    const different = own.filter((value, i) => !Object.is(value, other[i])).length
    if (different) all += parameter.size
    count += different
  }
  return { changed: count, all }
}

describe('Child-Tuning D', () => {
  it('trains its share of the weights, biases and norms of the dense layers, and nothing else under decay', async () => {
    const peft = model({ reserveP: 0.1 })
    const { trainable } = peft.getNbTrainableParameters()
    await prepareAdapters(peft, BATCHES)
    await train(peft, p => new AdamW(p, { lr: 0.01, weightDecay: 0.1 }), 4)
    expect((await changed(peft)).changed).toBe(trainable)
  })

  it('squares gradients of batches, shortened to a norm', async () => {
    const seen: unknown[] = []
    for (const maxGradNorm of [2 ** -10, null, 2 ** -12]) {
      const peft = model({ reserveP: 0.1, maxGradNorm })
      await prepareAdapters(peft, BATCHES)
      seen.push([...peft.stateDict()].map(([key, { data }]) => [key, [...data]]))
    }
    // Where all batches are shortened to one norm another norm changes nothing; without, large gradients weigh more.
    expect(seen[0]).toEqual(seen[2])
    expect(seen[0]).not.toEqual(seen[1])
  })
})

describe('Child-Tuning F', () => {
  it('keeps a share of the gradients, scaled up by it, and others in the next step', () => {
    const hook = new RandomPart(0.3, 7)
    const parameter = new Parameter([20_000], { init: undefined })
    parameter.data = new Float32Array(20_000)
    parameter.hook = hook
    const vector = new ParameterVector([['w', parameter]])
    const draw = (step: number, by = hook) => {
      parameter.hook = by
      const grads = new Gradients(vector, new Float32Array(20_000).fill(3))
      by.beforeStep(grads, step)
      return grads.data
    }
    const first = draw(1)
    const kept = first.filter(g => g !== 0)
    expect(kept.length / first.length).toBeCloseTo(0.3, 1)
    expect(new Set(kept)).toEqual(new Set([Math.fround(3 / 0.3)]))
    expect(draw(2)).not.toEqual(first)
    expect(draw(1)).toEqual(first)
    expect(draw(1, new RandomPart(0.3, 8))).not.toEqual(first)
  })

  it('changes only the drawn weights in a step of SGD, and needs no data before', async () => {
    const peft = model({ variant: 'F', reserveP: 0.2 })
    expect(peft.needsPreparation('default')).toBe(false)
    await train(peft, p => new SGD(p, { lr: 0.1 }), 1)
    const one = await changed(peft)
    expect(one.changed / one.all).toBeGreaterThan(0.12)
    expect(one.changed / one.all).toBeLessThan(0.25)
  })

  it('goes on from a checkpoint as if it had not stopped', async () => {
    const run = async (interrupt: boolean) => {
      const peft = model({ variant: 'F' })
      await using step = await stepOf(peft)
      let optimizer: AdamW | undefined
      for (let i = 0; i < 4; i++) {
        const { grads } = await step(BATCHES[0])
        optimizer ??= new AdamW(grads.parameters, { lr: 0.01 })
        if (interrupt && i === 2) {
          const state = optimizer.state()
          optimizer = new AdamW(grads.parameters, { lr: 0.01 })
          optimizer.loadState(state)
        }
        optimizer.step(grads)
      }
      return optimizer!.parameters.data.slice()
    }
    expect(await run(true)).toEqual(await run(false))
  })

  it('has a file with all values of its targets', async () => {
    const peft = model({ variant: 'F', targetModules: ['query'], trainNorms: false })
    const folder = await temporaryFolder()
    await peft.savePretrained(folder)
    await using file = await SafetensorsFile.open(`${folder}/adapter_model.safetensors`)
    expect(file.names).toContain('base_model.model.bert.encoder.layer.1.attention.self.query.sparse_values.weight')
    expect(file.names.some(name => name.includes('sparse_indices'))).toBe(false)
    expect(file.names.length).toBe(4)
  })
})

it.each([
  [{ variant: 'G' }, /variant must be "D" or "F"/],
  [{ reserveP: 0 }, /reserveP must lie above 0/],
  [{ numSamples: -1 }, /numSamples must be a whole number/],
  [{ maxGradNorm: 0 }, /maxGradNorm must be above 0/],
])('ChildTuningConfig refuses %o', (options, message) => {
  expect(() => new ChildTuningConfig(options as ChildTuningConfigOptions)).toThrow(message)
})
