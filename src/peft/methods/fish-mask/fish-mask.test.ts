/** @file Tests of FISH Mask: exactly the chosen weights train, and they are those that matter. */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { temporaryFolder } from '../../../../test/temporary.ts'
import { compile } from '../../../models/function.ts'
import type { Module } from '../../../nn/index.ts'
import { floats } from '../../../runtime/index.ts'
import { AdamW, prepareAdapters, SGD, Trainer, valueAndGrad } from '../../../training/index.ts'
import { SafetensorsFile } from '../../../weights/index.ts'
import { getPeftModel, PeftModel } from '../../index.ts'
import { flatIndices } from '../../sparse/layer.ts'
import { BATCHES, classifier, languageModel, train } from '../../sparse/testing/classifier.ts'
import { FishMaskConfig, type FishMaskConfigOptions } from './index.ts'

const SHARE = 0.02

async function prepared(options: FishMaskConfigOptions = {}, base: Module = classifier()) {
  const peft = getPeftModel(base, new FishMaskConfig({ keepShare: SHARE, ...options }))
  await prepareAdapters(peft as PeftModel, BATCHES)
  return { base, peft: peft as PeftModel }
}

const logits = async (model: Module) => {
  await using run = await compile(model, (m, inputs) => ({ y: (m as PeftModel).forward(inputs).logits! }))
  const { labels: _, ...inputs } = BATCHES[0]
  return floats((await run(inputs)).y).slice()
}

/** The names and positions of all weights that differ between two models. */
async function differences(a: Module, b: Module): Promise<string[]> {
  const others = new Map(b.namedParameters())
  const found: string[] = []
  for (const [name, parameter] of a.namedParameters()) {
    const [own, other] = [await parameter.read(), await others.get(name)!.read()]
    own.forEach((value, i) => {
      if (!Object.is(value, other[i])) found.push(`${name}:${i}`)
    })
  }
  return found.sort()
}

/** The names and positions of the entries that an adapter trains. */
function chosen(peft: PeftModel): string[] {
  const state = peft.stateDict()
  const found: string[] = []
  for (const [key, indices] of state) {
    const match = /^base_model\.model\.(.*)\.sparse_indices\.(\w+)$/.exec(key)
    if (!match) continue
    const { shape } = new Map(peft.getBaseModel().namedParameters()).get(`${match[1]}.${match[2]}`)!
    for (const at of flatIndices(indices, shape)) found.push(`${match[1]}.${match[2]}:${at}`)
  }
  return found.sort()
}

