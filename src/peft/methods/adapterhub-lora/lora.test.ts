/** @file AdapterHub's LoRA family: options, places, first values, counts, and what it refuses. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { Tensor } from '../../../graph/index.ts'
import { compile } from '../../../models/function.ts'
import { Conv2d, Linear, Module } from '../../../nn/index.ts'
import { floats, tensorData } from '../../../runtime/index.ts'
import { Random } from '../../../util/random.ts'
import {
  AdapterHubDoraConfig,
  AdapterHubDvoraConfig,
  AdapterHubIA3Config,
  AdapterHubLoraConfig,
  type AdapterHubLoraConfigOptions,
  AdapterHubVeraConfig,
  convertToLora,
  getPeftModel,
  HubLoraLayer,
  type PeftModel,
} from '../../index.ts'
import { difference, outputs, tiny } from '../../prompt-learning/testing/tiny.ts'

const batch = { input_ids: tensorData('int64', [[5, 9, 2, 7]]) }

/** Moves all values that train away from where they began. */
async function perturb(peft: PeftModel): Promise<void> {
  for (const [name, parameter] of peft.namedParameters()) {
    if (!parameter.requiresGrad) continue
    const random = Random.forName(name, 7)
    parameter.data = (await parameter.read()).map(value => value + 0.1 * random.normal())
  }
}

const targetsOf = (options: AdapterHubLoraConfigOptions, type = 'bert', kind: Parameters<typeof tiny>[0] = 'seqcls') =>
  getPeftModel(tiny(kind, type, { num_key_value_heads: 4 }), new AdapterHubLoraConfig(options))
    .targetedModules()
    .map(path => path.split('.').slice(-2).join('.'))

describe('the named configurations', () => {
  it('have the options of their publications', () => {
    const of = (config: AdapterHubLoraConfig) => [
      config.compositionMode,
      config.attnMatrices.join(''),
      config.intermediateLora,
      ...[config.r, config.alpha, config.initWeights, config.useDora, config.veraD, config.veraB],
    ]
    expect(of(new AdapterHubLoraConfig())).toEqual(['add', 'qv', false, 8, 8, 'lora', false, null, null])
    expect(of(new AdapterHubIA3Config())).toEqual(['scale', 'kv', true, 1, 1, 'ia3', false, null, null])
    expect(of(new AdapterHubDoraConfig())).toEqual(['add', 'qv', false, 8, 8, 'lora', true, null, null])
    expect(of(new AdapterHubVeraConfig())).toEqual(['add', 'qv', false, 8, 8, 'vera', false, 0.1, 0])
    expect(of(new AdapterHubDvoraConfig())).toEqual(['add', 'qv', false, 8, 8, 'vera', true, 0.1, 0])
  })
})

describe('the places', () => {
  it('are those that AdapterHub calls intermediate and output, which it confuses in Llama', () => {
    const only = (name: 'intermediateLora' | 'outputLora') => ({ selfattnLora: false, [name]: true })
    expect(new Set(targetsOf(only('intermediateLora'), 'llama', 'causal'))).toEqual(new Set(['mlp.down_proj']))
    expect(new Set(targetsOf(only('outputLora'), 'llama', 'causal'))).toEqual(new Set(['mlp.up_proj']))
    expect(new Set(targetsOf(only('intermediateLora'), 'qwen2', 'causal'))).toEqual(new Set(['mlp.up_proj']))
    expect(new Set(targetsOf(only('outputLora')))).toEqual(new Set(['output.dense']))
    expect(targetsOf(only('outputLora'))).toHaveLength(2)
    expect(new Set(targetsOf(only('intermediateLora'), 't5', 'seq2seq'))).toEqual(new Set(['DenseReluDense.wi']))
  })

  it('leave out layers, those of a decoder behind those of its encoder', () => {
    expect(targetsOf({ leaveOut: [1] })).toEqual(['self.query', 'self.value'])
    const paths = getPeftModel(tiny('seq2seq', 't5'), new AdapterHubLoraConfig({ leaveOut: [0, 3] })).targetedModules()
    expect(paths.every(path => /^(encoder\.block\.1|decoder\.block\.0)\./.test(path))).toBe(true)
    expect(paths).toHaveLength(2 + 4)
  })

  it('are Llama’s where an architecture is not known, and dense layers by name', () => {
    expect(targetsOf({ attnMatrices: ['k'] }, 'smollm3', 'causal')).toEqual(['self_attn.k_proj', 'self_attn.k_proj'])
    const named = getPeftModel(tiny('seqcls', 'bert'), new AdapterHubLoraConfig({ targetModules: ['pooler.dense'] }))
    expect(named.targetedModules()).toEqual(['bert.pooler.dense'])
  })
})

