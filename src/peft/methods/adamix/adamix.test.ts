/** @file Tests of AdaMix: random experts while training, their agreement, and one adapter in the end. */
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { temporaryFolder } from '../../../../test/temporary.ts'
import { Graph, reachableNodes, type Tensor } from '../../../graph/index.ts'
import { compile } from '../../../models/function.ts'
import { Linear, type Module } from '../../../nn/index.ts'
import { defaultEngine, floats } from '../../../runtime/index.ts'
import { AdamW, valueAndGrad } from '../../../training/index.ts'
import { Random } from '../../../util/random.ts'
import { getPeftModel, LoraConfig, PeftModel } from '../../index.ts'
import { BATCHES, classifier, languageModel } from '../../sparse/testing/classifier.ts'
import { routingDivergence } from './consistency.ts'
import { AdaMixConfig, type AdaMixConfigOptions, averageExperts } from './index.ts'
import { randomIndex } from './routing.ts'

const OPTIONS: AdaMixConfigOptions = { r: 4, numExperts: 4, sharingUp: false }

/** A classifier whose experts all differ. */
function mixture(options: AdaMixConfigOptions = {}, base: Module = classifier()) {
  const peft = getPeftModel(base, new AdaMixConfig({ ...OPTIONS, ...options })) as PeftModel
  for (const [name, parameter] of peft.namedParameters()) {
    if (!parameter.requiresGrad) continue
    const random = Random.forName(name, 0)
    parameter.data = parameter.data.map(value => value + 0.5 * random.normal())
  }
  return { base, peft }
}

const logits = async (model: Module) => {
  await using run = await compile(model, (m, inputs) => ({ y: (m as PeftModel).forward(inputs).logits! }))
  const { labels: _, ...inputs } = BATCHES[0]
  return floats((await run(inputs)).y).slice()
}

async function values(build: (graph: Graph) => Record<string, Tensor>, seed = 0): Promise<Record<string, number[]>> {
  const graph = new Graph()
  graph.training = true
  await using run = await (await defaultEngine()).compile(graph.trace(() => build(graph)))
  const results = await run.run({}, { seed })
  return Object.fromEntries(Object.entries(results).map(([name, { data }]) => [name, [...data].map(Number)]))
}

describe('random routing', () => {
  it('draws every expert about as often, others at each place, and the same from the same seed', async () => {
    const graph = new Graph()
    const outputs = graph.trace(() => ({ a: randomIndex(graph, 3), b: randomIndex(graph, 3) }))
    await using run = await (await defaultEngine()).compile(outputs)
    const counts = [0, 0, 0]
    let different = 0
    for (let seed = 0; seed < 300; seed++) {
      const [a, b] = Object.values(await run.run({}, { seed })).map(({ data }) => Number(data[0]))
      counts[a]++
      if (a !== b) different++
    }
    for (const count of counts) expect(Math.abs(count - 100)).toBeLessThan(35)
    expect(Math.abs(different - 200)).toBeLessThan(40)
    const draw = async () => Number((await run.run({}, { seed: 5 })).a.data[0])
    expect(await draw()).toBe(await draw())
  })

  it('trains one expert of each layer at a time, without a new compilation', async () => {
    const { peft } = mixture({ consistency: false })
    await using step = await valueAndGrad(peft, (model, inputs) => model.forward(inputs).loss!)
    const drawn = new Set<string>()
    for (let seed = 0; seed < 8; seed++) {
      const { grads } = await step(BATCHES[0], { seed })
      const routes = grads.parameters.slices.map(({ name, parameter }) => {
        const gradient = grads.get(name)
        const [experts] = parameter.shape
        const size = gradient.length / experts
        const moved = Array.from({ length: experts }, (_, i) =>
          gradient.subarray(i * size, (i + 1) * size).some(Boolean),
        )
        expect(moved.filter(Boolean).length, name).toBe(1)
        return moved.indexOf(true)
      })
      drawn.add(routes.join())
    }
    expect(drawn.size).toBeGreaterThan(4)
  })
})

