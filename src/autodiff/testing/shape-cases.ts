/** @file Gradient cases: the operators that move or pick elements. */
import * as g from '../../graph/index.ts'
import { declared, float, type GradientCase, given } from './finite-differences.ts'

/** A table of 4 positions and 3 pairs of coordinates for each batch entry. */
const angles = (batch: number, of: (angle: number) => number) =>
  Array.from({ length: batch }, (_, b) => [
    Array.from({ length: 4 }, (_, i) => Array.from({ length: 3 }, (_, j) => of(b + i * 0.7 + j * 1.3))),
  ])

const repeated = [
  [2, 0, 2],
  [1, 2, 2],
]

const gathers: GradientCase[] = [0, 1, 2, -1].flatMap(axis => [
  {
    name: `Gather along ${axis} with repeated indices`,
    inputs: [float(3, 3, 3), given([2, 0, 2, 2], 'int64')],
    build: (x: g.Tensor, indices: g.Tensor) => g.gather(x, indices, axis),
  },
  {
    name: `Gather along ${axis} with two axes of indices`,
    inputs: [float(3, 3, 3), given(repeated, 'int64')],
    build: (x: g.Tensor, indices: g.Tensor) => g.gather(x, indices, axis),
  },
  {
    name: `Gather along ${axis} with one index that is not constant`,
    inputs: [float(3, 3, 3), given(1, 'int64')],
    build: (x: g.Tensor, indices: g.Tensor) => g.gather(x, indices, axis),
  },
  { name: `select of the first along ${axis}`, inputs: [float(3, 2, 3)], build: (x: g.Tensor) => g.select(x, axis, 0) },
  { name: `select of the last along ${axis}`, inputs: [float(3, 2, 3)], build: (x: g.Tensor) => g.select(x, axis, -1) },
  {
    name: `GatherElements along ${axis}`,
    inputs: [
      float(2, 2, 2),
      given(
        [
          [
            [0, 1],
            [1, 1],
          ],
          [
            [1, 0],
            [0, 0],
          ],
        ],
        'int64',
      ),
    ],
    build: (x: g.Tensor, indices: g.Tensor) => g.gatherElements(x, indices, axis),
  },
  {
    name: `ScatterElements along ${axis}`,
    inputs: [
      float(2, 2, 2),
      given(
        [
          [
            [0, 1],
            [1, 1],
          ],
          [
            [1, 0],
            [0, 0],
          ],
        ],
        'int64',
      ),
      float(2, 2, 2),
    ],
    build: (x: g.Tensor, indices: g.Tensor, updates: g.Tensor) => g.scatterAddElements(x, indices, updates, axis),
  },
])

/** Moving and picking. */
export const SHAPE_CASES: readonly GradientCase[] = [
  ...gathers,
  { name: 'Reshape', inputs: [float(2, 3, 2)], build: x => g.reshape(x, [3, -1]) },
  { name: 'Reshape from a scalar', inputs: [float()], build: x => g.reshape(x, [1, 1]) },
  { name: 'unsqueeze and squeeze', inputs: [float(2, 1, 3)], build: x => g.squeeze(g.unsqueeze(x, [0, -1]), [2, -1]) },
  { name: 'Expand of new and old axes', inputs: [float(2, 1)], build: x => g.expand(x, [3, 2, 4]) },
  { name: 'Expand of a scalar', inputs: [float()], build: x => g.expand(x, [2, 2]) },
  {
    name: 'Expand along symbolic axes',
    inputs: [declared(float(2, 3), 'batch', 3), declared(float(1, 3), 1, 3)],
    build: (x, y) => g.mul(x, g.expand(y, ['batch', 3])),
  },
  {
    name: 'Rotary with one table for all',
    inputs: [float(2, 3, 4, 6), given(angles(1, Math.cos)), given(angles(1, Math.sin))],
    wrt: [0],
    build: (x, cosine, sine) => g.rotary(x, cosine, sine),
  },
  {
    name: 'Rotary with a table for each batch entry',
    inputs: [float(2, 3, 4, 6), given(angles(2, Math.cos)), given(angles(2, Math.sin))],
    wrt: [0],
    build: (x, cosine, sine) => g.rotary(x, cosine, sine),
  },
  { name: 'Transpose', inputs: [float(2, 3)], build: x => g.transpose(x) },
  { name: 'Transpose of three axes', inputs: [float(2, 3, 4)], build: x => g.transpose(x, [2, 0, 1]) },
  { name: 'Slice', inputs: [float(2, 5)], build: x => g.slice(x, 1, 1, 4) },
  { name: 'Slice to the end', inputs: [float(4, 2)], build: x => g.slice(x, -2, 2) },
  { name: 'Slice of nothing', inputs: [float(4, 2)], build: x => g.concat([g.slice(x, 0, 1, 1), x], 0) },
  {
    name: 'Slice of symbolic range',
    inputs: [declared(float(2, 5), 'batch', 'long'), declared(float(2, 2), 'batch', 'short')],
    build: (x, y) => g.mul(g.slice(x, 1, 0, 'short'), y),
  },
  {
    name: 'split',
    inputs: [float(2, 6)],
    build: x => {
      const [a, b, c] = g.split(x, [2, 3, 1], 1)
      return g.mul(g.sum(b, [1], true), g.concat([a, c], 1))
    },
  },
  { name: 'Concat', inputs: [float(2, 1), float(2, 3), float(2, 2)], build: (...parts) => g.concat(parts, 1) },
  { name: 'Concat of one tensor twice', inputs: [float(2, 2)], build: x => g.concat([x, g.neg(x), x], 0) },
  {
    name: 'Concat along symbolic lengths',
    inputs: [declared(float(2, 2), 'past', 2), declared(float(3, 2), 'now', 2)],
    build: (a, b) => g.concat([g.mul(a, a), g.mul(b, b)], 0),
  },
  { name: 'Pad', inputs: [float(2, 3)], build: x => g.pad(x, 1, 2, 1) },
  {
    name: 'Pad by symbolic amounts',
    inputs: [declared(float(2, 3), 2, 'n'), declared(float(2), 'm')],
    build: (x, y) => g.mul(g.pad(x, 1, 'm', 1), g.sum(y)),
  },
  {
    name: 'ScatterElements that replaces',
    inputs: [float(6), given([4, 0, 3], 'int64'), float(3)],
    build: (x, indices, updates) => g.scatterElements(x, indices, updates, 0),
  },
  {
    name: 'ScatterRows',
    inputs: [given([0, 2, 0], 'int64'), float(3, 2)],
    build: (indices, updates) => g.scatterAddRows(indices, updates, 4),
  },
  {
    name: 'ScatterRows with two axes of indices',
    inputs: [given(repeated, 'int64'), float(2, 3, 2)],
    build: (indices, updates) => g.scatterAddRows(indices, updates, 3),
  },
  {
    name: 'Gather of rows with a padding row that none of the indices names',
    inputs: [float(4, 2), given(repeated, 'int64')],
    build: (x, indices) => g.embeddingLookup(x, indices, 3),
  },
  {
    name: 'Gather of rows by int32 and negative indices',
    inputs: [float(3, 2), given([0, -1, 2], 'int32')],
    build: (x, indices) => g.gather(x, indices),
  },
]
