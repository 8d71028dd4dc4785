/** @file Merging in place: what it computes, what comes back, and what makes no sense meanwhile. */
import { describe, expect, it } from 'vitest'
import { temporaryFolder } from '../../test/temporary.ts'
import { trainableParameters, valueAndGrad } from '../training/index.ts'
import { getPeftModel, IA3Config, PeftModel } from './index.ts'
import { addDrawn, batch, expectClose, logitsOf, lora, perturb, tinyBert } from './testing/life.ts'

const modules = { modulesToSave: ['classifier'] }
const adapted = (options = {}) => {
  const peft = getPeftModel(tinyBert(), lora({ ...modules, ...options }))
  perturb(peft, 'default', 3)
  return peft
}
const ia3 = () =>
  new IA3Config({ targetModules: ['query', 'value', 'output.dense'], feedforwardModules: ['output.dense'] })

describe('mergeAdapter', () => {
  it('computes the same, with the plain layers alone, and unmergeAdapter brings back the very parameters', async () => {
    const peft = adapted()
    const before = [...peft.namedParameters()]
    const expected = await logitsOf(peft)
    const report = await peft.mergeAdapter()
    expect(report).toHaveLength(4)
    expect(Math.min(...report.map(({ largestChange }) => largestChange))).toBeGreaterThan(0)
    expect(peft.mergedAdapters).toEqual(['default'])
    expectClose(await logitsOf(peft), expected)
    peft.unmergeAdapter()
    const after = [...peft.namedParameters()]
    expect(after.map(([name]) => name)).toEqual(before.map(([name]) => name))
    for (const [i, [name, parameter]] of after.entries()) expect(parameter, name).toBe(before[i][1])
    expect(await logitsOf(peft)).toEqual(expected)
  })

  it('computes what several methods around one layer compute, whichever was put there first', async () => {
    for (const first of ['lora', 'ia3']) {
      const peft = new PeftModel(tinyBert())
      addDrawn(peft, 'one', first === 'lora' ? lora() : ia3(), 1)
      addDrawn(peft, 'two', first === 'lora' ? ia3() : lora(), 2)
      peft.setAdapter(['one', 'two'])
      const expected = await logitsOf(peft)
      await peft.mergeAdapter()
      expectClose(await logitsOf(peft), expected)
      peft.unmergeAdapter()
      expect(await logitsOf(peft)).toEqual(expected)
    }
  })

  it('merges further adapters beside those that are merged, and comes back to what was active', async () => {
    const peft = adapted({ modulesToSave: null })
    addDrawn(peft, 'other', lora({ targetModules: ['key', 'query'] }), 5)
    const alone = await logitsOf(peft)
    peft.setAdapter(['default', 'other'])
    const both = await logitsOf(peft)
    peft.setAdapter('default')
    await peft.mergeAdapter()
    await peft.mergeAdapter(['other'])
    expect(peft.mergedAdapters).toEqual(['default', 'other'])
    expectClose(await logitsOf(peft), both)
    peft.unmergeAdapter()
    expect(peft.activeAdapters).toEqual(['default'])
    expect(await logitsOf(peft)).toEqual(alone)
  })

  it('leaves the base alone, and with the adapters off computes what the base computes', async () => {
    const peft = adapted({ bias: 'lora_only', loraBias: true })
    const base = await logitsOf(peft.getBaseModel())
    await peft.mergeAdapter()
    expect(await logitsOf(peft.getBaseModel())).toEqual(base)
    expect(await peft.disableAdapter(() => logitsOf(peft))).toEqual(base)
    expect(await logitsOf(peft)).not.toEqual(base)
  })

  it('saves the same files while it is merged', async () => {
    const peft = adapted({ bias: 'all', loraBias: true })
    const state = () => [...peft.stateDict()]
    const before = state()
    await peft.mergeAdapter()
    for (const [i, [key, parameter]] of state().entries()) expect(parameter, key).toBe(before[i][1])
    const folder = await temporaryFolder()
    await peft.savePretrained(folder)
    const again = await PeftModel.fromPretrained(tinyBert(), folder)
    expectClose(await logitsOf(again), await logitsOf(peft))
  })

  it('merges nothing where a value would be infinite, unless it is told to', async () => {
    const peft = adapted()
    const expected = await logitsOf(peft)
    const bad = [...peft.stateDict()].filter(([key]) => key.includes('layer.1') && key.includes('lora_B'))[0][1]
    const values = bad.data.slice()
    bad.data = values.map(() => Number.POSITIVE_INFINITY)
    await expect(peft.mergeAdapter()).rejects.toThrow(/Infinity|NaN/)
    expect(peft.mergedAdapters).toEqual([])
    bad.data = values
    expect(await logitsOf(peft)).toEqual(expected)
    bad.data = values.map(() => Number.POSITIVE_INFINITY)
    await peft.mergeAdapter(undefined, { safeMerge: false })
    peft.unmergeAdapter()
    bad.data = values
    expect(await logitsOf(peft)).toEqual(expected)
  })

  it('refuses what makes no sense while adapters are merged, with the way out', async () => {
    const peft = adapted()
    peft.addAdapter('other', lora())
    await peft.mergeAdapter()
    const wayOut = /merged into the weights; call unmergeAdapter\(\) first/
    expect(() => peft.deleteAdapter('default')).toThrow(wayOut)
    expect(() => peft.setAdapter('other')).toThrow(wayOut)
    expect(() => peft.addAdapter('third', lora())).toThrow(wayOut)
    expect(() => peft.setRequiresGrad('default')).toThrow(wayOut)
    await expect(peft.mergeAdapter(['default'])).rejects.toThrow(wayOut)
    const step = await valueAndGrad(peft, (model, inputs) => model.forward(inputs).loss!)
    const labelled = {
      ...batch,
      labels: { dtype: 'int64' as const, dims: [4], data: BigInt64Array.from([0n, 1n, 2n, 0n]) },
    }
    await expect(step(labelled)).rejects.toThrow(wayOut)
    const rows = { ...batch, adapter_indices: peft.adapterIndices(['default', 'other', '__base__', 'default']) }
    await expect(logitsOf(peft, rows)).rejects.toThrow(wayOut)
    peft.setAdapter('default')
    peft.deleteAdapter('other')
    peft.unmergeAdapter()
    expect(() => peft.unmergeAdapter()).toThrow(/nothing to unmerge/)
    expect(trainableParameters(peft).size).toBeGreaterThan(0)
  })

  it('refuses where no adapter is named or active, or one is not there', async () => {
    const peft = adapted()
    await expect(peft.mergeAdapter(['defualt'])).rejects.toThrow(/Did you mean "default"/)
    peft.deleteAdapter('default')
    await expect(peft.mergeAdapter()).rejects.toThrow(/nothing to merge/)
  })
})

describe('mergeAndUnload and unload', () => {
  it('give plain models with the named adapters or none, also of a merged one', async () => {
    const peft = adapted()
    addDrawn(peft, 'other', lora({ targetModules: ['key'] }), 5)
    const first = await logitsOf(peft)
    peft.setAdapter('other')
    const other = await logitsOf(peft)
    await peft.mergeAdapter()
    expectClose(await logitsOf(await peft.mergeAndUnload({ adapterNames: ['default'] })), first)
    expectClose(await logitsOf(await peft.mergeAndUnload()), other)
    expectClose(await logitsOf(peft), other)
    const plain = await peft.unload()
    expect(plain.constructor).toBe(peft.getBaseModel().constructor)
    expect(await logitsOf(plain)).toEqual(await logitsOf(peft.getBaseModel()))
    peft.unmergeAdapter()
    peft.setAdapter('default')
    // The head that the adapter trained stays, as in PEFT.
    const trained = (await peft.unload()) as ReturnType<typeof tinyBert>
    const head = [...trained.namedParameters()].find(([name]) => name === 'classifier.weight')![1]
    expect(head.data).toEqual(peft.stateDict().get('base_model.model.classifier.weight')!.data)
  })
})
