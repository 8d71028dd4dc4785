/** @file Finding the first items of an order without sorting all of them. */

/**
 * Moves items so that those which come first in an order stand first, as many as are needed for their weights to make
 * `mass` together: at least one, at most all.
 *
 * @param items the first `count` of them are looked at, and change places
 * @param comesBefore a total order
 * @returns how many are needed
 */
export function firstOfMass(
  items: Int32Array,
  count: number,
  comesBefore: (a: number, b: number) => boolean,
  weightOf: (item: number) => number,
  mass: number,
): number {
  let [low, high] = [0, count]
  let gathered = 0
  while (high - low > 1) {
    const middle = partition(items, low, high, comesBefore)
    let left = 0
    for (let i = low; i < middle; i++) left += weightOf(items[i])
    const pivot = weightOf(items[middle])
    if (middle > low && gathered + left >= mass) high = middle
    else if (gathered + left + pivot >= mass) return middle + 1
    else {
      gathered += left + pivot
      low = middle + 1
    }
  }
  return high
}

/** Puts what comes before a pivot in front of it, what comes after behind it; the place of the pivot. */
function partition(
  items: Int32Array,
  low: number,
  high: number,
  comesBefore: (a: number, b: number) => boolean,
): number {
  const last = high - 1
  const swap = (a: number, b: number): void => {
    const item = items[a]
    items[a] = items[b]
    items[b] = item
  }
  // The median of three, so that orders that are there already cost no more than others.
  const middle = (low + high) >> 1
  if (comesBefore(items[middle], items[low])) swap(middle, low)
  if (comesBefore(items[last], items[low])) swap(last, low)
  if (comesBefore(items[middle], items[last])) swap(middle, last)
  const pivot = items[last]
  let place = low
  for (let i = low; i < last; i++) {
    if (comesBefore(items[i], pivot)) swap(i, place++)
  }
  swap(place, last)
  return place
}

/** The n-th largest value, kept at the root of a heap of the n largest; `n` from 1 to the number of values. */
export function nthLargest(values: Float32Array, n: number): number {
  const heap = values.slice(0, n).sort()
  for (let i = n; i < values.length; i++) {
    const value = values[i]
    if (!(value > heap[0])) continue
    let at = 0
    while (true) {
      let child = 2 * at + 1
      if (child + 1 < n && heap[child + 1] < heap[child]) child++
      if (child >= n || heap[child] >= value) break
      heap[at] = heap[child]
      at = child
    }
    heap[at] = value
  }
  return heap[0]
}

/** The places of the n largest values, the largest first; the first of equal ones first. Those that are no numbers, and minus infinity, are left out. */
export function largestAt(values: Float32Array, n: number): number[] {
  const lowest = nthLargest(values, Math.min(n, values.length))
  const places: number[] = []
  for (let i = 0; i < values.length; i++) {
    if (values[i] >= lowest && values[i] > Number.NEGATIVE_INFINITY) places.push(i)
  }
  return places.sort((a, b) => values[b] - values[a] || a - b).slice(0, n)
}
