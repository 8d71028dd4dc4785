/** @file Swapping the values of an adapter in place. */
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { temporaryFolder } from '../../test/temporary.ts'
import { compile } from '../models/function.ts'
import { floats } from '../runtime/index.ts'
import { getPeftModel, hotswapAdapter, IA3Config, type LoraConfigOptions, PeftModel } from './index.ts'
import { batch, CountingEngine, expectClose, logitsOf, lora, perturb, tinyBert } from './testing/life.ts'

/** A saved adapter, and what it computes. */
async function saved(options: LoraConfigOptions, seed: number) {
  const peft = getPeftModel(tinyBert(), lora(options))
  perturb(peft, 'default', seed)
  const folder = await temporaryFolder()
  await peft.savePretrained(folder)
  return { folder, logits: await logitsOf(peft) }
}

describe('hotswapAdapter', () => {
  it('goes on in the same compiled function with other values, scales and smaller ranks', async () => {
    const peft = getPeftModel(tinyBert(), lora({ modulesToSave: ['classifier'] }))
    await using engine = new CountingEngine()
    await using run = await compile(peft, (m, inputs) => ({ y: m.forward(inputs).logits! }), { engine })
    const logits = async () => floats((await run(batch)).y).slice()
    await logits()
    const head = { modulesToSave: ['classifier'] }
    for (const [i, options] of [head, { ...head, loraAlpha: 3 }, { ...head, r: 2, loraAlpha: 5 }].entries()) {
      const other = await saved(options, i + 5)
      await hotswapAdapter(peft, other.folder, 'default')
      expectClose(await logits(), other.logits)
    }
    expect(engine.compilations).toBe(1)
    // It is what it computes: saved and loaded again too.
    const folder = await temporaryFolder()
    await peft.savePretrained(folder)
    expectClose(await logitsOf(await PeftModel.fromPretrained(tinyBert(), folder)), await logits())
    expect(await logitsOf(peft.getBaseModel())).toEqual(await logitsOf(tinyBert()))
  })

  it('takes larger ranks too, which go on training', async () => {
    const peft = getPeftModel(tinyBert(), lora())
    const other = await saved({ r: 6, loraAlpha: 8 }, 3)
    await hotswapAdapter(peft, other.folder)
    expectClose(await logitsOf(peft), other.logits)
    const trained = [...peft.stateDict().values()]
    expect(trained.every(({ requiresGrad, varies }) => requiresGrad && varies)).toBe(true)
    expect(peft.configOf('default').toJSON()).toMatchObject({ r: 6 })
  })

  it('leaves layers alone that the other adapter leaves alone', async () => {
    const peft = getPeftModel(tinyBert(), lora())
    const other = await saved({ targetModules: ['query'] }, 4)
    await hotswapAdapter(peft, other.folder)
    expectClose(await logitsOf(peft), other.logits)
  })

  it('refuses what does not fit, and changes nothing', async () => {
    const peft = getPeftModel(tinyBert(), lora())
    const before = await logitsOf(peft)
    const swap = (folder: string) => hotswapAdapter(peft, folder)
    await expect(swap((await saved({ useRslora: true }, 1)).folder)).rejects.toThrow(/useRslora is false in "default"/)
    await expect(swap((await saved({ loraDropout: 0.1 }, 1)).folder)).rejects.toThrow(/loraDropout/)
    await expect(swap((await saved({ alphaPattern: { query: 3 } }, 1)).folder)).rejects.toThrow(/alphaPattern/)
    await expect(swap((await saved({ useDora: true }, 1)).folder)).rejects.toThrow(/useDora|no place for/)
    await expect(swap((await saved({ targetModules: ['key'] }, 1)).folder)).rejects.toThrow(/no place for.*key/)
    const other = getPeftModel(tinyBert(), new IA3Config({ targetModules: ['query'], feedforwardModules: [] }))
    const folder = await temporaryFolder()
    await other.savePretrained(folder)
    await expect(swap(folder)).rejects.toThrow(/"default" is LORA, .* holds IA3/)
    await expect(hotswapAdapter(other, folder)).rejects.toThrow(/cannot be swapped in place/)
    await expect(swap(join(folder, 'none'))).rejects.toThrow()
    await expect(hotswapAdapter(peft, folder, 'x')).rejects.toThrow(/no adapter "x"/)
    await peft.mergeAdapter()
    await expect(swap((await saved({}, 1)).folder)).rejects.toThrow(/call unmergeAdapter/)
    peft.unmergeAdapter()
    expect(await logitsOf(peft)).toEqual(before)
  })
})

describe('scales', () => {
  it('are factors on what the options say, of an adapter or of a layer', async () => {
    const peft = getPeftModel(tinyBert(), lora())
    const [first, half] = [await logitsOf(peft), getPeftModel(tinyBert(), lora({ loraAlpha: 4 }))]
    peft.setScale('default', 0.5)
    expectClose(await logitsOf(peft), await logitsOf(half))
    const layers = [...peft.adapter('default').layers.values()] as unknown as {
      scaleLayer(scale: number): void
      unscaleLayer(scale?: number): void
    }[]
    for (const layer of layers) layer.scaleLayer(4)
    for (const layer of layers) layer.unscaleLayer(2)
    expectClose(await logitsOf(peft), first)
    for (const layer of layers) layer.scaleLayer(7)
    for (const layer of layers) layer.unscaleLayer()
    expectClose(await logitsOf(peft), first)
    peft.setScale('default', 0)
    expectClose(await logitsOf(peft), await logitsOf(peft.getBaseModel()))
    expect(() => peft.setScale('default', Number.NaN)).toThrow(/must be a number/)
  })

  it('are refused by methods that have none', () => {
    const peft = getPeftModel(tinyBert(), new IA3Config({ targetModules: ['query'], feedforwardModules: [] }))
    expect(() => peft.setScale('default', 2)).toThrow(/has no scale/)
  })
})
