/** @file Ladder side-tuning: registration. */
import type { Module } from '../../../nn/index.ts'
import type { Random } from '../../../util/random.ts'
import { registerPeftMethod } from '../../method.ts'
import { tunerAt } from '../../tuner-layer.ts'
import { LstConfig } from './config.ts'
import { LadderLayer } from './layer.ts'
import { ladderPlaces } from './places.ts'
import { LadderTop, Rung, type SideSizes, sideSizes } from './side.ts'

const draw = <M extends Module>(module: M, random: Random): M => {
  for (const [, parameter] of module.namedParameters()) parameter.data = parameter.init!(random, parameter.shape)
  return module
}

/** The number of values of a rung but for what the lowest has more, and of the top. */
const denseSize = (from: number, to: number) => from * to + to

function rungSize({ sideBlock }: LstConfig, { model, side, inner }: SideSizes): number {
  const feedForward = denseSize(side, inner) + denseSize(inner, side)
  const block =
    sideBlock === 'transformer' ? 4 * denseSize(side, side) + feedForward + 4 * side : feedForward + 2 * side
  return denseSize(model, side) + 1 + block
}

registerPeftMethod<LstConfig>({
  peftType: 'LST',
  about: {
    title: 'Ladder side-tuning',
    family: 'additive',
    formula:
      's_l = Side_l(μ_l s_{l-1} + (1 - μ_l) D_l h_l), μ_l = sigmoid(α_l / T), y = h_L + U LN(s_L); no gradient reaches h',
    paper: 'arXiv 2206.06522',
    parameters: 'for L layers of width d: about 1 / r² of them, and (L + 2) d d / r for the ways down and up',
    count: (config, _, model) => {
      const places = ladderPlaces(config, model)
      const sizes = sideSizes(config, places)
      const top = 2 * sizes.side + denseSize(sizes.side, sizes.model)
      return places.rungs.length * rungSize(config, sizes) + denseSize(sizes.model, sizes.side) + top
    },
    example: options => new LstConfig({ reductionFactor: 4, ...options }),
    recommended: { learningRate: 3e-3 },
  },
  can: {
    merge: false,
    mixedBatch: 'each',
    weightedSum: false,
    convertToLora: false,
    noOpAtInit: true,
    several: true,
  },
  layerKinds: ['layers of transformers'],
  configFromJson: LstConfig.fromJson,
  complete: (config, model) => {
    config.sideBlock ??= ladderPlaces(config, model).isDecoder ? 'feed_forward' : 'transformer'
  },
  chooseModules: (config, model) => {
    const { rungs, top } = ladderPlaces(config, model)
    return [...new Set([...rungs, top])]
  },
  wrap: ({ module, state, path, adapterName, config, model, random }) => {
    const places = ladderPlaces(config, model)
    const sizes = sideSizes(config, places)
    const layer = tunerAt(module, LadderLayer) ?? new LadderLayer(module, state)
    const rung = places.rungs.indexOf(path)
    if (rung >= 0) layer.lst_rung.set(adapterName, draw(new Rung(config, sizes, rung === 0), random))
    if (path === places.top) layer.lst_top.set(adapterName, draw(new LadderTop(config, sizes), random))
    return layer
  },
})

export { LstConfig, type LstConfigOptions, type SideBlock } from './config.ts'
export { LadderLayer } from './layer.ts'