describe('FISH Mask', () => {
  it.each([
    ['AdamW with weight decay', (p: Iterable<never>) => new AdamW(p, { lr: 0.01, weightDecay: 0.1 })],
    ['SGD with momentum and decay', (p: Iterable<never>) => new SGD(p, { lr: 0.01, momentum: 0.9, weightDecay: 0.1 })],
  ])('changes exactly the chosen weights, bit for bit, with %s', async (_, make) => {
    const { base, peft } = await prepared()
    const before = await logits(peft)
    await train(peft, make as never, 5)
    const merged = await peft.mergeAndUnload()
    expect(await differences(merged, base)).toEqual(chosen(peft))
    expect(await logits(merged)).toEqual(await logits(peft))
    expect(await logits(peft)).not.toEqual(before)
  })

  it('chooses the weights with the largest mean of squared gradients of single examples', async () => {
    const { peft } = await prepared()
    const base = classifier()
    const weights = [...base.namedParameters()].filter(([name]) => /(query|key|value|dense)\.weight$/.test(name))
    await using step = await valueAndGrad(base, (model, inputs) => model.forward(inputs).loss!, {
      parameters: weights,
      training: false,
    })
    const total = weights.reduce((sum, [, { size }]) => sum + size, 0)
    const fisher = new Float64Array(total)
    for (const { input_ids, attention_mask, labels } of BATCHES) {
      for (let row = 0; row < 4; row++) {
        const take = <T extends { data: unknown; dims: readonly number[] }>(tensor: T) => {
          const size = tensor.dims[1] ?? 1
          const data = (tensor.data as BigInt64Array).slice(row * size, (row + 1) * size)
          return { ...tensor, data, dims: [1, ...tensor.dims.slice(1)] }
        }
        const example = { input_ids: take(input_ids), attention_mask: take(attention_mask), labels: take(labels) }
        const { grads } = await step(example)
        for (const [i, g] of grads.data.entries()) fisher[i] += g * g
      }
    }
    const names = weights.flatMap(([name, { size }]) => Array.from({ length: size }, (_, i) => `${name}:${i}`))
    const order = names.map((name, i) => ({ name, score: fisher[i] })).sort((a, b) => b.score - a.score)
    const expected = new Set(order.slice(0, Math.round(SHARE * total)).map(({ name }) => name))
    const found = chosen(peft)
    expect(found.length).toBe(expected.size)
    // Rounding may swap those at the edge.
    expect(found.filter(name => !expected.has(name)).length).toBeLessThanOrEqual(1)
  })

  it('tells how much it trains before it knows what, and keeps to it', async () => {
    const peft = getPeftModel(classifier(), new FishMaskConfig({ keepShare: SHARE }))
    const before = peft.getNbTrainableParameters().trainable
    await prepareAdapters(peft, BATCHES)
    expect(peft.getNbTrainableParameters().trainable).toBe(before)
    expect(chosen(peft as PeftModel).length).toBe(before)
  })

  it('takes the share of each matrix with the scope "layer"', async () => {
    const { peft } = await prepared({ scope: 'layer' })
    const query = peft
      .stateDict()
      .get('base_model.model.bert.encoder.layer.0.attention.self.query.sparse_values.weight')
    expect(query?.shape).toEqual([Math.round(SHARE * 16 * 16)])
  })

  it('takes biases, norms and tied embeddings in where asked for', async () => {
    const { base, peft } = await prepared({ trainBiases: true, trainNorms: true, keepShare: 0.3 })
    await train(peft, p => new AdamW(p, { lr: 0.01 }), 2)
    const changed = await differences(await peft.mergeAndUnload(), base)
    expect(changed).toEqual(chosen(peft))
    expect(changed.some(name => name.includes('.dense.bias'))).toBe(true)
    expect(changed.some(name => name.includes('LayerNorm.weight'))).toBe(true)

    const tied = getPeftModel(languageModel(), new FishMaskConfig({ keepShare: 0.3, trainEmbeddings: true }))
    const data = BATCHES.map(({ labels: _, ...batch }) => ({ ...batch, labels: batch.input_ids }))
    await prepareAdapters(tied, data)
    for (const [name, parameter] of tied.namedParameters()) {
      if (name.includes('sparse_values')) parameter.data = parameter.data.map(value => value + 1)
    }
    const merged = (await tied.mergeAndUnload()) as ReturnType<typeof languageModel> & { lm_head: { weight: unknown } }
    expect(merged.lm_head.weight).toBe((merged.getInputEmbeddings() as unknown as { weight: unknown }).weight)
    expect(await logits(merged)).toEqual(await logits(tied as unknown as Module))
  })

  it('refuses to train, to be saved and to be merged before it has seen data, with the way out', async () => {
    const peft = getPeftModel(classifier(), new FishMaskConfig())
    const started = valueAndGrad(peft, (model, inputs) => model.forward(inputs).loss!).then(step => step(BATCHES[0]))
    await expect(started).rejects.toThrow(/"default" cannot train yet.*prepareAdapters/)
    await expect(peft.savePretrained(await temporaryFolder())).rejects.toThrow(/cannot be saved.*prepareAdapters/)
    await expect(peft.mergeAndUnload()).rejects.toThrow(/cannot be merged.*prepareAdapters/)
  })

  it('is prepared by the Trainer with the training data, rows one by one, and says so', async () => {
    const peft = getPeftModel(
      classifier(),
      new FishMaskConfig({ keepShare: SHARE, numSamples: 5, taskType: 'SEQ_CLS' }),
    )
    const trainDataset = Array.from({ length: 12 }, (_, i) => ({ inputIds: [1 + i, 2, 3 + (i % 4)], labels: i % 2 }))
    const told: string[] = []
    const trainer = new Trainer({
      model: peft,
      trainDataset,
      args: { maxSteps: 3, learningRate: 0.01, weightDecay: 0.1, perDeviceTrainBatchSize: 4 },
      callbacks: [{ onPrepare: ({ adapters }) => void told.push(...adapters) }],
    })
    await trainer.train()
    expect(told).toEqual(['default'])
    const state = [...peft.stateDict().keys()]
    expect(state.some(key => key.includes('sparse_values'))).toBe(true)
    const changed = await differences(await peft.mergeAndUnload(), peft.getBaseModel())
    const outsideHead = changed.filter(name => !name.startsWith('classifier.'))
    expect(outsideHead).toEqual(chosen(peft as PeftModel))
  })

  it('stops in the middle of the preparation when its signal says so', async () => {
    const peft = getPeftModel(classifier(), new FishMaskConfig({ keepShare: SHARE }))
    const trainer = new Trainer({ model: peft, trainDataset: [{ inputIds: [1, 2], labels: 0 }], args: { maxSteps: 1 } })
    await expect(trainer.train({ signal: AbortSignal.abort('enough') })).rejects.toMatchObject({ name: 'AbortError' })
    expect(peft.needsPreparation('default')).toBe(true)
  })

  it('has a file of entries and not of weights, which trains on without data', async () => {
    const { base, peft } = await prepared()
    await train(peft, p => new AdamW(p, { lr: 0.01 }), 2)
    const folder = await temporaryFolder()
    await peft.savePretrained(folder)
    const path = join(folder, 'adapter_model.safetensors')
    const trained = peft.getNbTrainableParameters().trainable
    expect((await readFile(path)).length).toBeLessThan(12 * trained + 20_000)
    await using file = await SafetensorsFile.open(path)
    const indices = file.names.filter(name => name.includes('sparse_indices'))
    expect(indices.every(name => file.info(name).dtype === 'I32' && file.info(name).shape[0] === 2)).toBe(true)

    const back = await PeftModel.fromPretrained(base, folder, { isTrainable: true })
    expect(back.needsPreparation('default')).toBe(false)
    expect(await logits(back)).toEqual(await logits(peft))
    await train(back, p => new AdamW(p, { lr: 0.01 }), 2)
    expect(await differences(await back.mergeAndUnload(), base)).toEqual(chosen(peft))
  })

  it.each([
    [{ keepShare: 0 }, /keepShare must lie above 0/],
    [{ keepShare: 1.5 }, /keepShare must lie above 0/],
    [{ scope: 'row' }, /scope must be "global" or "layer"/],
    [{ numSamples: 0.5 }, /numSamples must be a whole number/],
  ])('refuses %o', (options, message) => {
    expect(() => new FishMaskConfig(options as FishMaskConfigOptions)).toThrow(message)
  })
})
