/** @file The learnt gates of AdapterHub: one factor for each example (UniPELT, arXiv 2110.07577). */
import { mean, sigmoid, type Tensor } from '../../graph/index.ts'
import { Linear, normalInit } from '../../nn/index.ts'

/** A gate with AdapterHub's first values. */
export function createGate(width: number, outputs = 1): Linear {
  return new Linear(width, outputs, { init: normalInit(0.02) })
}

/** The gates of each example, `[batch, 1…, outputs]`: the mean over all its positions, padding included. */
export function averagedGate(gate: Linear, x: Tensor): Tensor {
  const positions = Array.from({ length: Math.max(x.rank - 2, 0) }, (_, i) => i + 1)
  return mean(sigmoid(gate.forward(x)), positions, true)
}
