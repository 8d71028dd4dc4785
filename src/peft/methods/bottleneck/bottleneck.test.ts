/** @file Bottleneck adapters: their options, their places, what composes them, and what they refuse. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Graph, relu, type Tensor } from '../../../graph/index.ts'
import { compile } from '../../../models/function.ts'
import { AutoConfig, AutoModel, AutoModelForCausalLM, AutoModelForSeq2SeqLM } from '../../../models/index.ts'
import { Linear, Module, Parameter, Residual } from '../../../nn/index.ts'
import { floats, tensorData } from '../../../runtime/index.ts'
import { Random } from '../../../util/random.ts'
import { getPeftModel, type PeftModel } from '../../model.ts'
import {
  AdapterPlusConfig,
  BnConfig,
  type BnConfigOptions,
  BottleneckAdapter,
  CompacterConfig,
  CompacterPlusPlusConfig,
  DoubleSeqBnConfig,
  DoubleSeqBnInvConfig,
  InvertibleAdapter,
  ParBnConfig,
  PhmShared,
  ScaledParBnConfig,
  SeqBnConfig,
  SeqBnInvConfig,
} from './index.ts'
import { drawValues } from './init.ts'
import { kroneckerSum } from './phm.ts'

const TEXT = { vocab_size: 20, hidden_size: 32, num_hidden_layers: 2, num_attention_heads: 4, intermediate_size: 40 }

const bert = () => {
  const model = AutoModel.fromConfig(
    AutoConfig.fromJSON({ model_type: 'bert', ...TEXT, max_position_embeddings: 16, initializer_range: 0.2 }),
  )
  model.initialize(1)
  return model
}

const input = { input_ids: tensorData('int64', [1, 2, 3, 4, 5, 6, 7, 8], [2, 4]) }

const states = async (model: Module) => {
  await using run = await compile(model, (m, inputs) => ({ y: (m as PeftModel).forward(inputs).last_hidden_state! }))
  return floats((await run(input)).y)
}

/** Moves all values that train away from where they began. */
function perturb(peft: PeftModel): void {
  for (const [name, parameter] of peft.namedParameters()) {
    if (!parameter.requiresGrad) continue
    const random = Random.forName(name, 7)
    parameter.data = parameter.data.map(value => value + 0.1 * random.normal())
  }
}

describe('the named configurations', () => {
  it('have the options of their publications', () => {
    const options = (config: BnConfig, ...names: (keyof BnConfigOptions)[]) =>
      names.map(name => config[name as keyof BnConfig])
    const places = ['mhAdapter', 'outputAdapter', 'originalLnBefore', 'nonLinearity', 'reductionFactor'] as const
    expect(options(new SeqBnConfig(), ...places)).toEqual([false, true, true, 'relu', 16])
    expect(options(new DoubleSeqBnConfig(), ...places)).toEqual([true, true, false, 'swish', 16])
    expect(options(new CompacterConfig(), ...places, 'phmLayer')).toEqual([true, true, false, 'gelu', 32, true])
    expect(options(new CompacterPlusPlusConfig(), ...places, 'phmLayer')).toEqual([false, true, true, 'gelu', 32, true])
    const parallel = ['isParallel', 'scaling', 'initWeights', 'reductionFactor'] as const
    expect(options(new ParBnConfig(), ...parallel)).toEqual([true, 4, 'mam_adapter', 2])
    expect(options(new ScaledParBnConfig(), ...parallel)).toEqual([true, 'learned', 'mam_adapter', 2])
    for (const config of [new SeqBnInvConfig(), new DoubleSeqBnInvConfig()]) {
      expect(options(config, 'invAdapter', 'invAdapterReductionFactor')).toEqual(['nice', 2])
    }
    expect(
      options(
        new AdapterPlusConfig(),
        'originalLnAfter',
        'residualBeforeLn',
        'scaling',
        'stochasticDepth',
        'initWeights',
      ),
    ).toEqual([false, false, 'channel', 0.1, 'houlsby'])
  })

  it('take other options over their own', () => {
    expect(new SeqBnConfig({ reductionFactor: 4, nonLinearity: 'tanh' })).toMatchObject({
      reductionFactor: 4,
      nonLinearity: 'tanh',
      originalLnBefore: true,
    })
  })
})

