/** @file Rotary position embedding as one operator, so that it and its gradient can be one kernel each. */
import { formatShape } from '../dim.ts'
import { defineOperator, graphOf, type Operand, type Tensor, toTensor } from '../graph.ts'

defineOperator('Rotary', ([x, cosine, sine]) => {
  const width = x.shape[3]
  const [batch, heads, sequence, half] = cosine.shape
  const fits =
    x.rank === 4 &&
    cosine.rank === 4 &&
    formatShape(cosine.shape) === formatShape(sine.shape) &&
    (batch === 1 || batch === x.shape[0]) &&
    heads === 1 &&
    sequence === x.shape[2] &&
    typeof width === 'number' &&
    half === width / 2
  if (!fits)
    throw new Error('expected x [batch, heads, sequence, width] and tables [batch or 1, 1, sequence, width / 2]')
  return [{ dtype: x.dtype, shape: x.shape }]
})

/**
 * Turns each pair of coordinates `(i, i + width / 2)` by an angle (arXiv 2104.09864).
 *
 * @param x `[batch, heads, sequence, width]`
 * @param cosine of the angles, `[batch or 1, 1, sequence, width / 2]`
 * @param sine of the angles; no gradient flows into the tables
 */
export function rotary(x: Operand, cosine: Tensor, sine: Tensor): Tensor {
  const tensor = toTensor(graphOf([x]), x)
  return tensor.graph.add('Rotary', [tensor, cosine, sine])[0]
}
