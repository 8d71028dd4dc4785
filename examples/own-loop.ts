/** @file A model and a training loop of one's own: `npx tsx examples/own-loop.ts`. */
import {
  AdamW,
  crossEntropy,
  Linear,
  Module,
  relu,
  type Tensor,
  tensorData,
  trainableParameters,
  valueAndGrad,
} from 'peft-ts'

class Net extends Module {
  hidden = new Linear(2, 32)
  out = new Linear(32, 2)

  override forward(x: Tensor): Tensor {
    return this.out.forward(relu(this.hidden.forward(x)))
  }
}

// Exclusive or: no straight line divides it.
const batch = {
  x: tensorData('float32', [
    [0, 0],
    [0, 1],
    [1, 0],
    [1, 1],
  ]),
  y: tensorData('int64', [0, 1, 1, 0]),
}

const net = new Net()
await using step = await valueAndGrad(net, (net, { x, y }) => crossEntropy(net.forward(x), y), {
  inputs: { x: { dtype: 'float32', shape: ['batch', 2] }, y: { dtype: 'int64', shape: ['batch'] } },
})
const optimizer = new AdamW(trainableParameters(net), { lr: 0.02 })
for (let i = 1; i <= 200; i++) {
  const { value, grads } = await step(batch)
  optimizer.step(grads)
  if (i % 50 === 0) console.log(`step ${i}  loss ${value.toFixed(4)}`)
}
