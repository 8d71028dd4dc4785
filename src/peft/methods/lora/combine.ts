/** @file Weighted sums of LoRA adapters: exact ones, and those of task arithmetic (TIES, DARE, pruning). */
import { type Matrix, matrix, product } from '../../../util/linear-algebra/index.ts'
import { type LowRank, nearestProduct, reducedProduct, sideBySide } from '../../../util/linear-algebra/low-rank.ts'
import { dareLinear, dareTies, magnitudePrune, taskArithmetic, ties } from '../../../util/merging.ts'
import { didYouMean } from '../../../util/nearest.ts'
import { Random } from '../../../util/random.ts'
import type { CombineContext, WeightedSource } from '../../method.ts'
import type { CombinationType, WeightedOptions } from '../../weighted.ts'
import type { LoraConfig } from './config.ts'
import { matricesOf } from './matrices.ts'

/** A sum of tensors with weights, one value at a time. */
type Sum = (tensors: readonly Float32Array[], weights: readonly number[], random: Random) => Float32Array

/** Which values a type of combination adds up, and how. */
interface Combination {
  /** A and B each for themselves (`factors`), their products (`products`), or nothing: they are put side by side. */
  of: 'factors' | 'products' | 'none'
  sum: (options: WeightedOptions) => Sum
  /** Whether the options must say how much is kept. */
  prunes?: boolean
}

const density = (options: WeightedOptions) => options.density as number
const plain: Combination['sum'] = () => taskArithmetic
const prune: Combination['sum'] = options => (tensors, weights) => magnitudePrune(tensors, weights, density(options))
const elect: Combination['sum'] = options => (tensors, weights) =>
  ties(tensors, weights, density(options), options.majoritySignMethod)
const drop: Combination['sum'] = options => (tensors, weights, random) =>
  dareLinear(tensors, weights, density(options), random)
const dropAndElect: Combination['sum'] = options => (tensors, weights, random) =>
  dareTies(tensors, weights, density(options), random, options.majoritySignMethod)

const COMBINATIONS: Record<CombinationType, Combination> = {
  cat: { of: 'none', sum: plain },
  svd: { of: 'none', sum: plain },
  linear: { of: 'factors', sum: plain },
  ties: { of: 'factors', sum: elect, prunes: true },
  dare_linear: { of: 'factors', sum: drop, prunes: true },
  dare_ties: { of: 'factors', sum: dropAndElect, prunes: true },
  magnitude_prune: { of: 'factors', sum: prune, prunes: true },
  ties_svd: { of: 'products', sum: elect, prunes: true },
  dare_linear_svd: { of: 'products', sum: drop, prunes: true },
  dare_ties_svd: { of: 'products', sum: dropAndElect, prunes: true },
  magnitude_prune_svd: { of: 'products', sum: prune, prunes: true },
}

const OPTIONS: Record<Exclude<keyof WeightedOptions, 'normalizeWeights'>, true> = {
  combinationType: true,
  svdRank: true,
  density: true,
  majoritySignMethod: true,
  seed: true,
}

const fail = (message: string): never => {
  throw new Error(`addWeightedAdapter: ${message}`)
}

/** The options of the sum: its scale is 1 in every layer, with `useRslora` as without. */
export function combinedLoraConfig({
  sources,
  options,
  targets,
}: Omit<CombineContext<LoraConfig>, 'target'> & { targets: Partial<LoraConfig> }): LoraConfig {
  const type = checkedType(options)
  const ranks = sources.map(({ config }) => Math.max(config.r, ...Object.values(config.rankPattern)))
  for (const { name, config, layers } of sources) {
    // Refuses what two matrices do not describe.
    for (const layer of layers.values()) matricesOf(layer, name)
    if (config.trainableTokenIndices || config.layerReplication) {
      fail(`"${name}" trains tokens or repeats layers, which cannot be added up; use adapters without these options`)
    }
  }
  if (COMBINATIONS[type].of === 'factors') requireEqualRanks(sources, type)
  const largest = Math.max(...ranks)
  const r = type === 'cat' ? ranks.reduce((a, b) => a + b, 0) : isSvd(type) ? (options.svdRank ?? largest) : largest
  return sources[0].config.with({
    ...targets,
    r,
    loraAlpha: r,
    rankPattern: {},
    alphaPattern: {},
    useRslora: false,
    initLoraWeights: true,
    loraBias: sources.some(({ config }) => config.loraBias),
  })
}

const isSvd = (type: CombinationType) => type.endsWith('svd')

const isCombination = (type: string): type is CombinationType => Object.hasOwn(COMBINATIONS, type)

function checkedType(options: WeightedOptions): CombinationType {
  for (const name of Object.keys(options)) {
    if (!(name in OPTIONS)) fail(`there is no option "${name}".${didYouMean(name, Object.keys(OPTIONS))}`)
  }
  const { combinationType: given = 'svd', density: kept, majoritySignMethod: sign, svdRank } = options
  const known = Object.keys(COMBINATIONS)
  if (!isCombination(given)) {
    return fail(`combinationType "${given}" is not known.${didYouMean(given, known)} Known: ${known.join(', ')}.`)
  }
  const type = given
  if (COMBINATIONS[type].prunes && !(kept !== undefined && kept > 0 && kept <= 1)) {
    fail(`combinationType "${type}" keeps a share of the values: give density, above 0 and at most 1, got ${kept}`)
  }
  if (sign !== undefined && sign !== 'total' && sign !== 'frequency') {
    fail(`majoritySignMethod must be "total" or "frequency", got "${sign}"`)
  }
  if (svdRank !== undefined && !(Number.isInteger(svdRank) && svdRank > 0)) {
    fail(`svdRank must be a whole number above 0, got ${svdRank}`)
  }
  return type
}

