/** @file Switching between adapters: what was compiled follows, and compiles again only for another computation. */
import { describe, expect, it } from 'vitest'
import { add, type Tensor } from '../graph/index.ts'
import { compile } from '../models/function.ts'
import { Linear, Module } from '../nn/index.ts'
import { floats, tensorData } from '../runtime/index.ts'
import { AdamW, trainableParameters, valueAndGrad } from '../training/index.ts'
import { getPeftModel, IA3Config, PeftModel, setPeftModelStateDict } from './index.ts'
import {
  addDrawn,
  batch,
  CountingEngine,
  expectClose,
  logitsOf,
  lora,
  perturb,
  rowOf,
  tinyBert,
} from './testing/life.ts'

async function following(peft: PeftModel) {
  const engine = new CountingEngine()
  const run = await compile(peft, (model, inputs) => ({ logits: model.forward(inputs).logits! }), {
    engine,
    inputs: peft.inputSpecs(),
  })
  return {
    engine,
    logits: async () => floats((await run(batch)).logits).slice(),
    run,
    [Symbol.asyncDispose]: async () => {
      await run.dispose()
      await engine.dispose()
    },
  }
}

const several = () => {
  const peft = new PeftModel(tinyBert())
  for (const [i, name] of ['one', 'two', 'three'].entries()) {
    addDrawn(peft, name, lora({ loraAlpha: 8 * (i + 1), modulesToSave: ['classifier'] }), i)
  }
  return peft
}

