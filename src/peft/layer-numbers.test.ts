/** @file The numbers of layers. */
import { describe, expect, it } from 'vitest'
import { Linear, Module, ModuleList } from '../nn/index.ts'
import { layerNumbers } from './layer-numbers.ts'

class Stack extends Module {
  layers = new ModuleList([0, 1].map(() => new ModuleList([new Linear(2, 2), new Linear(2, 2)])))
  forward() {}
}

class Model extends Module {
  encoder = new Stack()
  decoder = new Stack()
  head = new Linear(2, 2)
  forward() {}
}

describe('layerNumbers', () => {
  const numberOf = layerNumbers(new Model())

  it('counts layers through the whole model, whatever lies in them', () => {
    expect(numberOf('encoder.layers.0.1')).toBe(0)
    expect(numberOf('encoder.layers.1')).toBe(1)
    expect(numberOf('decoder.layers.0.0')).toBe(2)
    expect(numberOf('decoder.layers.1.1')).toBe(3)
  })

  it('gives none to what lies in no layer', () => {
    expect(numberOf('head')).toBeUndefined()
    expect(numberOf('encoder.layers')).toBeUndefined()
    expect(numberOf('')).toBeUndefined()
  })
})