function requireEqualRanks(sources: readonly WeightedSource<LoraConfig>[], type: CombinationType): void {
  const ranks = new Map<string, { name: string; rank: number }>()
  for (const { name, layers } of sources) {
    for (const [path, layer] of layers) {
      const rank = matricesOf(layer, name)?.rank
      if (rank === undefined) continue
      const other = ranks.get(path)
      if (other && other.rank !== rank) {
        fail(
          `combinationType "${type}" adds A to A and B to B, but at "${path}" the rank of "${other.name}" is ${other.rank} and that of "${name}" ${rank}; use "cat", "svd", or a type that ends in _svd`,
        )
      }
      ranks.set(path, { name, rank })
    }
  }
}

/** An adapter's values in one layer. */
interface Source {
  /** `[r, in]` */
  a: Matrix
  /** `[out, r]` */
  b: Matrix
  bias: Float32Array | undefined
  /** The adapter's scale. */
  scaling: number
  /** The adapter's weight in the sum, times its scale. */
  weight: number
}

/** Gives the new adapter's matrices their values, layer by layer. */
export async function combineLora({ sources, options, target }: CombineContext<LoraConfig>): Promise<void> {
  const { seed = 0 } = options
  const type = checkedType(options)
  for (const [path, layer] of target.layers) {
    const own = matricesOf(layer, target.adapterName)
    if (!own) continue
    const parts = await Promise.all(sources.map(source => valuesAt(path, source)))
    const present = parts.filter(part => part !== undefined)
    const { of, sum } = COMBINATIONS[type]
    const random = Random.forName(path, seed)
    const add = (tensors: readonly Float32Array[], weights: readonly number[]) => sum(options)(tensors, weights, random)
    const result =
      of === 'none'
        ? type === 'cat'
          ? sideBySide(present)
          : reducedProduct(sideBySide(present), own.rank)
        : of === 'factors'
          ? sumOfFactors(present, add)
          : sumOfProducts(present, add, own.rank)
    own.a.data = withRows(result.a, own.rank)
    own.b.data = withColumns(result.b, own.rank)
    if (own.bias) own.bias.data = sumOfBiases(present, own.bias.size)
  }
}

async function valuesAt(path: string, { name, weight, layers }: WeightedSource): Promise<Source | undefined> {
  const found = matricesOf(layers.get(path), name)
  if (!found) return undefined
  const { a, b, bias, rank, scaling } = found
  return {
    a: matrix(rank, a.size / rank, await a.read()),
    b: matrix(b.size / rank, rank, await b.read()),
    bias: await bias?.read(),
    scaling,
    weight: weight * scaling,
  }
}

type Add = (tensors: readonly Float32Array[], weights: readonly number[]) => Float32Array

/** A and B each added up, with the roots of the weights; a negative sign counts once. */
function sumOfFactors(sources: readonly Source[], add: Add): LowRank {
  const [{ a, b }] = sources
  const roots = sources.map(({ weight }) => Math.sqrt(Math.abs(weight)))
  const signed = sources.map(({ weight }, i) => (weight < 0 ? -roots[i] : roots[i]))
  return {
    a: matrix(
      a.rows,
      a.columns,
      add(
        sources.map(source => source.a.data),
        signed,
      ),
    ),
    b: matrix(
      b.rows,
      b.columns,
      add(
        sources.map(source => source.b.data),
        roots,
      ),
    ),
  }
}

/** What the adapters add to the weight, added up and decomposed again. */
function sumOfProducts(sources: readonly Source[], add: Add, rank: number): LowRank {
  const [{ a, b }] = sources
  // Signs are elected by what each adapter does, its scale included.
  const products = sources.map(source => product(source.b, source.a).data.map(value => value * source.scaling))
  const weights = sources.map(({ weight, scaling }) => (scaling === 0 ? 0 : weight / scaling))
  return nearestProduct(matrix(b.rows, a.columns, add(products, weights)), rank)
}

function sumOfBiases(sources: readonly Source[], size: number): Float32Array {
  const total = new Float32Array(size)
  for (const { bias, weight } of sources) {
    if (bias) for (let i = 0; i < size; i++) total[i] += bias[i] * weight
  }
  return total
}

/** The values with rows of zeros up to `rows`. */
function withRows({ columns, data }: Matrix, rows: number): Float32Array {
  const result = new Float32Array(rows * columns)
  result.set(data)
  return result
}

/** The values with columns of zeros up to `columns`. */
function withColumns(given: Matrix, columns: number): Float32Array {
  const result = new Float32Array(given.rows * columns)
  for (let row = 0; row < given.rows; row++) {
    result.set(given.data.subarray(row * given.columns, (row + 1) * given.columns), row * columns)
  }
  return result
}