describe('consistency', () => {
  const given = (graph: Graph, numbers: number[], shape: number[]) => graph.constant(numbers, 'float32', shape)

  it('is never negative, and zero where both routings agree', async () => {
    const result = await values(graph => {
      const a = given(graph, [1, 2, -1, 0.5, 0, 3], [2, 3])
      const b = given(graph, [0, 2, 1, 0.1, 4, -3], [2, 3])
      return { same: routingDivergence(a, a, undefined, false), other: routingDivergence(a, b, undefined, false) }
    })
    expect(result.same[0]).toBeCloseTo(0, 7)
    const softmax = (x: number[]) => x.map(v => Math.exp(v) / x.reduce((sum, w) => sum + Math.exp(w), 0))
    const kl = (p: number[], q: number[]) => p.reduce((sum, v, i) => sum + v * Math.log(v / q[i]), 0)
    const rows = [
      [softmax([1, 2, -1]), softmax([0, 2, 1])],
      [softmax([0.5, 0, 3]), softmax([0.1, 4, -3])],
    ]
    const expected = rows.reduce((sum, [p, q]) => sum + (kl(p, q) + kl(q, p)) / 2, 0) / 2
    expect(result.other[0]).toBeCloseTo(expected, 5)
  })

  it('counts the positions that have a label', async () => {
    const result = await values(graph => {
      const a = given(graph, [1, 2, 3, 4, 5, 6], [1, 3, 2])
      const b = given(graph, [1, 2, 9, 4, -5, 6], [1, 3, 2])
      const labels = graph.constant([1, 0, -100], 'int64', [1, 3])
      const only = graph.constant([0, 1, -100], 'int64', [1, 3])
      return {
        plain: routingDivergence(a, b, labels, false),
        // Position 0 predicts the label of position 1; both routings agree there.
        shifted: routingDivergence(a, b, only, true),
      }
    })
    expect(result.plain[0]).toBeGreaterThan(0)
    expect(result.shifted[0]).toBeCloseTo(0, 7)
  })

  it('is added to the loss while training, with its weight, and not otherwise', async () => {
    const losses: number[] = []
    for (const options of [{ consistency: false }, { consistencyWeight: 1 }, { consistencyWeight: 3 }]) {
      const { peft } = mixture(options)
      await using step = await valueAndGrad(peft, (model, inputs) => model.forward(inputs).loss!)
      losses.push((await step(BATCHES[0], { seed: 3 })).value)
      await using still = await valueAndGrad(peft, (m, i) => m.forward(i).loss!, { training: false })
      losses.push((await still(BATCHES[0], { seed: 3 })).value)
    }
    const [plain, once, thrice] = [losses[0], losses[2], losses[4]]
    expect(once).toBeGreaterThan(plain)
    expect((thrice - plain) / (once - plain)).toBeCloseTo(3, 2)
    expect(losses[1]).toBe(losses[3])
    expect(losses[1]).toBe(losses[5])
  })

  it('works for language models', async () => {
    const { peft } = mixture({}, languageModel())
    await using step = await valueAndGrad(peft, (model, inputs) => model.forward(inputs).loss!)
    const { input_ids, attention_mask } = BATCHES[0]
    const { value, grads } = await step({ input_ids, attention_mask, labels: input_ids })
    expect(Number.isFinite(value) && grads.norm() > 0).toBe(true)
  })
})

describe('the end of a mixture', () => {
  it('computes the average of the experts, which files hold beside the experts', async () => {
    const { base, peft } = mixture()
    const expected = await logits(peft)
    const folder = await temporaryFolder()
    await peft.savePretrained(folder)
    const [key, average] = [...peft.stateDict()].find(([name]) => name.endsWith('adamix.down_weight'))!
    const name = key.replace('.adamix.', '.adamix_experts.default.')
    const experts = new Map(peft.namedParameters()).get(name)!
    average.data.forEach((value, i) => {
      const own = [0, 1, 2, 3].map(expert => experts.data[expert * average.size + i])
      expect(value).toBeCloseTo(own.reduce((a, b) => a + b) / 4, 6)
    })
    await rm(join(folder, 'adamix_experts.safetensors'))
    const alone = await PeftModel.fromPretrained(base, folder, { isTrainable: true })
    const own = await logits(alone)
    own.forEach((value, i) => {
      expect(value).toBeCloseTo(expected[i], 5)
    })
    expect(alone.getNbTrainableParameters().trainable * 4).toBe(peft.getNbTrainableParameters().trainable)
  })

  it('costs in use what one adapter costs', () => {
    const products = (peft: PeftModel) => {
      const graph = new Graph()
      const { logits: y } = graph.trace(() =>
        peft.forward({ input_ids: graph.input('input_ids', 'int64', ['batch', 'sequence']) }),
      )
      return reachableNodes([y!]).filter(({ op }) => op === 'Linear' || op === 'MatMul').length
    }
    const one = getPeftModel(classifier(), new AdaMixConfig({ ...OPTIONS, numExperts: 1 })) as PeftModel
    expect(products(mixture().peft)).toBe(products(one))
  })

  it('is averaged in place, and trains on as one', async () => {
    const { peft } = mixture()
    const [before, all] = [await logits(peft), peft.getNbTrainableParameters().trainable]
    averageExperts(peft)
    const after = await logits(peft)
    after.forEach((value, i) => {
      expect(value).toBeCloseTo(before[i], 5)
    })
    expect(peft.getNbTrainableParameters().trainable).toBe(all / 4)
    await using step = await valueAndGrad(peft, (model, inputs) => model.forward(inputs).loss!)
    const { grads, value } = await step(BATCHES[0])
    new AdamW(grads.parameters, { lr: 0.01 }).step(grads)
    expect((await step(BATCHES[0])).value).toBeLessThan(value)
  })

  it('refuses to merge adapters, with the way out, and merges LoRA', async () => {
    await expect(mixture().peft.mergeAndUnload()).rejects.toThrow(/cannot become part of the weights.*averageExperts/)
    const { peft } = mixture({ base: 'lora' })
    const expected = await logits(peft)
    const merged = await logits(await peft.mergeAndUnload())
    merged.forEach((value, i) => {
      expect(value).toBeCloseTo(expected[i], 4)
    })
  })
})

describe('AdaMixConfig', () => {
  it.each([
    [{ base: 'prefix' }, /base must be "adapter" or "lora"/],
    [{ numExperts: 0 }, /numExperts must be a whole number above 0/],
    [{ r: 1.5 }, /r must be a whole number above 0/],
    [{ consistencyWeight: -1 }, /consistencyWeight must not be negative/],
    [{ targetModules: ['query'] }, /targetModules names dense layers/],
  ])('refuses %o', (options, message) => {
    expect(() => new AdaMixConfig(options as AdaMixConfigOptions)).toThrow(message)
  })

  it('is refused by models that are no transformers, with the way out', () => {
    expect(() => getPeftModel(new Linear(4, 4), new AdaMixConfig())).toThrow(/has none; mix LoRA on dense layers/)
    const lora = getPeftModel(classifier(), new LoraConfig({ targetModules: ['query'] })) as PeftModel
    expect(() => averageExperts(lora)).toThrow(/is LORA, expected an adapter of ADAMIX/)
  })
})
