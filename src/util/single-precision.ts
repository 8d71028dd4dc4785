/** @file Single-precision arithmetic to the bit: fused multiply-add, and Cephes' logarithm, sine and cosine. */

const f = Math.fround
const double = new Float64Array(1)
const words = new Uint32Array(double.buffer)

/** Which half of a float64 holds the low bits on this machine. */
const LOW = new Uint8Array(Uint16Array.of(1).buffer)[0] === 1 ? 0 : 1

/** `a * b + c` of float32 numbers, rounded once. */
export function fusedMultiplyAdd(a: number, b: number, c: number): number {
  const product = a * b
  const sum = product + c
  const part = sum - product
  const error = product - (sum - part) + (c - part)
  if (error === 0) return f(sum)
  // Rounding to float64 and then to float32 would round twice. A float64 rounded to odd keeps that from mattering.
  double[0] = sum
  if ((words[LOW] & 1) === 0) {
    const away = error > 0 === sum > 0
    if (away) words[LOW] |= 1
    else {
      if (words[LOW] === 0) words[1 - LOW] -= 1
      words[LOW] -= 1
    }
  }
  return f(double[0])
}

/** A polynomial by Horner's rule with fused steps, the coefficient of the highest power first. */
function polynomial(x: number, coefficients: Float32Array): number {
  let y = coefficients[0]
  for (let i = 1; i < coefficients.length; i++) y = fusedMultiplyAdd(y, x, coefficients[i])
  return y
}

const LOGARITHM = Float32Array.of(
  7.0376836292e-2,
  -1.151461031e-1,
  1.167699874e-1,
  -1.2420140846e-1,
  1.4249322787e-1,
  -1.6668057665e-1,
  2.0000714765e-1,
  -2.4999993993e-1,
  3.3333331174e-1,
)
const SINE = Float32Array.of(-1.9515295891e-4, 8.3321608736e-3, -1.6666654611e-1)
const COSINE = Float32Array.of(2.443315711809948e-5, -1.388731625493765e-3, 4.166664568298827e-2)
/** The natural logarithm of 2 in two parts, the first of few digits. */
const LOG_2 = [0.693359375, f(-2.1219444e-4)]
/** A quarter of pi in three parts, each but the last of few digits. */
const QUARTER_PI = [0.78515625, 2.4187564849853515625e-4, f(3.77489497744594108e-8)]
const FOUR_OVER_PI = f(4 / Math.PI)

/** The natural logarithm of a normal float32 number above 0, as Cephes' `logf` computes it with fused operations. */
export function logFloat32(x: number): number {
  let exponent = Math.floor(Math.log2(x)) + 1
  let fraction = x * 2 ** -exponent
  if (fraction >= 1) {
    fraction /= 2
    exponent++
  }
  if (fraction < f(Math.SQRT1_2)) {
    fraction *= 2
    exponent--
  }
  const z = fraction - 1
  const square = f(z * z)
  let y = f(polynomial(z, LOGARITHM) * z)
  y = fusedMultiplyAdd(y, square, f(exponent * LOG_2[1]))
  y = fusedMultiplyAdd(square, -0.5, y)
  return fusedMultiplyAdd(exponent, LOG_2[0], f(z + y))
}

/** The sine and the cosine of a float32 number from 0 to 8192, as Cephes' `sinf` and `cosf` compute them. */
export function sinCosFloat32(x: number): [sine: number, cosine: number] {
  const octant = (Math.trunc(f(x * FOUR_OVER_PI)) + 1) & ~1
  let rest = x
  for (const part of QUARTER_PI) rest = fusedMultiplyAdd(octant, -part, rest)
  const square = f(rest * rest)
  const cosineTerm = f(polynomial(square, COSINE) * square)
  const cosine = f(fusedMultiplyAdd(cosineTerm, square, -square / 2) + 1)
  const sine = fusedMultiplyAdd(f(polynomial(square, SINE) * square), rest, rest)
  const [sin, cos] = octant & 2 ? [cosine, sine] : [sine, cosine]
  return [octant & 4 ? -sin : sin, (octant - 2) & 4 ? cos : -cos]
}
