/** @file The experts of one layer: a way down and a way up, each of which may be one of several. */
import {
  add,
  type Graph,
  gather,
  gelu,
  linear,
  mean,
  mul,
  type Operand,
  reshape,
  type Tensor,
} from '../../../graph/index.ts'
import { kaimingUniformInit, Module, normalInit, Parameter, zerosInit } from '../../../nn/index.ts'
import type { Random } from '../../../util/random.ts'
import type { AdaMixConfig } from './config.ts'
import { randomIndex } from './routing.ts'

/** The sizes of an expert. */
export interface ExpertSizes {
  input: number
  output: number
}

/** The names of an expert's parameters. */
export const SLOTS = ['down_weight', 'down_bias', 'up_weight', 'up_bias'] as const

type Slot = (typeof SLOTS)[number]

/** The shape of one expert's parameter; undefined where it has none. */
function shapeOf(slot: Slot, { base, r }: AdaMixConfig, { input, output }: ExpertSizes): number[] | undefined {
  if (slot === 'down_weight') return [r, input]
  if (slot === 'up_weight') return [output, r]
  if (base === 'lora') return undefined
  return slot === 'down_bias' ? [r] : [output]
}

/** How many of a parameter there are. */
function countOf(slot: Slot, { numExperts, sharingDown, sharingUp }: AdaMixConfig): number {
  return (slot.startsWith('down') ? sharingDown : sharingUp) ? 1 : numExperts
}

/** How many values the experts of a layer have. */
export function expertsSize(config: AdaMixConfig, sizes: ExpertSizes): number {
  return SLOTS.reduce((total, slot) => {
    const shape = shapeOf(slot, config, sizes)
    return total + (shape ? countOf(slot, config) * shape.reduce((a, b) => a * b, 1) : 0)
  }, 0)
}

/** Parameters of experts: those of all, stacked along the first axis, or those of their average. */
export class ExpertParameters extends Module {
  down_weight!: Parameter
  down_bias: Parameter | undefined
  up_weight!: Parameter
  up_bias: Parameter | undefined

  forward(): never {
    throw new Error('ExpertParameters only hold parameters; call the Experts that they belong to')
  }
}

/** The first values: LoRA's, or those of a near-identity adapter; either way the way up is zero. */
const initOf = (slot: Slot, { base }: AdaMixConfig) =>
  slot !== 'down_weight' ? zerosInit : base === 'lora' ? kaimingUniformInit() : normalInit(0.02)

/** The experts of all, drawn. */
export function drawExperts(config: AdaMixConfig, sizes: ExpertSizes, random: Random): ExpertParameters {
  const experts = new ExpertParameters()
  for (const slot of SLOTS) {
    const shape = shapeOf(slot, config, sizes)
    if (!shape) continue
    const drawn = Array.from({ length: countOf(slot, config) }, () => initOf(slot, config)(random, shape))
    const data = Float32Array.from(drawn.flatMap(values => [...values]))
    experts[slot] = Parameter.from(data, [drawn.length, ...shape])
  }
  return experts
}

/** Room for the average of experts, which a file holds. */
export function emptyAverage(config: AdaMixConfig, sizes: ExpertSizes, isTrained: boolean): ExpertParameters {
  const average = new ExpertParameters()
  for (const slot of SLOTS) {
    const shape = shapeOf(slot, config, sizes)
    if (shape) average[slot] = new Parameter(shape, { isBuffer: !isTrained, init: zerosInit })
  }
  for (const [, parameter] of average.ownParameters()) {
    parameter.data = new Float32Array(parameter.size)
  }
  return average
}

/** Writes the mean of all experts into `average`. */
export function averageInto(average: ExpertParameters, experts: ExpertParameters): void {
  for (const [slot, { data, shape }] of experts.ownParameters()) {
    const target = average[slot as Slot]!
    const sums = new Float64Array(target.size)
    data.forEach((value, i) => {
      sums[i % sums.length] += value
    })
    target.data = Float32Array.from(sums, total => total / shape[0])
  }
}

/** The weights that compute: of random experts while training, otherwise of the average. */
export type Chosen = Readonly<Partial<Record<Slot, Operand>>>

/** One way up and one way down, each drawn by itself. */
export function chooseRandomly(graph: Graph, experts: ExpertParameters): Chosen {
  const draw = (count: number) => (count === 1 ? undefined : randomIndex(graph, count))
  const routes = { down: draw(experts.down_weight.shape[0]), up: draw(experts.up_weight.shape[0]) }
  const pick = (slot: Slot, parameter: Parameter) => {
    const index = slot.startsWith('down') ? routes.down : routes.up
    return index ? gather(parameter, index, 0) : reshape(parameter, parameter.shape.slice(1))
  }
  return choose(experts, pick)
}

/** The mean of all experts. */
export function chooseAverage(experts: ExpertParameters): Chosen {
  return choose(experts, (_, parameter) =>
    parameter.shape[0] === 1 ? reshape(parameter, parameter.shape.slice(1)) : mean(parameter, [0]),
  )
}

function choose(experts: ExpertParameters, pick: (slot: Slot, parameter: Parameter) => Tensor): Chosen {
  return Object.fromEntries(experts.ownParameters().map(([slot, parameter]) => [slot, pick(slot as Slot, parameter)]))
}

/** What an expert adds: `U gelu(D x + b) + c`, or LoRA's `s U D x`. */
export function computeExpert(x: Tensor, chosen: Chosen, { base, loraAlpha, r }: AdaMixConfig): Tensor {
  const inner = linear(x, chosen.down_weight!, chosen.down_bias)
  const outer = linear(base === 'lora' ? inner : gelu(inner), chosen.up_weight!, chosen.up_bias)
  return base === 'lora' ? mul(outer, loraAlpha / r) : outer
}

/** The sum of what several experts add to something. */
export function addTo(result: Tensor, parts: readonly Tensor[]): Tensor {
  return parts.reduce((total, part) => add(total, part), result)
}
