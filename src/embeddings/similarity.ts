/** @file How alike embeddings are, and how well that agrees with what is known. */
import { didYouMean } from '../util/nearest.ts'

/** How two embeddings are compared. */
export type SimilarityFunction = (typeof SIMILARITY_FUNCTIONS)[number]

/** The values of {@link SimilarityFunction}, by sentence-transformers' names. Distances are negative: more is more alike. */
export const SIMILARITY_FUNCTIONS = ['cosine', 'dot', 'euclidean', 'manhattan'] as const

type Vector = ArrayLike<number>

const dot = (a: Vector, b: Vector) => {
  let result = 0
  for (let i = 0; i < a.length; i++) result += a[i] * b[i]
  return result
}

const MEASURES: Readonly<Record<SimilarityFunction, (a: Vector, b: Vector) => number>> = {
  cosine(a, b) {
    const lengths = Math.sqrt(dot(a, a)) * Math.sqrt(dot(b, b))
    return lengths === 0 ? 0 : dot(a, b) / lengths
  },
  dot,
  euclidean(a, b) {
    let result = 0
    for (let i = 0; i < a.length; i++) result += (a[i] - b[i]) ** 2
    return -Math.sqrt(result)
  },
  manhattan(a, b) {
    let result = 0
    for (let i = 0; i < a.length; i++) result += Math.abs(a[i] - b[i])
    return -result
  },
}

/** Refuses a name that is none of {@link SIMILARITY_FUNCTIONS}. */
export function checkSimilarity(name: string): SimilarityFunction {
  if (SIMILARITY_FUNCTIONS.includes(name as SimilarityFunction)) return name as SimilarityFunction
  throw new Error(
    `There is no similarity "${name}".${didYouMean(name, SIMILARITY_FUNCTIONS)} There are ${SIMILARITY_FUNCTIONS.join(', ')}.`,
  )
}

/**
 * How alike each of `a` is to each of `b`.
 *
 * @returns one row for each of `a`, one number in it for each of `b`
 * @throws for embeddings of different widths
 */
export function similarityMatrix(
  a: readonly Vector[],
  b: readonly Vector[],
  name: SimilarityFunction = 'cosine',
): Float32Array[] {
  const measure = MEASURES[checkSimilarity(name)]
  const width = a[0]?.length
  const other = [...a, ...b].find(({ length }) => length !== width)
  if (other)
    throw new Error(`similarity: embeddings have the widths ${width} and ${other.length}; they must be the same`)
  return a.map(row => Float32Array.from(b, column => measure(row, column)))
}

/**
 * Spearman's correlation of two lists of numbers: that of their ranks, of equal numbers the mean rank; 0 where one of them
 * is constant.
 *
 * @throws for lists of different lengths, or of fewer than two
 */
export function spearmanCorrelation(a: Vector, b: Vector): number {
  requireTwo('spearmanCorrelation', a, b)
  return correlation(ranks(a), ranks(b))
}

/**
 * Pearson's correlation of two lists of numbers; 0 where one of them is constant.
 *
 * @throws for lists of different lengths, or of fewer than two
 */
export function pearsonCorrelation(a: Vector, b: Vector): number {
  requireTwo('pearsonCorrelation', a, b)
  return correlation(a, b)
}

function requireTwo(name: string, a: Vector, b: Vector): void {
  if (a.length === b.length && a.length >= 2) return
  throw new Error(`${name}: got ${a.length} and ${b.length} numbers; expected as many of both, two at least`)
}

function correlation(x: Vector, y: Vector): number {
  const mean = (values: Vector) => Array.from(values).reduce((sum, value) => sum + value, 0) / values.length
  const [meanX, meanY] = [mean(x), mean(y)]
  let [both, xx, yy] = [0, 0, 0]
  for (let i = 0; i < x.length; i++) {
    const [dx, dy] = [x[i] - meanX, y[i] - meanY]
    both += dx * dy
    xx += dx * dx
    yy += dy * dy
  }
  return xx === 0 || yy === 0 ? 0 : both / Math.sqrt(xx * yy)
}

/** From 1 on; equal values share the mean of theirs. */
function ranks(values: Vector): Float64Array {
  const order = Array.from(values, (_, i) => i).sort((i, j) => values[i] - values[j])
  const result = new Float64Array(values.length)
  for (let start = 0; start < order.length; ) {
    let end = start + 1
    while (end < order.length && values[order[end]] === values[order[start]]) end++
    for (let at = start; at < end; at++) result[order[at]] = (start + end + 1) / 2
    start = end
  }
  return result
}

/**
 * The share of queries whose own candidate, the one at the same place, is the most alike of all (recall@1); one that is
 * only as alike as another does not count.
 *
 * @param candidates the own ones first, in the order of the queries; further ones may follow
 */
export function recallAt1(queries: readonly Vector[], candidates: readonly Vector[]): number {
  if (queries.length === 0 || candidates.length < queries.length) {
    throw new Error(`recallAt1: got ${queries.length} queries and ${candidates.length} candidates; each needs its own`)
  }
  const hits = similarityMatrix(queries, candidates).filter((row, i) =>
    row.every((value, j) => j === i || value < row[i]),
  )
  return hits.length / queries.length
}

/** What {@link retrievalMetrics} tells. */
export interface RetrievalMetrics {
  /** The share of queries whose own candidate is the most alike of all. */
  accuracy_at_1: number
  /** The mean of one divided by the place of the first own candidate among all. */
  mrr: number
}

/**
 * How well queries find their own candidates by cosines. A foreign candidate that is just as alike stands before them, so
 * that embeddings which are all the same find nothing.
 *
 * @param ownOf the positions of the candidates that belong to a query, one at least
 */
export function retrievalMetrics(
  queries: readonly Vector[],
  candidates: readonly Vector[],
  ownOf: (query: number) => readonly number[],
): RetrievalMetrics {
  if (queries.length === 0) throw new Error('retrievalMetrics: got no queries; one is needed at least')
  let [hits, reciprocals] = [0, 0]
  queries.forEach((query, i) => {
    const own = new Set(ownOf(i))
    const [cosines] = similarityMatrix([query], candidates)
    const best = Math.max(...[...own].map(at => cosines[at]))
    const place = cosines.reduce((count, value, at) => (value >= best && !own.has(at) ? count + 1 : count), 1)
    if (place === 1) hits++
    reciprocals += 1 / place
  })
  return { accuracy_at_1: hits / queries.length, mrr: reciprocals / queries.length }
}