describe('first values', () => {
  const variants: Record<string, AdapterHubLoraConfig> = {
    lora: new AdapterHubLoraConfig(),
    gated: new AdapterHubLoraConfig({ useGating: true }),
    ia3: new AdapterHubIA3Config(),
    dora: new AdapterHubDoraConfig(),
    vera: new AdapterHubVeraConfig(),
    dvora: new AdapterHubDvoraConfig(),
  }
  it.each(Object.entries(variants))('of %s change nothing', async (_, config) => {
    const model = tiny('seqcls', 'bert')
    const [base, own] = [model, getPeftModel(model, config)].map(each => outputs(each as Module, batch, 'logits'))
    expect(difference((await own).logits, (await base).logits)).toBeLessThan(1e-5)
  })

  it('of DoRA change nothing, in layers that hold their weight the other way round, and are merged', async () => {
    const model = tiny('causal', 'gpt2')
    const config = new AdapterHubDoraConfig({ selfattnLora: false, intermediateLora: true, r: 2 })
    const peft = getPeftModel(model, config)
    const [base, own] = [await outputs(model, batch, 'logits'), await outputs(peft, batch, 'logits')]
    expect(difference(own.logits, base.logits)).toBeLessThan(1e-5)
    await perturb(peft as PeftModel)
    const changed = (await outputs(peft, batch, 'logits')).logits
    expect(difference(changed, base.logits)).toBeGreaterThan(1e-3)
    const merged = (await outputs(await peft.mergeAndUnload(), batch, 'logits')).logits
    expect(difference(merged, changed)).toBeLessThan(2e-5)
  })

  it('of a seed of their own do not hang on the model’s', () => {
    const draw = (seed: number, own: number | null) => {
      const peft = getPeftModel(tiny('seqcls', 'bert'), new AdapterHubLoraConfig({ initWeightsSeed: own }), { seed })
      return [...peft.namedParameters()].find(([name]) => name.includes('lora_A'))![1].data
    }
    expect(draw(0, 3)).toEqual(draw(1, 3))
    expect(draw(0, 3)).not.toEqual(draw(0, 4))
    expect(draw(0, null)).not.toEqual(draw(1, null))
  })
})

describe('adapters together', () => {
  it('change a result one after another, and are merged so', async () => {
    const model = tiny('seqcls', 'bert')
    const peft = getPeftModel(model, new AdapterHubDoraConfig({ r: 2, alpha: 8 }), { adapterName: 'dora' })
    peft.addAdapter('ia3', new AdapterHubIA3Config({ attnMatrices: ['q', 'v'], alpha: 2 }))
    peft.addAdapter('lora', new AdapterHubLoraConfig({ r: 2 }))
    peft.setAdapter(['dora', 'ia3', 'lora'])
    await perturb(peft as PeftModel)
    const together = (await outputs(peft, batch, 'logits')).logits
    const merged = await outputs(await peft.mergeAndUnload(), batch, 'logits')
    expect(difference(merged.logits, together)).toBeLessThan(2e-5)
    const layer = peft.model.getSubmodule('bert.encoder.layer.0.attention.self.query')
    expect(layer).toBeInstanceOf(HubLoraLayer)
    expect((layer as HubLoraLayer).adapterNames()).toEqual(['dora', 'ia3', 'lora'])
  })

  it('have updates of their own, of the input or of the update before', async () => {
    const peft = getPeftModel(tiny('seqcls', 'bert'), new AdapterHubLoraConfig({ r: 2 }), { adapterName: 'a' })
    peft.addAdapter('b', new AdapterHubLoraConfig({ r: 2 }))
    peft.setAdapter(['a', 'b'])
    await perturb(peft as PeftModel)
    const path = 'bert.encoder.layer.0.attention.self.query'
    const layer = peft.model.getSubmodule(path) as HubLoraLayer
    const [a, b] = ['a', 'b'].map(name => layer.loras.get(name)!)
    await using run = await compile(layer as Module, (_, { x }) => ({
      stacked: b.update(x, a.update(x)),
      own: b.update(x),
    }))
    const x = tensorData(
      'float32',
      Float32Array.from({ length: 24 }, (_, i) => Math.sin(i)),
      [1, 1, 24],
    )
    const { stacked, own } = await run({ x })
    expect(difference(stacked, own)).toBeGreaterThan(1e-3)
    const delta = async (name: string) => {
      const [A, B] = ['lora_A', 'lora_B'].map(part => {
        const [, parameter] = [...layer.namedParameters()].find(([key]) => key === `loras.${name}.${part}`)!
        return parameter.data
      })
      const multiply = (v: readonly number[]) => {
        const inner = [0, 1].map(r => v.reduce((sum, value, i) => sum + A[r * 24 + i] * value, 0))
        return Array.from({ length: 24 }, (_, o) => 4 * (B[o * 2] * inner[0] + B[o * 2 + 1] * inner[1]))
      }
      return multiply
    }
    const [first, second] = [await delta('a'), await delta('b')]
    const expected = second(first([...(x.data as Float32Array)]))
    expected.forEach((value, i) => {
      expect(floats(stacked)[i]).toBeCloseTo(value, 4)
    })
  })
})

