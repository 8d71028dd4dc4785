/** @file Tests of the optimizers against PyTorch. */
import { describe, expect, it } from 'vitest'
import { Gradients, Parameter, ParameterVector, type UpdateHook } from '../../nn/index.ts'
import { AdamW } from './adamw.ts'
import type { Optimizer } from './optimizer.ts'
import { SGD } from './sgd.ts'

/*
 * Made with torch 2.15: a = Parameter([0.5, -1.25]), b = Parameter([2.0, 0.75]); each row holds the values of a and b
 * after a step with the gradients below. Weight decay, where there is some, is that of a parameter group with a alone.
 */
const GRADIENTS = [
  [0.1, -0.2, 0.3, 0.4],
  [-0.5, 0.25, 0.05, -1],
  [0.7, 0.01, -0.02, 0.6],
  [0.33, -0.44, 0, 2],
]
const onlyA = (name: string) => name === 'a'
const cases: [name: string, make: (vector: ParameterVector) => Optimizer, expected: number[][]][] = [
  [
    'AdamW(lr=0.1, weight_decay=0)',
    vector => new AdamW(vector, { lr: 0.1, weightDecay: 0 }),
    [
      [0.400000006, -1.149999976, 1.899999976, 0.649999976],
      [0.45983541, -1.166273236, 1.821667194, 0.694221497],
      [0.435415179, -1.180842042, 1.765442371, 0.692977428],
      [0.396019459, -1.14085865, 1.719386458, 0.642961383],
    ],
  ],
  [
    'AdamW(lr=0.1, betas=(0.8, 0.95), eps=1e-6), weight_decay 0.1 for a',
    vector => new AdamW(vector, { lr: 0.1, betas: [0.8, 0.95], eps: 1e-6, weightDecay: 0.1, decays: onlyA }),
    [
      [0.395000994, -1.137500405, 1.900000334, 0.650000215],
      [0.455013305, -1.148149729, 1.824160099, 0.699150622],
      [0.421104938, -1.155027747, 1.773529053, 0.695936441],
      [0.371819764, -1.097670078, 1.734356284, 0.638424933],
    ],
  ],
  [
    'SGD(lr=0.1)',
    vector => new SGD(vector, { lr: 0.1 }),
    [
      [0.49000001, -1.230000019, 1.970000029, 0.709999979],
      [0.540000021, -1.254999995, 1.965000033, 0.810000002],
      [0.470000029, -1.256000042, 1.967000008, 0.75],
      [0.437000036, -1.212000012, 1.967000008, 0.550000012],
    ],
  ],
  [
    'SGD(lr=0.1, momentum=0.9), weight_decay 0.1 for a',
    vector => new SGD(vector, { lr: 0.1, momentum: 0.9, weightDecay: 0.1, decays: onlyA }),
    [
      [0.484999985, -1.217499971, 1.970000029, 0.709999979],
      [0.516649961, -1.201074958, 1.938000083, 0.773999989],
      [0.469968468, -1.175281763, 1.911200047, 0.771600008],
      [0.390255421, -1.096315026, 1.887080073, 0.569440007],
    ],
  ],
  [
    'SGD(lr=0.1, momentum=0.9, nesterov=True)',
    vector => new SGD(vector, { lr: 0.1, momentum: 0.9, nesterov: true }),
    [
      [0.481000006, -1.212000012, 1.942999959, 0.674000025],
      [0.567900002, -1.243299961, 1.909199953, 0.83160001],
      [0.468109995, -1.250869989, 1.887079954, 0.769439995],
      [0.378598988, -1.173182964, 1.865371943, 0.387495995],
    ],
  ],
]

const parameters = () =>
  new ParameterVector([
    ['a', Parameter.from([0.5, -1.25], [2])],
    ['b', Parameter.from([2, 0.75], [2])],
  ])
const gradients = (vector: ParameterVector, step: number) => new Gradients(vector, Float32Array.from(GRADIENTS[step]))

describe.each(cases)('%s', (_, make, expected) => {
  it('takes the steps of PyTorch', () => {
    const vector = parameters()
    const optimizer = make(vector)
    expected.forEach((values, step) => {
      optimizer.step(gradients(vector, step))
      values.forEach((value, i) => {
        expect(vector.data[i]).toBeCloseTo(value, 6)
      })
    })
  })

  it('continues from a saved state as if it had not stopped', () => {
    const [whole, parted] = [parameters(), parameters()]
    const uninterrupted = make(whole)
    let optimizer = make(parted)
    for (let step = 0; step < 4; step++) {
      uninterrupted.step(gradients(whole, step))
      if (step === 2) {
        const state = optimizer.state()
        optimizer = make(parted)
        optimizer.loadState(state)
      }
      optimizer.step(gradients(parted, step))
    }
    expect(parted.data).toEqual(whole.data)
  })
})

describe('optimizers', () => {
  it('tell each hook once of the training and of every step, and keep its state', () => {
    const calls: string[] = []
    const hook = (name: string): UpdateHook => {
      let count = 0
      return {
        beforeTraining: ({ totalSteps }) => calls.push(`${name} plans ${totalSteps}`),
        beforeStep: (_, step) => calls.push(`${name} before ${step}`),
        afterStep: (_, step) => {
          count++
          calls.push(`${name} after ${step}, ${count} in all`)
        },
        state: () => ({ count }),
        loadState: state => {
          count = (state as { count: number }).count
        },
      }
    }
    const make = (name: string) => {
      const vector = parameters()
      const shared = hook(name)
      for (const { parameter } of vector.slices) parameter.hook = shared
      return { vector, optimizer: new SGD(vector) }
    }
    const [first, second] = [make('first'), make('second')]
    first.optimizer.beforeTraining({ totalSteps: 2 })
    first.optimizer.step(gradients(first.vector, 0))
    const { hooks, ...state } = first.optimizer.state()
    second.optimizer.loadState({ ...state, hooks: JSON.parse(JSON.stringify(hooks)) })
    second.optimizer.step(gradients(second.vector, 1))
    expect(calls).toEqual([
      'first plans 2',
      'first before 1',
      'first after 1, 1 in all',
      'second before 2',
      'second after 2, 2 in all',
    ])
  })

  it('take no step, and count none, where a hook refuses it', () => {
    const vector = parameters()
    vector.slices[0].parameter.hook = {
      beforeStep: () => {
        throw new Error('not yet')
      },
    }
    const optimizer = new SGD(vector)
    const before = vector.data.slice()
    expect(() => optimizer.step(gradients(vector, 0))).toThrow('not yet')
    expect(vector.data).toEqual(before)
    expect(optimizer.state().step).toBe(0)
  })

  it('refuse gradients of other parameters', () => {
    const [own, other] = [parameters(), parameters()]
    expect(() => new SGD(own).step(gradients(other, 0))).toThrow(/of other parameters/)
  })

  it.each([
    [{ lr: -1 }, /must not be negative/],
    [{ lr: 1, momentum: 1 }, /must lie in \[0, 1\)/],
    [{ lr: 1, nesterov: true }, /momentum above 0/],
  ])('refuse %o', (options, message) => {
    expect(() => new SGD(parameters(), options)).toThrow(message)
  })
})