describe('BnConfig refuses', () => {
  it.each<[BnConfigOptions | Record<string, unknown>, RegExp]>([
    [{ reductionFacter: 4 }, /no option "reductionFacter".*reductionFactor/],
    [{ reductionFactor: 0 }, /reductionFactor must be a number above 0.*got 0/],
    [{ reductionFactor: {} }, /reductionFactor must be a number above 0/],
    [{ reductionFactor: null }, /reductionFactor must be a number above 0/],
    [{ nonLinearity: 'rellu' }, /activation "rellu" is not known.*relu/],
    [{ scaling: 'learnt' }, /scaling must be a number, "learned" or "channel", got "learnt"/],
    [{ scaling: Number.NaN }, /scaling must be/],
    [{ mhAdapter: 'yes' }, /mhAdapter must be true or false, got "yes"/],
    [{ residualBeforeLn: 'post' }, /residualBeforeLn must be true, false or "post_add"/],
    [{ residualBeforeLn: 'post_add' }, /"post_add" needs originalLnBefore/],
    [{ initWeights: 'zero' }, /initWeights must be/],
    [{ dropout: 1 }, /dropout must be a number in \[0, 1\)/],
    [{ leaveOut: [-1] }, /leaveOut must be a list of layer numbers/],
    [{ leaveOut: 1 }, /leaveOut must be a list of layer numbers/],
    [{ invAdapter: 'glow' }, /invAdapter must be "nice" or null/],
    [{ invAdapter: 'nice' }, /invAdapterReductionFactor must be a number above 0/],
    [{ phmDim: 0 }, /phmDim must be a whole number above 0/],
    [{ phmLayer: true, sharedWPhm: true, factorizedPhmW: false }, /sharedWPhm needs factorizedPhmW/],
  ])('%j', (options, message) => {
    expect(() => new BnConfig(options as BnConfigOptions)).toThrow(message)
  })
})

describe('the places of bottleneck adapters', () => {
  const targets = (options: BnConfigOptions, model: Module = bert()) =>
    getPeftModel(model, new BnConfig({ reductionFactor: 4, ...options })).targetedModules()

  it('are the residual connections of the sublayers that are asked for', () => {
    expect(targets({})).toEqual(['encoder.layer.0.output.residual', 'encoder.layer.1.output.residual'])
    expect(targets({ mhAdapter: true, outputAdapter: false })).toEqual([
      'encoder.layer.0.attention.output.residual',
      'encoder.layer.1.attention.output.residual',
    ])
    expect(targets({ leaveOut: [0] })).toEqual(['encoder.layer.1.output.residual'])
    expect(targets({ invAdapter: 'nice', invAdapterReductionFactor: 2 })).toContain('embeddings.dropout')
  })

  it('count the layers of a decoder on after those of the encoder', () => {
    const t5 = AutoModelForSeq2SeqLM.fromConfig(
      AutoConfig.fromJSON({
        model_type: 't5',
        vocab_size: 20,
        d_model: 16,
        d_kv: 4,
        d_ff: 20,
        num_layers: 2,
        num_heads: 4,
      }),
    )
    expect(targets({ leaveOut: [0, 3], crossAdapter: true, outputAdapter: false }, t5)).toEqual([
      'decoder.block.0.layer.1.residual',
    ])
  })

  it('are as narrow as the table of reduction factors says, and never vanish', () => {
    const peft = getPeftModel(bert(), new BnConfig({ reductionFactor: { 0: 2, default: 100 } }))
    const shapes = [...peft.namedParameters()]
      .filter(([name]) => name.endsWith('adapter_up.weight'))
      .map(([, { shape }]) => shape)
    expect(shapes).toEqual([
      [32, 16],
      [32, 1],
    ])
    expect(() => targets({ reductionFactor: { 0: 2 } })).toThrow(/no factor for layer 1 and no "default"/)
  })

  it('are refused on a model that has none, with the way out', () => {
    expect(() => targets({}, new Linear(4, 4))).toThrow(/between the sublayers.*targetModules/)
  })

  it('of an invertible adapter are refused where they are not known', () => {
    class Block extends Module {
      residual = new Residual('feedForward', 8)
      forward(x: Tensor) {
        return this.residual.forward(x, x)
      }
    }
    expect(() => targets({ invAdapter: 'nice', invAdapterReductionFactor: 2 }, new Block())).toThrow(
      /place in a model of type "custom" is not known/,
    )
    expect(targets({}, new Block())).toEqual(['residual'])
  })

  it('include the output layer where an invertible adapter is undone before it', () => {
    const causal = (modelType: string) =>
      AutoModelForCausalLM.fromConfig(AutoConfig.fromJSON({ model_type: modelType, ...TEXT, num_key_value_heads: 4 }))
    const options = { invAdapter: 'nice', invAdapterReductionFactor: 2, leaveOut: [0, 1] } as const
    expect(targets(options, causal('llama'))).toEqual(['model.embed_tokens'])
    expect(targets({ ...options, invBeforeOutput: true }, causal('llama'))).toEqual(['model.embed_tokens', 'lm_head'])
    expect(targets(options, causal('qwen2'))).toEqual(['model.embed_tokens', 'lm_head'])
    expect(targets({ ...options, invBeforeOutput: false }, causal('qwen2'))).toEqual(['model.embed_tokens'])
    expect(() => targets({ ...options, invBeforeOutput: true })).toThrow(/has no output layer over a vocabulary/)
  })

  it('refuse Kronecker products of sizes that do not divide', () => {
    expect(() => targets({ phmLayer: true, phmDim: 3 })).toThrow(/32 to 8 features cannot be cut into phmDim 3 parts/)
  })
})

