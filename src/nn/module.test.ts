/** @file The module tree: names, sharing, copies, replacement and first values. */
import { describe, expect, it } from 'vitest'
import { Graph, gather, type Tensor } from '../graph/index.ts'
import { evaluate, Feeder, numbers, randomData } from '../runtime/testing/run.ts'
import {
  Conv1D,
  constantInit,
  Dropout,
  Embedding,
  getActivation,
  kaimingUniformInit,
  LayerNorm,
  Linear,
  Module,
  ModuleDict,
  ModuleList,
  normalInit,
  Parameter,
  ParameterDict,
  RMSNorm,
} from './index.ts'

class Block extends Module {
  norm = new LayerNorm(4)
  dense = new Linear(4, 4)
  forward(x: Tensor): Tensor {
    return this.dense.forward(this.norm.forward(x))
  }
}

class Model extends Module {
  embed = new Embedding(6, 4)
  layers = new ModuleList([new Block(), new Block()])
  head = new Linear(4, 6, { bias: false })
  scale = new Parameter([1], { init: constantInit(2) })
  readonly size = 4
  constructor() {
    super()
    this.head.weight = this.embed.weight
  }
  forward(ids: Tensor): Tensor {
    return this.head.forward(this.layers.forward(this.embed.forward(ids)) as Tensor)
  }
}

const BLOCK = ['norm.weight', 'norm.bias', 'dense.weight', 'dense.bias']
const LAYERS = [0, 1].flatMap(i => BLOCK.map(name => `layers.${i}.${name}`))
const namesOf = (module: Module) => [...module.namedParameters()].map(([name]) => name)

describe('names', () => {
  it('of modules are paths, parents first', () => {
    expect([...new Model().namedModules()].map(([name]) => name)).toEqual([
      ...['', 'embed', 'layers', 'layers.0', 'layers.0.norm', 'layers.0.dense'],
      ...['layers.1', 'layers.1.norm', 'layers.1.dense', 'head'],
    ])
  })

  it('of parameters are those of a checkpoint, a tied one once under its first name', () => {
    const model = new Model()
    expect(namesOf(model)).toEqual(['scale', 'embed.weight', ...LAYERS])
    expect(model.embed.weight.name).toBe('embed.weight')
    expect(model.parameters()).toHaveLength(10)
    const slots = [...model.parameterSlots()]
    expect(slots.map(([name]) => name)).toEqual(['scale', 'embed.weight', ...LAYERS, 'head.weight'])
    expect(slots.at(-1)![1]).toBe(model.embed.weight)
  })

  it('find modules, and near ones where there is none', () => {
    const model = new Model()
    expect(model.getSubmodule('layers.1.dense')).toBe(model.layers.at(1).dense)
    expect(model.getSubmodule('')).toBe(model)
    expect(() => model.getSubmodule('layers.1.dence')).toThrow(
      /There is no module "layers\.1\.dence"\. Did you mean .*"layers\.1\.dense"/,
    )
    expect(() => model.getSubmodule('heads')).toThrow('Did you mean "head"')
    expect(() => model.getSubmodule('x')).toThrow(/^There is no module "x"\.$/)
  })
})

describe('replacing a module', () => {
  it('puts another in its place', () => {
    const model = new Model()
    const other = new Linear(4, 4, { bias: false })
    model.setSubmodule('layers.0.dense', other)
    expect(model.layers.at(0).dense).toBe(other)
    expect(namesOf(model)).not.toContain('layers.0.dense.bias')
    const head = new Linear(4, 2)
    model.setSubmodule('head', head)
    expect(model.head).toBe(head)
    expect(() => model.setSubmodule('layers.7.dense', other)).toThrow('There is no module "layers.7"')
  })
})

