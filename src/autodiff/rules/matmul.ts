/** @file Gradients of matrix products, and the fused one of a vocabulary projection under cross-entropy. */
import { div, gather, matmul, mul, neg, reshape, rotary, sub, type Tensor, unsqueeze } from '../../graph/index.ts'
import { exponentials, maskLabels } from '../../graph/passes/expand-composites.ts'
import { defineGradient, sumToShape } from '../rule.ts'

defineGradient('MatMul', ({ node, grad, inputs: [a, b], needs, give }) => {
  const { transA, transB, alpha } = node.attributes as { transA: boolean; transB: boolean; alpha: number }
  if (needs(0)) {
    const gradient = transA
      ? matmul(b, grad, { transA: transB, transB: true, alpha })
      : matmul(grad, b, { transB: !transB, alpha })
    give(0, sumToShape(gradient, a.shape))
  }
  if (needs(1)) {
    if (b.rank === 2 && a.rank > 2 && !transA) {
      // One matrix for all rows: a single product instead of one a batch entry and their sum.
      const [rows, upstream] = [rowsOf(a), rowsOf(grad)]
      give(
        1,
        transB ? matmul(upstream, rows, { transA: true, alpha }) : matmul(rows, upstream, { transA: true, alpha }),
      )
    } else {
      const gradient = transB
        ? matmul(grad, a, { transA: true, transB: transA, alpha })
        : matmul(a, grad, { transA: !transA, alpha })
      give(1, sumToShape(gradient, b.shape))
    }
  }
})

/** x as a matrix: all axes but the last folded into rows. */
function rowsOf(x: Tensor): Tensor {
  return reshape(x, [-1, x.shape.at(-1)!])
}

defineGradient('Linear', ({ node, grad, inputs: [x, weight, bias], needs, give }) => {
  const transposed = node.attributes.transposed as boolean
  const lossNode = throughReshapes(grad).node
  const onlyX = needs(0) && !needs(1) && !bias
  if (lossNode.op === 'CrossEntropyGrad' && onlyX && !transposed && lossNode.inputs[0].shape[1] === weight.shape[0]) {
    give(0, vocabularyGradient(lossNode.inputs, lossNode.attributes.ignoreIndex as number, x, weight))
    return
  }
  if (needs(0)) {
    const upstream = x.rank === 1 ? rowsOf(grad) : grad
    give(0, reshape(matmul(upstream, weight, { transB: transposed }), x.shape))
  }
  if (needs(1)) {
    const [rows, upstream] = [rowsOf(x), rowsOf(grad)]
    give(1, transposed ? matmul(rows, upstream, { transA: true }) : matmul(upstream, rows, { transA: true }))
  }
  if (bias && needs(2)) give(2, sumToShape(grad, bias.shape))
})

function throughReshapes(tensor: Tensor): Tensor {
  return tensor.node.op === 'Reshape' ? throughReshapes(tensor.node.inputs[0]) : tensor
}

/**
 * The gradient of `CrossEntropy(Linear(x, E))` with respect to x when E is frozen: `(softmax(z) E - E[label]) g`.
 * The one-hot matrix of the labels and the scaled probabilities never exist.
 */
function vocabularyGradient(
  [logits, labels, upstream]: readonly Tensor[],
  ignoreIndex: number,
  x: Tensor,
  weight: Tensor,
): Tensor {
  const { safe, valid } = maskLabels(labels, ignoreIndex)
  const { powers, total } = exponentials(logits)
  const expected = div(matmul(powers(), weight), total())
  const gradient = mul(sub(expected, gather(weight, safe)), unsqueeze(mul(upstream, valid), [1]))
  return reshape(gradient, x.shape)
}

// The transpose of a rotation turns by the opposite angle.
defineGradient('Rotary', ({ grad, inputs: [, cosine, sine], needs, give }) => {
  if (needs(1) || needs(2)) throw new Error('Rotary: the tables of a rotation have no gradient')
  give(0, rotary(grad, cosine, neg(sine)))
})

defineGradient('WithGradient', ({ node, grad, inputs, needs, give }) => {
  const count = node.attributes.count as number
  for (let i = 1; i <= count; i++) if (needs(i)) give(i, mul(grad, inputs[i + count]))
})

defineGradient('CrossEntropy', ({ node, grad, inputs: [logits, labels], give }) => {
  const { ignoreIndex } = node.attributes
  give(0, grad.graph.add('CrossEntropyGrad', [logits, labels, grad], { ignoreIndex })[0])
})