describe('bottleneck adapters on dense layers of one’s own', () => {
  class Net extends Module {
    first = new Linear(6, 8)
    last = new Linear(8, 2)
    forward(x: Tensor) {
      return this.last.forward(relu(this.first.forward(x)))
    }
  }
  const values = Float32Array.from({ length: 18 }, (_, i) => Math.sin(i))
  const run = async (module: Module) => {
    await using f = await compile(module, (m, { x }) => ({ y: (m as Net).forward(x) }))
    return floats((await f({ x: tensorData('float32', values, [3, 6]) })).y)
  }
  const net = () => {
    const module = new Net()
    module.initialize(3)
    return module
  }

  it.each([false, true])('compute h + U f(D x + d) + u on their output, parallel %j', async isParallel => {
    const base = net()
    const peft = getPeftModel(
      base,
      new BnConfig({ targetModules: ['first'], reductionFactor: 4, isParallel, scaling: 2 }),
    )
    perturb(peft as unknown as PeftModel)
    const get = (name: string) =>
      [...peft.namedParameters()].find(([path]) => path.endsWith(name) && path.includes('adapters'))![1].data
    const [D, d, U, u] = ['adapter_down.0.weight', 'adapter_down.0.bias', 'adapter_up.weight', 'adapter_up.bias'].map(
      get,
    )
    const dense = (x: number[], w: ArrayLike<number>, b: ArrayLike<number>) =>
      Array.from(b, (bias, i) => x.reduce((sum, value, j) => sum + value * w[i * x.length + j], bias))
    const expected: number[] = []
    for (let row = 0; row < 3; row++) {
      const x = [...values.subarray(6 * row, 6 * row + 6)]
      const h = dense(x, base.first.weight.data, base.first.bias!.data)
      const inner = dense(isParallel ? x : h, D, d).map(value => Math.max(value, 0))
      const adapted = dense(inner, U, u).map((value, i) => h[i] + 2 * value)
      expected.push(
        ...dense(
          adapted.map(value => Math.max(value, 0)),
          base.last.weight.data,
          base.last.bias!.data,
        ),
      )
    }
    const got = await run(peft)
    got.forEach((value, i) => {
      expect(value).toBeCloseTo(expected[i], 5)
    })
  })
})

