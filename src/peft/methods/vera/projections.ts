/** @file The frozen matrices that all layers of a VeRA adapter share, drawn as PyTorch draws them. */
import { Conv1D, Linear, type Module, Parameter } from '../../../nn/index.ts'
import { TorchRandom } from '../../../util/torch-random.ts'

/** A pair of shared matrices: every layer takes the part that fits it. */
export interface Projections {
  /** `[r, largest in]` */
  a: Parameter
  /** `[largest out, r]` */
  b: Parameter
}

/** Whether VeRA can work on a module. */
export function isDense(module: Module): module is Linear | Conv1D {
  return module instanceof Linear || module instanceof Conv1D
}

/** torch's `kaiming_uniform_` with its default gain: uniform within `sqrt(6 / columns)`. */
function kaimingUniform(random: TorchRandom, rows: number, columns: number): Parameter {
  const bound = Math.sqrt(3) * (Math.SQRT2 / Math.sqrt(columns))
  const data = random.uniform(rows * columns, -bound, bound)
  return Parameter.from(data, [rows, columns], { isBuffer: true })
}

/** Draws the matrices for some modules from a seed; the same seed and sizes give in Python the same numbers. */
export function drawProjections(modules: Iterable<Module>, r: number, seed: number): Projections {
  let [inFeatures, outFeatures] = [0, 0]
  for (const module of modules) {
    if (!isDense(module)) continue
    inFeatures = Math.max(inFeatures, module.inFeatures)
    outFeatures = Math.max(outFeatures, module.outFeatures)
  }
  const random = new TorchRandom(seed)
  const a = kaimingUniform(random, r, inFeatures)
  return { a, b: kaimingUniform(random, outFeatures, r) }
}