describe('a compiled function', () => {
  it('follows setAdapter without compiling, also to adapters of other scales and back', async () => {
    const peft = several()
    await using compiled = await following(peft)
    for (const name of ['one', 'two', 'three', 'one', 'two']) {
      peft.setAdapter(name)
      expectClose(await compiled.logits(), await logitsOf(peft))
    }
    expect(compiled.engine.compilations).toBe(1)
  })

  it('compiles again for what is another computation: other shapes, methods, several adapters, none', async () => {
    const peft = several()
    addDrawn(peft, 'wide', lora({ r: 6 }), 7)
    addDrawn(peft, 'factors', new IA3Config({ targetModules: ['query'], feedforwardModules: [] }), 8)
    await using compiled = await following(peft)
    for (const names of [['one'], ['wide'], ['factors'], ['one', 'two'], ['two'], ['two', 'wide']]) {
      peft.setAdapter(names)
      expectClose(await compiled.logits(), await logitsOf(peft))
    }
    expect(compiled.engine.compilations).toBe(5)
    const off = await peft.disableAdapter(() => compiled.logits())
    expectClose(off, await logitsOf(peft.getBaseModel()))
    expectClose(await compiled.logits(), await logitsOf(peft))
    expect(compiled.engine.compilations).toBe(6)
  })

  it('follows scales, new values, adapters that come and go, and merging', async () => {
    const peft = several()
    await using compiled = await following(peft)
    const same = async () => expectClose(await compiled.logits(), await logitsOf(peft))
    await same()
    peft.setScale('one', 0.25)
    await same()
    for (const layer of peft.adapter('one').layers.values()) layer.setScale('one', 3)
    await same()
    perturb(peft, 'one', 11)
    await same()
    const entries = [...peft.stateDict('two')].map(
      ([key, p]) => [key, { shape: p.shape, read: () => p.read() }] as const,
    )
    await setPeftModelStateDict(peft, new Map(entries), 'one')
    await same()
    peft.deleteAdapter('one')
    await same()
    addDrawn(peft, 'one', lora({ modulesToSave: ['classifier'] }), 12)
    peft.setAdapter('one')
    await same()
    expect(compiled.engine.compilations).toBe(1)
    await peft.mergeAdapter()
    await same()
    peft.unmergeAdapter()
    await same()
  })

  it('computes with the adapter, and the values, that it had when it was called', async () => {
    const peft = several()
    await using compiled = await following(peft)
    peft.setAdapter('one')
    const expected = await compiled.logits()
    const running = compiled.logits()
    peft.setAdapter('two')
    for (const parameter of peft.stateDict('one').values()) parameter.data.fill(0)
    expect(await running).toEqual(expected)
    expect(await compiled.logits()).not.toEqual(expected)
  })

  it('is fed the values of the adapters that take part, and of no other', async () => {
    const peft = several()
    const sizes: number[] = []
    await using engine = new CountingEngine()
    const compiling = engine.compile.bind(engine)
    engine.compile = async (...parameters) => {
      const executable = await compiling(...parameters)
      const run = executable.run.bind(executable)
      executable.run = (feeds, options) => {
        sizes.push(
          ...Object.entries(feeds).flatMap(([name, feed]) =>
            'data' in feed && !(name in batch) ? feed.data.length : [],
          ),
        )
        return run(feeds, options)
      }
      return executable
    }
    await using run = await compile(peft, (m, inputs) => ({ y: m.forward(inputs).logits! }), { engine })
    await run(batch)
    const own = [...peft.stateDict('one').values()].reduce((sum, { size }) => sum + size, 0)
    const layers = peft.adapter('one').layers.size
    expect(sizes.reduce((a, b) => a + b, 0)).toBe(own + layers)
  })

  it('follows training of the active adapter', async () => {
    const peft = several()
    await using compiled = await following(peft)
    const before = await compiled.logits()
    await using step = await valueAndGrad(peft, (model, inputs) => model.forward(inputs).loss!)
    const labels = tensorData('int64', [0, 1, 2, 0])
    new AdamW(trainableParameters(peft), { lr: 0.1 }).step((await step({ ...batch, labels })).grads)
    expect(await compiled.logits()).not.toEqual(before)
    expectClose(await compiled.logits(), await logitsOf(peft))
  })

  it('of a training step never computes another adapter than the active one', async () => {
    const peft = several()
    await using step = await valueAndGrad(peft, (model, inputs) => model.forward(inputs).loss!, { training: false })
    const labelled = { ...batch, labels: tensorData('int64', [0, 1, 2, 0]) }
    const first = (await step(labelled)).value
    peft.setScale('one', 0)
    expect((await step(labelled)).value).not.toBe(first)
    peft.setAdapter('two')
    await expect(step(labelled)).rejects.toThrow(/does not depend on any trainable parameter/)
  })

  it('takes rows of all adapters, of which one more is another computation', async () => {
    const peft = several()
    await using compiled = await following(peft)
    const rows = async () => {
      const adapter_indices = peft.adapterIndices(['three', 'one', '__base__', 'three'])
      return floats((await compiled.run({ ...batch, adapter_indices })).logits).slice()
    }
    const first = await rows()
    peft.setAdapter('three')
    expectClose(rowOf(first, 0), rowOf(await compiled.logits(), 0))
    expect(await rows()).toEqual(first)
    addDrawn(peft, 'four', lora(), 4)
    expectClose(await rows(), first)
  })
})

describe('a module of one’s own', () => {
  class Net extends Module {
    one = new Linear(4, 4)
    forward(x: Tensor) {
      return add(this.one.forward(x), x)
    }
  }

  it('is followed too', async () => {
    const net = new Net()
    net.initialize(1)
    const peft = getPeftModel(net, lora({ targetModules: ['one'] }))
    addDrawn(peft as PeftModel, 'other', lora({ targetModules: ['one'] }), 4)
    await using run = await compile(peft, (m, { x }) => ({ y: m.forward(x as never) as unknown as Tensor }))
    const y = async () => floats((await run({ x: tensorData('float32', [[1, 2, 3, 4]]) })).y).slice()
    const first = await y()
    peft.setAdapter('other')
    expect(await y()).not.toEqual(first)
    peft.setAdapter('default')
    expect(await y()).toEqual(first)
  })
})
