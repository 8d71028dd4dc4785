/** @file The numbers of a model's layers, as methods name them. */
import type { Module } from '../nn/index.ts'

/** The path of the layer that a module is a part of: up to the first number in its own path. */
const layerPath = (path: string) => /^(?:.*?\.)??\d+(?=\.|$)/.exec(path)?.[0]

/**
 * The number of the layer that the module at a path is a part of; undefined where it is in none. Layers are counted
 * through the whole model: those of a decoder go on after those of its encoder.
 */
export function layerNumbers(model: Module): (path: string) => number | undefined {
  const numbers = new Map<string, number>()
  for (const [path] of model.namedModules()) {
    const layer = layerPath(path)
    if (layer !== undefined && !numbers.has(layer)) numbers.set(layer, numbers.size)
  }
  return path => {
    const layer = layerPath(path)
    return layer === undefined ? undefined : numbers.get(layer)
  }
}
