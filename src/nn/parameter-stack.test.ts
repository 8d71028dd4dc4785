/** @file Stacks of parameters: the same values, fed as a whole or laid together in the graph. */
import { describe, expect, it } from 'vitest'
import { Graph, neg } from '../graph/index.ts'
import { evaluate, numbers } from '../runtime/testing/run.ts'
import { Parameter, ParameterStack } from './index.ts'

const parameters = [Parameter.from([1, 2], [1, 2]), Parameter.from([3, 4], [1, 2])]

describe('a stack of parameters', () => {
  it('is zeros, then the values of each', async () => {
    const graph = new Graph()
    const stack = new ParameterStack(parameters).trace(graph)
    expect(stack.shape).toEqual([3, 1, 2])
    expect(numbers((await evaluate({ y: neg(stack) })).y).map(value => value + 0)).toEqual([0, 0, -1, -2, -3, -4])
  })

  it('reads what its parameters stand for in the graph', async () => {
    const graph = new Graph()
    graph.bind(parameters[1], graph.constant([8, 9], 'float32', [1, 2]))
    const stack = new ParameterStack(parameters).trace(graph)
    expect(numbers((await evaluate({ y: neg(stack) })).y).map(value => value + 0)).toEqual([0, 0, -1, -2, -8, -9])
  })

  it('is what the resolver of a graph gives for it', () => {
    const graph = new Graph()
    const whole = graph.input('whole', 'float32', [3, 1, 2])
    graph.resolver = key => (key instanceof ParameterStack ? whole : undefined)
    expect(new ParameterStack(parameters).trace(graph)).toBe(whole)
  })

  it('takes parameters of one shape, and at least one', () => {
    expect(() => new ParameterStack([...parameters, Parameter.from([1], [1])])).toThrow('got [1,2], [1]')
    expect(() => new ParameterStack([])).toThrow('got none')
  })
})