describe('what an adapter changes', () => {
  it('is nothing where its up-projection is zero, although the normalisation is used twice', async () => {
    const base = bert()
    const peft = getPeftModel(base, new SeqBnConfig({ reductionFactor: 4, initWeights: 'mam_adapter' }))
    expect(await states(peft)).toEqual(await states(base))
  })

  it('is nothing at first where it stands beside the sublayers', async () => {
    const base = bert()
    const beside = new ParBnConfig({ mhAdapter: true, reductionFactor: 4 })
    expect(await states(getPeftModel(base, beside))).toEqual(await states(base))
  })

  it('is dropped for elements and for whole examples, in training alone', () => {
    const config = new SeqBnConfig({ dropout: 0.5, stochasticDepth: 0.25 })
    const adapter = new BottleneckAdapter(config, { input: 8, bottleneck: 2, output: 8 })
    const masks = (training: boolean) => {
      const graph = new Graph()
      graph.training = training
      const x = graph.input('x', 'float32', ['batch', 'sequence', 8])
      adapter.forward({ x, residual: x })
      return graph.nodes.filter(({ op }) => op === 'DropoutMask').map(node => node.attributes)
    }
    expect(masks(true)).toMatchObject([
      { shape: ['batch', 'sequence', 8], keep: 0.5 },
      { shape: ['batch', 1, 1], keep: 0.75 },
    ])
    expect(masks(false)).toEqual([])
  })

  it('is left out in the layers that are skipped, until the next switch', async () => {
    const base = bert()
    const peft = getPeftModel(base, new SeqBnConfig({ reductionFactor: 4 }))
    perturb(peft as unknown as PeftModel)
    const all = await states(peft)
    peft.setAdapter('default', { skipLayers: [0, 1] })
    expect(await states(peft)).toEqual(await states(base))
    peft.setAdapter('default', { skipLayers: [1] })
    const some = await states(peft)
    expect(some).not.toEqual(all)
    expect(some).not.toEqual(await states(base))
    peft.setAdapter('default')
    expect(await states(peft)).toEqual(all)
  })

  it('can be deleted without a trace, shared parts included', async () => {
    const base = bert()
    const options = { reductionFactor: 4, phmDim: 4, invAdapter: 'nice', invAdapterReductionFactor: 2 } as const
    const peft = getPeftModel(base, new CompacterConfig(options), { adapterName: 'one' })
    peft.addAdapter('two', new SeqBnInvConfig({ reductionFactor: 4 }))
    peft.deleteAdapter('one')
    expect([...peft.namedParameters()].filter(([name]) => name.split('.').includes('one'))).toEqual([])
    peft.deleteAdapter('two')
    expect([...peft.namedParameters()].map(([name]) => name)).toEqual(
      [...base.namedParameters()].map(([name]) => `base_model.model.${name}`),
    )
  })

  it('comes one after another where several are active', async () => {
    const peft = getPeftModel(bert(), new SeqBnConfig({ reductionFactor: 4 }), { adapterName: 'one' })
    peft.addAdapter('two', new SeqBnConfig({ reductionFactor: 8 }), { seed: 3 })
    peft.setAdapter(['one', 'two'])
    perturb(peft as unknown as PeftModel)
    const both = await states(peft)
    peft.setAdapter('two')
    expect(await states(peft)).not.toEqual(both)
    peft.setAdapter(['two', 'one'])
    expect(await states(peft)).not.toEqual(both)
  })

  it('is drawn from the configuration’s own seed, each layer its own values', () => {
    const first = (seed: number, initWeightsSeed: number | null) => {
      const peft = getPeftModel(bert(), new SeqBnConfig({ reductionFactor: 4, initWeightsSeed }), { seed })
      return [...peft.namedParameters()].filter(([name]) => name.endsWith('adapter_up.weight')).map(([, p]) => p.data)
    }
    expect(first(1, 5)).toEqual(first(2, 5))
    expect(first(1, null)).not.toEqual(first(2, null))
    const [a, b] = first(1, 5)
    expect(a).not.toEqual(b)
  })
})

describe('first values', () => {
  const drawn = (options: BnConfigOptions) => {
    const adapter = new BottleneckAdapter(new BnConfig(options), { input: 64, bottleneck: 32, output: 64 })
    const values = new Map([...drawValues(adapter, new Random(1)).namedParameters()].map(([name, p]) => [name, p.data]))
    const deviation = (name: string) => {
      const data = values.get(name)!
      return Math.sqrt(data.reduce((sum, x) => sum + x * x, 0) / data.length)
    }
    return { values, deviation, largest: (name: string) => Math.max(...values.get(name)!.map(Math.abs)) }
  }
  const [DOWN, UP] = ['adapter_down.0.weight', 'adapter_up.weight']

  it('are narrow in both layers, as BERT’s', () => {
    const { deviation, largest, values } = drawn({ initWeights: 'bert', useGating: true, scaling: 'channel' })
    for (const name of [DOWN, UP, 'gate.weight']) expect(deviation(name)).toBeCloseTo(0.02, 2)
    expect(largest('adapter_up.bias')).toBe(0)
    expect([...new Set(values.get('scaling'))]).toEqual([1])
  })

  it('are truncated at two deviations, as Houlsby’s', () => {
    const { deviation, largest } = drawn({ initWeights: 'houlsby' })
    for (const name of [DOWN, UP]) {
      expect(largest(name)).toBeLessThanOrEqual(0.02)
      expect(deviation(name)).toBeGreaterThan(0.008)
    }
  })

  it('add nothing where the adapter stands beside', () => {
    const { largest } = drawn({ initWeights: 'mam_adapter' })
    expect(largest(UP)).toBe(0)
    expect(largest(DOWN)).toBeGreaterThan(0.11)
    expect(largest(DOWN)).toBeLessThanOrEqual(1 / 8)
  })

  it('of products keep the variance, and their own rules are wider than shared ones', () => {
    const { deviation } = drawn({ phmLayer: true, sharedPhmRule: false, factorizedPhmW: false })
    expect(deviation('adapter_down.0.W')).toBeCloseTo(Math.sqrt(2 / (16 + 8)), 1)
    expect(deviation('adapter_down.0.phm_rule')).toBeCloseTo(0.01, 2)
    const shared = drawValues(new PhmShared(new BnConfig({ phmLayer: true }), 0, 0), new Random(1)).phm_rule!.data
    expect(Math.max(...shared.map(Math.abs))).toBeLessThan(0.0005)
    const uniform = new BnConfig({ phmLayer: true, phmCInit: 'uniform', phmInitRange: 3 })
    const wide = drawValues(new PhmShared(uniform, 0, 0), new Random(1)).phm_rule!.data
    expect(Math.max(...wide.map(Math.abs))).toBeGreaterThan(2)
  })
})