describe('a clone', () => {
  it('shares all values and no module', () => {
    const model = new Model()
    model.initialize(1)
    const copy = model.clone()
    expect(copy).toBeInstanceOf(Model)
    expect(copy.size).toBe(4)
    const [modules, copies] = [[...model.namedModules()], [...copy.namedModules()]]
    expect(copies.map(([name]) => name)).toEqual(modules.map(([name]) => name))
    for (const [i, [, module]] of copies.entries()) expect(module).not.toBe(modules[i][1])
    expect(namesOf(copy)).toEqual(namesOf(model))
    for (const [i, parameter] of copy.parameters().entries()) expect(parameter.data).toBe(model.parameters()[i].data)
    expect(copy.head.weight).toBe(copy.embed.weight)
  })

  it('freezes and trains apart from the original', () => {
    const model = new Model()
    model.initialize(1)
    const copy = model.clone()
    copy.embed.weight.requiresGrad = false
    copy.embed.weight.data = randomData([6, 4], 1).data
    expect(model.embed.weight.requiresGrad).toBe(true)
    expect(model.embed.weight.data).not.toEqual(copy.embed.weight.data)
  })

  it('is changed without changing the original, and the other way round', () => {
    const model = new Model()
    const copy = model.clone()
    copy.setSubmodule('layers.0.dense', new Linear(4, 4, { bias: false }))
    model.setSubmodule('head', new Linear(4, 3))
    expect(namesOf(model)).toContain('layers.0.dense.bias')
    expect(copy.head.outFeatures).toBe(6)
  })

  it('keeps a module that stands in two places one module', () => {
    const block = new Block()
    const list = new ModuleList([block, block]).clone()
    expect(list.at(0)).toBe(list.at(1))
    expect(list.at(0)).not.toBe(block)
  })
})

describe('first values', () => {
  const valuesOf = (model: Module) => new Map([...model.namedParameters()].map(([name, p]) => [name, [...p.data]]))

  it('follow from the seed and the name alone', () => {
    const [a, b, other] = [new Model(), new Model(), new Model()]
    expect(a.initialize(3)).toEqual(namesOf(a))
    b.initialize(3)
    other.initialize(4)
    expect(valuesOf(a)).toEqual(valuesOf(b))
    expect([...other.embed.weight.data]).not.toEqual([...a.embed.weight.data])
    const [first, second] = [a.layers.at(0), a.layers.at(1)]
    expect([...first.dense.weight.data]).not.toEqual([...second.dense.weight.data])
    const alone = new ModuleDict({ dense: new Linear(4, 4) })
    const larger = new ModuleDict<Module>({ extra: new Linear(4, 4), dense: new Linear(4, 4) })
    alone.initialize(1)
    larger.initialize(1)
    expect(valuesOf(larger).get('dense.weight')).toEqual(valuesOf(alone).get('dense.weight'))
  })

  it('leave values that are there alone', () => {
    const model = new Model()
    const given = randomData([6, 4], 1).data
    model.embed.weight.data = given
    expect(model.initialize()).not.toContain('embed.weight')
    expect(model.embed.weight.data).toBe(given)
    expect(model.initialize()).toEqual([])
  })

  it('are needed where there is no initialiser', () => {
    const holder = new ParameterDict({ lost: new Parameter([2]) })
    expect(() => holder.initialize()).toThrow('The parameter "lost" has neither values nor an initialiser')
  })

  it('have the spread that their initialisers promise', () => {
    const dense = new Linear(100, 200)
    dense.initialize(1)
    const bound = 0.1
    for (const values of [dense.weight.data, dense.bias!.data]) {
      expect(Math.max(...values)).toBeLessThan(bound)
      expect(Math.min(...values)).toBeGreaterThanOrEqual(-bound)
      expect(Math.max(...values)).toBeGreaterThan(0.9 * bound)
    }
    const table = new ParameterDict({ t: new Parameter([20_000], { init: normalInit(0.02) }) })
    table.initialize()
    const square = table.get('t')!.data.reduce((total, value) => total + value * value, 0) / 20_000
    expect(Math.sqrt(square)).toBeCloseTo(0.02, 3)
    const wide = new ParameterDict({ t: new Parameter([50, 2, 2], { init: kaimingUniformInit() }) })
    wide.initialize()
    expect(Math.max(...wide.get('t')!.data)).toBeLessThan(0.5)
    expect(Math.max(...wide.get('t')!.data)).toBeGreaterThan(0.4)
  })
})

