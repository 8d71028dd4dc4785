/** @file `Dataset`: rows in memory, with the deterministic operations that training needs. */
import { didYouMean } from '../util/nearest.ts'
import { Random } from '../util/random.ts'
import { list } from './messages.ts'

/** One example: column name to value. */
export type Row = Record<string, unknown>

/** Options of {@link Dataset.split}. */
export interface SplitOptions {
  /** Size of the second part: a share when below 1, a number of rows from 1 on. */
  test: number
  /** Seed of the shuffle; the same seed gives the same split. Default 0. */
  seed?: number
  /** Column whose values keep their shares in both parts. */
  stratify?: string
}

/** An immutable list of rows. Every operation returns a new data set; rows themselves are shared, not copied. */
export class Dataset<R extends Row = Row> implements Iterable<R> {
  readonly #rows: readonly R[]
  #columns: readonly string[] | undefined

  /** @param rows the examples; the array is copied, the row objects are not. */
  constructor(rows: Iterable<R>) {
    this.#rows = [...rows]
  }

  /** Number of rows. */
  get length(): number {
    return this.#rows.length
  }

  /** All column names that occur in any row, in order of first appearance. */
  get columns(): readonly string[] {
    if (!this.#columns) {
      const names = new Set<string>()
      for (const row of this.#rows) for (const name of Object.keys(row)) names.add(name)
      this.#columns = [...names]
    }
    return this.#columns
  }

  /** Row `index`; a negative index counts from the end. Throws a RangeError outside the data set. */
  at(index: number): R {
    const row = this.#rows[index < 0 ? index + this.length : index]
    if (row === undefined) throw new RangeError(`Row ${index} was asked for, but the data set has ${this.length} rows.`)
    return row
  }

  [Symbol.iterator](): Iterator<R> {
    return this.#rows[Symbol.iterator]()
  }

  /** A data set of `transform(row, index)` for each row. */
  map<S extends Row>(transform: (row: R, index: number) => S): Dataset<S> {
    return new Dataset(this.#rows.map((row, index) => transform(row, index)))
  }

  /** The rows for which `keep(row, index)` is true. */
  filter(keep: (row: R, index: number) => boolean): Dataset<R> {
    return new Dataset(this.#rows.filter((row, index) => keep(row, index)))
  }

  /** The rows at `indices`, in that order; repetitions are allowed. Throws a RangeError for an index outside. */
  select(indices: Iterable<number>): Dataset<R> {
    return new Dataset(Array.from(indices, index => this.at(index)))
  }

  /** The rows in an order that depends on `seed` alone. */
  shuffle(seed = 0): Dataset<R> {
    return new Dataset(new Random(seed).shuffle([...this.#rows]))
  }

  /** These rows followed by those of `others`. */
  concat(...others: Dataset<R>[]): Dataset<R> {
    return new Dataset([this, ...others].flatMap(part => [...part]))
  }

  /** The values of one column, `undefined` where a row lacks it. Throws for a column that no row has. */
  column(name: string): unknown[] {
    if (!this.columns.includes(name)) {
      throw new Error(
        `The data set has no column "${name}".${didYouMean(name, this.columns)} Its columns are ${list(this.columns)}.`,
      )
    }
    return this.#rows.map(row => row[name])
  }

  /**
   * Two shuffled, disjoint parts that together hold every row: `[train, test]`. A share is rounded to the nearest
   * number of rows, and neither part is ever empty. With `stratify`, each class gets its share of the test part to
   * within one row, and keeps at least one row in the training part, so that no label is unknown in training.
   */
  split(options: SplitOptions): [train: Dataset<R>, test: Dataset<R>] {
    const { test, seed = 0, stratify } = options
    const count = this.#testCount(test)
    const random = new Random(seed)
    const order = random.shuffle(Array.from(this.#rows, (_, index) => index))
    const held = new Set(stratify === undefined ? order.slice(0, count) : this.#stratified(order, count, stratify))
    const isHeld = (index: number) => held.has(index)
    return [this.select(order.filter(index => !isHeld(index))), this.select(order.filter(isHeld))]
  }

  #testCount(test: number): number {
    const n = this.length
    if (n < 2) throw new Error(`Could not split a data set of ${n} row${n === 1 ? '' : 's'}: at least 2 are needed.`)
    if (!(test > 0) || (test >= 1 && !Number.isInteger(test)) || test >= n) {
      throw new Error(
        `Could not split ${n} rows with test = ${test}. Give a share between 0 and 1, or a whole number from 1 to ${n - 1}.`,
      )
    }
    return test < 1 ? Math.min(n - 1, Math.max(1, Math.round(n * test))) : test
  }

  /** Largest-remainder allocation of `count` rows to the classes of `column`, drawn in the order given. */
  #stratified(order: number[], count: number, column: string): number[] {
    const values = this.column(column)
    const classes = new Map<string, number[]>()
    for (const index of order) {
      const value = values[index]
      if (value === undefined || value === null) {
        throw new Error(`Could not stratify by "${column}": row ${index} has no value there. Fill it or filter it out.`)
      }
      const key = typeof value === 'object' ? JSON.stringify(value) : String(value)
      const members = classes.get(key)
      if (members) members.push(index)
      else classes.set(key, [index])
    }
    const shares = [...classes].map(([key, members]) => {
      const quota = (count * members.length) / this.length
      return { key, members, quota, taken: Math.floor(quota) }
    })
    let missing = count - shares.reduce((sum, share) => sum + share.taken, 0)
    const byRemainder = shares
      .filter(share => share.taken < share.quota && share.taken + 1 < share.members.length)
      .sort((a, b) => b.quota - b.taken - (a.quota - a.taken) || (a.key < b.key ? -1 : 1))
    for (const share of byRemainder.slice(0, missing)) {
      share.taken++
      missing--
    }
    if (missing > 0) {
      throw new Error(
        `Could not stratify ${count} of ${this.length} rows by "${column}": its ${classes.size} classes are too small to ` +
          `keep one row of each in training. Take fewer test rows, merge rare classes, or leave out stratify.`,
      )
    }
    return shares.flatMap(share => share.members.slice(0, share.taken))
  }
}