describe('what is counted', () => {
  it('is the closed form, for all options', () => {
    fc.assert(
      fc.property(
        fc.record({
          r: fc.integer({ min: 1, max: 5 }),
          attnMatrices: fc.subarray(['q', 'k', 'v'] as const, { minLength: 1 }),
          intermediateLora: fc.boolean(),
          outputLora: fc.boolean(),
          useGating: fc.boolean(),
          leaveOut: fc.subarray([1]),
          kind: fc.constantFrom('lora', 'ia3', 'dora'),
          type: fc.constantFrom('bert', 'gpt2', 'llama'),
        }),
        ({ kind, type, ...options }) => {
          const isFused = type === 'gpt2'
          const Config = { lora: AdapterHubLoraConfig, ia3: AdapterHubIA3Config, dora: AdapterHubDoraConfig }[kind]
          const config = new Config(kind === 'ia3' ? { ...options, r: 1 } : options)
          if (isFused && kind === 'dora') Object.assign(config, { selfattnLora: false, outputLora: true })
          const model = tiny(type === 'bert' ? 'seqcls' : 'causal', type)
          const peft = getPeftModel(model, config)
          const adapter = peft.adapter('default')
          const modules = new Map(adapter.targets.map(path => [path, model.getSubmodule(path)]))
          expect(peft.getNbTrainableParameters().trainable).toBe(
            adapter.method.about.count(adapter.config, modules, adapter.model),
          )
        },
      ),
      { numRuns: 40 },
    )
  })
})

describe('as PEFT’s LoRA', () => {
  it('an adapter that adds does the same; one with gates is refused', async () => {
    const peft = getPeftModel(tiny('causal', 'llama'), new AdapterHubLoraConfig({ r: 2 }))
    await perturb(peft as PeftModel)
    const lora = await convertToLora(peft, { rank: 2 })
    const [a, b] = [await outputs(peft, batch, 'logits'), await outputs(lora, batch, 'logits')]
    expect(difference(a.logits, b.logits)).toBeLessThan(1e-3)
    const gated = getPeftModel(tiny('causal', 'llama'), new AdapterHubLoraConfig({ useGating: true }))
    await expect(convertToLora(gated)).rejects.toThrow(/gates depend on the input/)
  })
})

class Net extends Module {
  hidden = new Conv2d(1, 2, 3)
  dense = new Linear(4, 4)
  forward(x: Tensor): Tensor {
    return this.dense.forward(x)
  }
}

describe('what is refused', () => {
  const config = (options: object) => () => new AdapterHubLoraConfig(options)
  const on = (options: AdapterHubLoraConfigOptions, type: string) => () =>
    getPeftModel(tiny('causal', type), new AdapterHubLoraConfig(options))

  it.each<[string, () => unknown, RegExp]>([
    ['an option that does not exist', config({ rank: 2 }), /no option "rank"/],
    ['half a rank', config({ r: 1.5 }), /r must be a whole number above 0, got 1.5/],
    ['a matrix that is none', config({ attnMatrices: ['o'] }), /attnMatrices must be a list of "q", "k" and "v"/],
    ['a mode that is none', config({ compositionMode: 'multiply' }), /compositionMode must be "add" or "scale"/],
    ['an unknown beginning', config({ initWeights: 'zeros' }), /initWeights must be "lora" or/],
    ['a flag that is none', config({ useDora: 1 }), /useDora must be true or false, got 1/],
    ['half of VeRA', config({ veraD: 0.1 }), /veraB and veraD belong together/],
    ['factors of a rank', config({ compositionMode: 'scale', r: 2 }), /r must be 1, got 2/],
    ['factors with DoRA', config({ compositionMode: 'scale', r: 1, useDora: true }), /goes neither with useDora/],
    ['factors with dropout', config({ compositionMode: 'scale', r: 1, dropout: 0.1 }), /has no dropout/],
    ['a choice of nothing', on({ selfattnLora: false }, 'llama'), /choose no dense layer .* set selfattnLora/],
    ['DoRA on a fused layer', on({ useDora: true }, 'gpt2'), /c_attn" holds queries, keys and values in one/],
    [
      'VeRA on layers of different shapes',
      on({ veraD: 0.1, veraB: 0.2 }, 'llama'),
      /layers of one shape; ".*q_proj" is \[24,24\] and ".*v_proj" is \[12,24\]/,
    ],
    [
      'a layer that is not dense',
      () => getPeftModel(new Net(), new AdapterHubLoraConfig({ targetModules: ['hidden'] })),
      /cannot work on "hidden", a Conv2d; it works on Linear, Conv1D/,
    ],
    [
      'a module without such layers',
      () => getPeftModel(new Net(), new AdapterHubLoraConfig()),
      /choose no dense layer of this model \(custom\); name the layers with targetModules/,
    ],
  ])('%s', (_, action, message) => {
    expect(action).toThrow(message)
  })
})