describe('holders', () => {
  it('of modules by name', () => {
    const dict = new ModuleDict({ a: new Linear(1, 1) })
    const b = new Linear(2, 2)
    dict.set('b', b)
    expect([dict.keys(), dict.get('b'), dict.has('c'), dict.get('c')]).toEqual([['a', 'b'], b, false, undefined]) // prettier-ignore
    dict.delete('a')
    expect(namesOf(dict)).toEqual(['b.weight', 'b.bias'])
    expect(() => dict.forward()).toThrow('only holds modules')
    expect(dict.get('constructor')).toBeUndefined()
  })

  it('of parameters by name', () => {
    const dict = new ParameterDict({ a: new Parameter([1]) })
    dict.set('b', new Parameter([2]))
    expect(dict.keys()).toEqual(['a', 'b'])
    dict.delete('a')
    expect([dict.keys(), dict.get('a')]).toEqual([['b'], undefined])
    expect(() => dict.forward()).toThrow('only holds parameters')
  })

  it('refuse names that would hide their own members', () => {
    const dict = new ModuleDict()
    expect(() => dict.set('keys', new Linear(1, 1))).toThrow('"keys" cannot be a name here: ModuleDict has a member')
    expect(() => new ModuleDict({ forward: new Linear(1, 1) })).toThrow('"forward" cannot be a name here')
    expect(() => new ParameterDict({ get: new Parameter([1]) })).toThrow('"get" cannot be a name here')
    dict.set('default', new Linear(1, 1))
    dict.set('default', new Linear(2, 2))
    expect(dict.keys()).toEqual(['default'])
  })

  it('of modules in a row', () => {
    const [a, b] = [new Block(), new Block()]
    const list = new ModuleList([a, b])
    expect([list.length, list.at(1), [...list]]).toEqual([2, b, [a, b]])
    expect(new ModuleList(Array.from({ length: 12 }, () => new Dropout(0))).children().map(([name]) => name)).toEqual(
      Array.from({ length: 12 }, (_, i) => `${i}`),
    )
  })
})

describe('parameters', () => {
  it('count, and say what is wrong with values', () => {
    const parameter = new Parameter([2, 3])
    parameter.name = 'w'
    expect([parameter.size, parameter.hasValue, parameter.isLoaded, parameter.requiresGrad]).toEqual([
      6,
      false,
      false,
      true,
    ]) // prettier-ignore
    expect(() => parameter.data).toThrow('The values of "w" are not in memory; call load() first')
    expect(() => parameter.source).toThrow('"w" has no values: load a checkpoint, or initialise it')
    expect(() => Object.assign(parameter, { data: new Float32Array(5) })).toThrow(
      'of shape [2,3] takes 6 values, got 5',
    )
    const source = { kind: 'memory' as const, dtype: 'F32' as const, shape: [3, 2], bytes: new Uint8Array(24) }
    expect(() => Object.assign(parameter, { source })).toThrow('has shape [2,3], its source has [3,2]')
  })

  it('load values of another element type as float32', async () => {
    const parameter = new Parameter([2])
    parameter.source = { kind: 'memory', dtype: 'BF16', shape: [2], bytes: Uint8Array.of(0x80, 0x3f, 0, 0xc0) }
    expect([...(await parameter.read())]).toEqual([1, -2])
    expect(parameter.isLoaded).toBe(false)
    expect([...(await parameter.load())]).toEqual([1, -2])
    expect([...parameter.data]).toEqual([1, -2])
  })
})

