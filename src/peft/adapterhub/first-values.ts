/** @file How first values are drawn, with a seed of the adapter's own where its options have one. */
import type { Initializer, Module } from '../../nn/index.ts'
import { uniformInit } from '../../nn/index.ts'
import { Random } from '../../util/random.ts'

/** The source of first values: the one that was given, or that of the configuration's own seed. */
export function randomFor(seed: number | null, name: string, given: Random): Random {
  return seed === null ? given : Random.forName(name, seed)
}

/** Draws the values of everything in a module that has none yet, in the order of its names. */
export function drawMissing<M extends Module>(module: M, random: Random): M {
  for (const [, parameter] of module.namedParameters()) {
    if (!parameter.hasValue) parameter.data = parameter.init!(random, parameter.shape)
  }
  return module
}

/** PyTorch's `kaiming_uniform_` without further options: uniform within `sqrt(6 / fan in)` (arXiv 1502.01852). */
export const wideUniformInit: Initializer = (random, shape) => uniformInit(Math.sqrt(6 / shape[1]))(random, shape)
