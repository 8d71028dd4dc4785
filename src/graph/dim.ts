/** @file Dimensions: numbers, or polynomials over named dimensions kept in one canonical spelling. */

/**
 * The length of an axis: a number, or a symbolic expression such as `'batch'`, `'batch*sequence'` or
 * `'past+sequence'`. Symbolic dimensions are canonical, so two of them are equal exactly when `===` says so.
 */
export type Dim = number | string

/** The shape of a tensor. */
export type Shape = readonly Dim[]

/** A polynomial: from a product of names (sorted, joined by `*`; `''` is the constant term) to its coefficient. */
type Polynomial = ReadonlyMap<string, number>

const NAME = /^[A-Za-z_][\w.]*$/
const parsed = new Map<string, Polynomial>()

function parse(dim: Dim): Polynomial {
  if (typeof dim === 'number') return new Map(dim === 0 ? [] : [['', dim]])
  const known = parsed.get(dim)
  if (known) return known
  const terms = new Map<string, number>()
  for (const term of dim.split('+')) {
    let coefficient = 1
    const names: string[] = []
    for (const factor of term.split('*')) {
      if (/^-?\d+$/.test(factor)) coefficient *= Number(factor)
      else if (NAME.test(factor)) names.push(factor)
      else throw new Error(`"${dim}" is not a dimension: expected a number, or names joined by + and *`)
    }
    const key = names.sort().join('*')
    terms.set(key, (terms.get(key) ?? 0) + coefficient)
  }
  for (const [key, coefficient] of terms) if (coefficient === 0) terms.delete(key)
  parsed.set(dim, terms)
  return terms
}

function format(terms: Polynomial): Dim {
  const entries = [...terms]
    .filter(([, c]) => c !== 0)
    .sort(([a], [b]) => (a === '' ? 1 : b === '' ? -1 : a < b ? -1 : 1))
  if (entries.length === 0) return 0
  if (entries.length === 1 && entries[0][0] === '') return entries[0][1]
  return entries.map(([key, c]) => (key === '' ? `${c}` : c === 1 ? key : `${c}*${key}`)).join('+')
}

/** The canonical spelling of a dimension. */
export function canonicalDim(dim: Dim): Dim {
  return format(parse(dim))
}

/** The sum of dimensions. */
export function addDims(...dims: Dim[]): Dim {
  if (dims.every(dim => typeof dim === 'number')) return dims.reduce((a, b) => a + b, 0)
  const terms = new Map<string, number>()
  for (const dim of dims) for (const [key, c] of parse(dim)) terms.set(key, (terms.get(key) ?? 0) + c)
  return format(terms)
}

/** `a - b`. */
export function subtractDims(a: Dim, b: Dim): Dim {
  return addDims(a, multiplyDims(b, -1))
}

/** The product of dimensions; 1 for none. */
export function multiplyDims(...dims: Dim[]): Dim {
  // Adding 0 turns -0 into 0.
  if (dims.every(dim => typeof dim === 'number')) return dims.reduce((a, b) => a * b, 1) + 0
  return format(
    dims.reduce<Polynomial>((product, dim) => {
      const terms = new Map<string, number>()
      for (const [left, a] of product) {
        for (const [right, b] of parse(dim)) {
          const key = [...left.split('*'), ...right.split('*')].filter(Boolean).sort().join('*')
          terms.set(key, (terms.get(key) ?? 0) + a * b)
        }
      }
      return terms
    }, parse(1)),
  )
}

const namesOf = (key: string) => key.split('*').filter(Boolean)

function compareNames(a: readonly string[], b: readonly string[]): number {
  const at = a.findIndex((name, i) => name !== b[i])
  return at < 0 ? 0 : a[at] < b[at] ? -1 : 1
}

/** The first term in the graded order of monomials: the leading term of a product is the product of the leading terms. */
function leadingTerm(terms: Polynomial): [string, number] {
  return [...terms].sort(([a], [b]) => {
    const [left, right] = [namesOf(a), namesOf(b)]
    return right.length - left.length || compareNames(left, right)
  })[0]
}

/** `a / b` where it is exact for every value of the names, otherwise undefined. */
export function divideDims(a: Dim, b: Dim): Dim | undefined {
  const divisor = parse(b)
  if (divisor.size === 0) return undefined
  const [names, coefficient] = leadingTerm(divisor)
  let quotient: Dim = 0
  let left = canonicalDim(a)
  while (left !== 0) {
    const [key, c] = leadingTerm(parse(left))
    const rest = namesOf(key)
    for (const name of namesOf(names)) {
      const at = rest.indexOf(name)
      if (at < 0) return undefined
      rest.splice(at, 1)
    }
    if (c % coefficient !== 0) return undefined
    const term = multiplyDims(c / coefficient, ...rest)
    quotient = addDims(quotient, term)
    left = subtractDims(left, multiplyDims(term, b))
  }
  return quotient
}

/** The names that a dimension is made of. */
export function dimNames(dim: Dim): string[] {
  return [...new Set([...parse(dim).keys()].flatMap(key => key.split('*')).filter(Boolean))]
}

/** The terms of a dimension: products of names with their coefficients (`names` is empty for the constant). */
export function dimTerms(dim: Dim): { names: string[]; coefficient: number }[] {
  return [...parse(dim)].map(([key, coefficient]) => ({ names: namesOf(key), coefficient }))
}

/** The value of a dimension under `bindings`. Throws when a name is unbound. */
export function evaluateDim(dim: Dim, bindings: Readonly<Record<string, number>>): number {
  if (typeof dim === 'number') return dim
  let total = 0
  for (const { names, coefficient } of dimTerms(dim)) {
    total += names.reduce((product, name) => {
      if (bindings[name] === undefined) {
        throw new Error(`The dimension "${name}" has no value; known are ${Object.keys(bindings).join(', ') || 'none'}`)
      }
      return product * bindings[name]
    }, coefficient)
  }
  return total
}

/** The number of elements of a tensor of this shape. */
export function sizeOf(shape: Shape): Dim {
  return multiplyDims(...shape)
}

/** `[batch, 4]`: a shape as text. */
export function formatShape(shape: Shape): string {
  return `[${shape.join(', ')}]`
}

/** The common shape of operands under NumPy's broadcasting rules. Throws where they do not fit. */
export function broadcastShapes(...shapes: Shape[]): Dim[] {
  const rank = Math.max(0, ...shapes.map(shape => shape.length))
  return Array.from({ length: rank }, (_, i) => {
    let result: Dim = 1
    for (const shape of shapes) {
      const dim = shape[i - rank + shape.length] ?? 1
      if (dim === 1 || dim === result) continue
      if (result !== 1) throw new Error(`Shapes ${shapes.map(formatShape).join(' and ')} cannot be broadcast together`)
      result = dim
    }
    return result
  })
}