describe('an invertible adapter', () => {
  it('is undone exactly by its inverse', async () => {
    const adapter = drawValues(new InvertibleAdapter(new SeqBnInvConfig(), 12), new Random(1))
    for (const parameter of adapter.parameters()) parameter.data = parameter.data.map(value => value * 20)
    const x = Float32Array.from({ length: 24 }, (_, i) => Math.cos(3 * i))
    await using run = await compile(adapter, (m, inputs) => ({
      y: m.forward(inputs.x),
      back: m.inverse(m.forward(inputs.x)),
    }))
    const result = await run({ x: tensorData('float32', x, [2, 12]) })
    expect(floats(result.y)).not.toEqual(x)
    floats(result.back).forEach((value, i) => {
      expect(value).toBeCloseTo(x[i], 5)
    })
  })

  it('changes embeddings that are given in the place of tokens too', async () => {
    const llama = AutoModelForCausalLM.fromConfig(AutoConfig.fromJSON({ model_type: 'llama', ...TEXT }))
    llama.initialize(1)
    const peft = getPeftModel(llama, new SeqBnInvConfig({ reductionFactor: 4 }))
    perturb(peft as unknown as PeftModel)
    const table = (llama.getInputEmbeddings() as unknown as { weight: Parameter }).weight.data
    const ids = [...input.input_ids.data].map(Number)
    const embedded = Float32Array.from(ids.flatMap(id => [...table.subarray(32 * id, 32 * id + 32)]))
    const logits = async (batch: Parameters<Awaited<ReturnType<typeof compile>>>[0]) => {
      await using run = await compile(peft as Module, (m, inputs) => ({ y: (m as PeftModel).forward(inputs).logits! }))
      return floats((await run(batch)).y)
    }
    const given = await logits({ inputs_embeds: tensorData('float32', embedded, [2, 4, 32]) })
    const looked = await logits(input)
    given.forEach((value, i) => {
      expect(value).toBeCloseTo(looked[i], 5)
    })
  })

  it('needs a width that can be halved, and something left of it', () => {
    expect(() => new InvertibleAdapter(new SeqBnInvConfig(), 7)).toThrow(/halves the hidden state, which is 7 wide/)
    expect(() => new InvertibleAdapter(new SeqBnInvConfig({ invAdapterReductionFactor: 9 }), 8)).toThrow(
      /leaves nothing/,
    )
  })
})

describe('sums of Kronecker products', () => {
  it('are what their definition says', async () => {
    const size = fc.integer({ min: 1, max: 3 })
    await fc.assert(
      fc.asyncProperty(size, size, size, size, size, async (n, p, q, r, s) => {
        const random = new Random(n + 10 * p + 100 * q)
        const draw = (length: number) => Float32Array.from({ length }, () => random.normal())
        const [a, b] = [draw(n * p * q), draw(n * r * s)]
        const module = new (class extends Module {
          a = Parameter.from(a, [n, p, q])
          b = Parameter.from(b, [n, r, s])
          forward(graph: Graph) {
            return graph.trace(() => kroneckerSum(this.a, this.b, [n, p, q], [n, r, s]))
          }
        })()
        await using run = await compile(module, (m, { zero }) => ({ y: m.forward(zero.graph) }))
        const got = floats((await run({ zero: tensorData('float32', [0], [1]) })).y)
        for (let row = 0; row < p * r; row++) {
          for (let column = 0; column < q * s; column++) {
            let expected = 0
            for (let j = 0; j < n; j++) {
              const first = a[j * p * q + Math.floor(row / r) * q + Math.floor(column / s)]
              expected += first * b[j * r * s + (row % r) * s + (column % s)]
            }
            expect(got[row * q * s + column]).toBeCloseTo(expected, 5)
          }
        }
      }),
      { numRuns: 8 },
    )
  })
})
