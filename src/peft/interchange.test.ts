/** @file Adapters in each other's place: what was traced with one is taken over by another, where only values differ. */
import { describe, expect, it } from 'vitest'
import '../generation/index.ts'
import { mul } from '../graph/index.ts'
import { compile } from '../models/function.ts'
import { floats } from '../runtime/index.ts'
import { getPeftModel, IA3Config, PeftModel, setPeftModelStateDict, VeraConfig } from './index.ts'
import { formOf } from './interchange.ts'
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
  tinyLlama,
} from './testing/life.ts'

/** A function that follows the model, and how often the model was traced for it. */
async function following(peft: PeftModel) {
  const engine = new CountingEngine()
  let traces = 0
  const run = await compile(
    peft,
    (model, inputs) => {
      traces++
      return { logits: model.forward(inputs).logits! }
    },
    { engine, inputs: peft.inputSpecs() },
  )
  return {
    engine,
    run,
    traces: () => traces,
    logits: async () => floats((await run(batch)).logits).slice(),
    [Symbol.asyncDispose]: async () => {
      await run.dispose()
      await engine.dispose()
    },
  }
}

const twins = () => {
  const peft = new PeftModel(tinyBert())
  for (const [i, name] of ['one', 'two', 'three'].entries())
    addDrawn(peft, name, lora({ loraAlpha: 8 * (i + 1), modulesToSave: ['classifier'] }), i)
  return peft
}

describe('a compiled function', () => {
  it('is traced once for adapters that differ in values and scales only', async () => {
    const peft = twins()
    await using compiled = await following(peft)
    const seen: Float32Array[] = []
    for (const name of ['one', 'two', 'three', 'two', 'one']) {
      peft.setAdapter(name)
      seen.push(await compiled.logits())
      expectClose(seen.at(-1)!, await logitsOf(peft))
    }
    expect(compiled.traces()).toBe(1)
    expect(seen[3]).toEqual(seen[1])
    expect(seen[4]).toEqual(seen[0])
    expect(seen[1]).not.toEqual(seen[0])
  })

  it('is traced for what is none of them, and goes on with them afterwards', async () => {
    const peft = twins()
    addDrawn(peft, 'wide', lora({ r: 6, modulesToSave: ['classifier'] }), 4)
    addDrawn(peft, 'pattern', lora({ rankPattern: { query: 2 }, modulesToSave: ['classifier'] }), 5)
    addDrawn(peft, 'elsewhere', lora({ targetModules: ['query', 'key'], modulesToSave: ['classifier'] }), 6)
    addDrawn(peft, 'headless', lora(), 7)
    addDrawn(peft, 'dora', lora({ useDora: true, modulesToSave: ['classifier'] }), 8)
    addDrawn(peft, 'biased', lora({ loraBias: true, modulesToSave: ['classifier'] }), 9)
    addDrawn(peft, 'principal', lora({ initLoraWeights: 'pissa', modulesToSave: ['classifier'] }), 10)
    addDrawn(peft, 'factors', new IA3Config({ targetModules: ['query'], feedforwardModules: [] }), 11)
    await using compiled = await following(peft)
    const others = ['wide', 'pattern', 'elsewhere', 'headless', 'dora', 'biased', 'principal', 'factors']
    for (const [i, name] of others.entries()) {
      for (const active of [['one', 'two', 'three'][i % 3], name]) {
        peft.setAdapter(active)
        expectClose(await compiled.logits(), await logitsOf(peft))
      }
    }
    expect(compiled.traces()).toBe(1 + others.length)
  })

  it('follows adapters that come later, new values and scales, without another trace', async () => {
    const peft = twins()
    await using compiled = await following(peft)
    await compiled.logits()
    const same = async (name: string) => {
      peft.setAdapter(name)
      expectClose(await compiled.logits(), await logitsOf(peft))
    }
    addDrawn(peft, 'late', lora({ alphaPattern: { value: 5 }, modulesToSave: ['classifier'], useRslora: true }), 9)
    await same('late')
    peft.setScale('late', 0.25)
    await same('late')
    perturb(peft, 'two', 11)
    await same('two')
    const values = [...peft.stateDict('one')].map(
      ([key, p]) => [key, { shape: p.shape, read: () => p.read() }] as const,
    )
    await setPeftModelStateDict(peft, new Map(values), 'three')
    await same('three')
    peft.deleteAdapter('one')
    addDrawn(peft, 'one', lora({ modulesToSave: ['classifier'] }), 12)
    await same('one')
    expect(compiled.traces()).toBe(1)
  })

  it('follows magnitudes that are still to be worked out', async () => {
    const peft = new PeftModel(tinyBert())
    for (const name of ['one', 'two', 'three']) peft.addAdapter(name, lora({ useDora: true }), { seed: name.length })
    await using compiled = await following(peft)
    for (const name of ['one', 'two', 'three']) {
      peft.setAdapter(name)
      expectClose(await compiled.logits(), await logitsOf(peft))
    }
    expect(compiled.traces()).toBe(1)
  })

  it('is traced anew where the tree has changed: merging, other constants, several adapters, none', async () => {
    const peft = twins()
    await using compiled = await following(peft)
    const same = async () => expectClose(await compiled.logits(), await logitsOf(peft))
    await same()
    peft.setAdapter('two')
    await peft.mergeAdapter()
    await same()
    peft.unmergeAdapter()
    await same()
    const [, constant] = [...peft.namedParameters()].find(([name]) => name.endsWith('attention.output.dense.weight'))!
    constant.data = constant.data.map(value => value * 2)
    peft.setAdapter('three')
    await same()
    peft.setAdapter(['one', 'three'])
    await same()
    await peft.disableAdapter(same)
    peft.setAdapter('one', { skipLayers: [0] })
    await same()
    peft.setAdapter('two', { skipLayers: [1] })
    await same()
  })

  it('never takes over what depends on which adapter is active', async () => {
    const peft = twins()
    const factors: Record<string, number> = { one: 1, two: 2, three: 3 }
    await using run = await compile(peft, (model, inputs) => ({
      logits: mul(model.forward(inputs).logits!, factors[model.activeAdapters[0]]),
    }))
    await using fixed = await compile(peft, (model, inputs) => {
      const [before] = model.adapterState.active
      model.setAdapter('one')
      const { logits } = model.forward(inputs)
      model.setAdapter(before)
      return { logits: logits! }
    })
    peft.setAdapter('one')
    const first = floats((await fixed(batch)).logits).slice()
    for (const name of ['one', 'two', 'three']) {
      peft.setAdapter(name)
      const expected = (await logitsOf(peft)).map(value => value * factors[name])
      expectClose(floats((await run(batch)).logits), expected)
      expectClose(floats((await fixed(batch)).logits), first)
    }
  })

  it('computes rows with their own adapters, whichever is active', async () => {
    const peft = twins()
    await using compiled = await following(peft)
    const rows = async () => {
      const adapter_indices = peft.adapterIndices(['three', 'one', '__base__', 'two'])
      return floats((await compiled.run({ ...batch, adapter_indices })).logits).slice()
    }
    const first = await rows()
    for (const name of ['two', 'three', 'one']) {
      peft.setAdapter(name)
      expect(await rows()).toEqual(first)
      const row = { three: 0, one: 1, two: 3 }[name]!
      expectClose(rowOf(first, row), rowOf(await compiled.logits(), row))
    }
    addDrawn(peft, 'four', lora({ modulesToSave: ['classifier'] }), 4)
    expectClose(await rows(), first)
    // Named rows keep their adapters too, where the one that is active is among them.
    await using named = await compile(peft, (model, { adapter_indices, ...inputs }) => ({
      logits: model.forward({ ...inputs, adapter_indices, adapter_names: ['one'] }).logits!,
    }))
    const one = async () => {
      const adapter_indices = peft.adapterRows(['one', 'one', 'one', 'one']).indices
      return floats((await named({ ...batch, adapter_indices })).logits).slice()
    }
    peft.setAdapter('one')
    const before = await one()
    peft.setAdapter('two')
    expect(await one()).toEqual(before)
  })

  it('reads values that were written in place, of the active adapter and of rows', async () => {
    const peft = twins()
    await using compiled = await following(peft)
    const adapter_indices = peft.adapterIndices(['three', 'one', '__base__', 'two'])
    const rows = async () => floats((await compiled.run({ ...batch, adapter_indices })).logits).slice()
    const write = (name: string) => {
      for (const parameter of peft.stateDict(name).values())
        for (const i of parameter.data.keys()) parameter.data[i] *= -3
    }
    let before = await rows()
    for (const name of ['two', 'three', 'two', 'one']) {
      peft.setAdapter(name)
      expectClose(await compiled.logits(), await logitsOf(peft))
      write(name)
      expectClose(await compiled.logits(), await logitsOf(peft))
      const after = await rows()
      expect(after).not.toEqual(before)
      const row = { three: 0, one: 1, two: 3 }[name]!
      expectClose(rowOf(after, row), rowOf(await compiled.logits(), row))
      before = after
    }
  })

  it('reads parameters that were named, whichever adapter is active', async () => {
    const peft = twins()
    const compute = (model: PeftModel, inputs: never) => ({ logits: model.forward(inputs).logits! })
    await using run = await compile(peft, compute as never, { parameters: peft.adapterParameters() })
    for (const name of ['one', 'two', 'three']) {
      peft.setAdapter(name)
      expectClose(floats((await run(batch)).logits), await logitsOf(peft))
    }
  })
})