describe('layers', () => {
  const rows = (tensor: { data: ArrayLike<number> }, width: number) =>
    Array.from({ length: tensor.data.length / width }, (_, i) =>
      Array.from({ length: width }, (_, j) => tensor.data[i * width + j]),
    )

  it('compute what their formulas say', async () => {
    const feeder = new Feeder()
    const x = feeder.random('x', [3, 4])
    const dense = new Linear(4, 2)
    const turned = new Conv1D(2, 4)
    const norm = new LayerNorm(4, { eps: 0.1 })
    const rms = new RMSNorm(4, { eps: 0.1 })
    for (const [i, layer] of [dense, turned, norm, rms].entries()) {
      for (const p of layer.parameters()) p.data = randomData(p.shape, 10 + i).data
    }
    const found = await evaluate(
      { dense: dense.forward(x), turned: turned.forward(x), norm: norm.forward(x), rms: rms.forward(x) },
      feeder.feeds,
    )
    const input = rows(feeder.feeds.x as never, 4)
    const dot = (a: ArrayLike<number>, b: ArrayLike<number>) => Array.from(a).reduce((t, v, i) => t + v * b[i], 0)
    const weight = rows(dense.weight, 4)
    const expectedDense = input.flatMap(row => weight.map((w, j) => dot(row, w) + dense.bias!.data[j]))
    const columns = [0, 1].map(j => rows(turned.weight, 2).map(row => row[j]))
    const expectedTurned = input.flatMap(row => columns.map((w, j) => dot(row, w) + turned.bias.data[j]))
    const expectedNorm = input.flatMap(row => {
      const mean = dot(row, [1, 1, 1, 1]) / 4
      const centered = row.map(value => value - mean)
      const inverse = 1 / Math.sqrt(dot(centered, centered) / 4 + 0.1)
      return centered.map((value, i) => value * inverse * norm.weight.data[i] + norm.bias!.data[i])
    })
    const expectedRms = input.flatMap(row => {
      const inverse = 1 / Math.sqrt(dot(row, row) / 4 + 0.1)
      return row.map((value, i) => value * inverse * rms.weight.data[i])
    })
    const expected = { dense: expectedDense, turned: expectedTurned, norm: expectedNorm, rms: expectedRms }
    for (const [name, values] of Object.entries(expected)) {
      numbers(found[name]).forEach((value, i) => void expect(value, `${name} ${i}`).toBeCloseTo(values[i], 5))
    }
  })

  it('make a model that shares its tied table', async () => {
    const model = new Model()
    model.initialize(1)
    const feeder = new Feeder()
    const ids = feeder.values('ids', 'int64', [[0, 5]])
    const logits = model.forward(ids)
    expect(logits.shape).toEqual([1, 2, 6])
    expect(feeder.graph.nodes.filter(node => node.op === 'Weight')).toHaveLength(namesOf(model).length - 1)
    expect((await evaluate({ logits }, feeder.feeds)).logits.dims).toEqual([1, 2, 6])
    const table = new Graph()
    const row = gather(model.embed.weight, table.input('ids', 'int64', [1]))
    const found = await evaluate({ row }, { ids: { dtype: 'int64', dims: [1], data: new BigInt64Array([5n]) } })
    expect(numbers(found.row)).toEqual([...model.embed.weight.data.slice(20)])
  })
})

describe('activations', () => {
  it('are found by the names of configurations', async () => {
    const sigmoid = (x: number) => 1 / (1 + Math.exp(-x))
    const tanhGelu = (x: number) => 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)))
    const expected: Record<string, (x: number) => number> = {
      gelu_new: tanhGelu,
      gelu_pytorch_tanh: tanhGelu,
      gelu_fast: tanhGelu,
      quick_gelu: x => x * sigmoid(1.702 * x),
      relu: x => Math.max(x, 0),
      silu: x => x * sigmoid(x),
      swish: x => x * sigmoid(x),
      tanh: Math.tanh,
      sigmoid,
    }
    const feeder = new Feeder()
    const x = feeder.values('x', 'float32', [-3, -0.5, 0, 1, 2.5])
    const outputs = Object.fromEntries(Object.keys(expected).map(name => [name, getActivation(name)(x)]))
    const found = await evaluate({ ...outputs, gelu: getActivation('gelu')(x) }, feeder.feeds)
    for (const [name, f] of Object.entries(expected)) {
      numbers(found[name]).forEach((value, i) => {
        expect(value, name).toBeCloseTo(f(numbers(feeder.feeds.x)[i]), 5)
      })
    }
    const exact = [-0.00404969409489031, -0.15426876936299344, 0, 0.8413447460685429, 2.484475836627695]
    numbers(found.gelu).forEach((value, i) => void expect(value).toBeCloseTo(exact[i], 5))
  })

  it('of other names are refused with the nearest', () => {
    expect(() => getActivation('gelu_nwe')).toThrow(/"gelu_nwe" is not known\. Did you mean .*"gelu_new"/)
    expect(() => getActivation('constructor')).toThrow('Known: gelu, gelu_new')
  })
})