describe('generation', () => {
  it('continues with each of the adapters that take each other’s place as a model of its own does', async () => {
    const targets = { targetModules: ['q_proj', 'v_proj'] }
    const peft = new PeftModel(tinyLlama())
    for (const name of ['one', 'two', 'three']) addDrawn(peft, name, lora(targets), name.charCodeAt(1))
    addDrawn(peft, 'other', lora({ ...targets, r: 2 }), 5)
    let traces = 0
    const { forward } = peft
    peft.forward = (...inputs) => {
      traces++
      return forward.apply(peft, inputs)
    }
    const options = { maxNewTokens: 6, eosTokenId: null }
    const texts = new Set<string>()
    const counts: number[] = []
    for (const name of ['one', 'two', 'other', 'three', 'one']) {
      const alone = getPeftModel(tinyLlama(), lora(name === 'other' ? { ...targets, r: 2 } : targets))
      for (const [key, parameter] of peft.stateDict(name)) alone.stateDict().get(key)!.data = parameter.data.slice()
      peft.setAdapter(name)
      const before = traces
      const { sequences } = await peft.generate([[1, 2, 3], [4]], options)
      counts.push(traces - before)
      expect(sequences).toEqual((await alone.generate([[1, 2, 3], [4]], options)).sequences)
      texts.add(JSON.stringify(sequences))
    }
    expect(counts.map(count => count > 0)).toEqual([true, false, true, false, false])
    expect(texts.size).toBeGreaterThan(2)
  })
})

describe('the form of an adapter', () => {
  it('is undefined for methods that do not say what a trace depends on', () => {
    const peft = getPeftModel(tinyBert(), new VeraConfig({ r: 4, targetModules: ['query'] }))
    expect(formOf(peft.adapter('default'))).toBeUndefined()
  })
})
