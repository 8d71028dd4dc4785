/** @file The virtual tokens of P-tuning and the layers through which they are learnt. */
import { relu, type Tensor } from '../../../graph/index.ts'
import { Linear, Module, ModuleList } from '../../../nn/index.ts'
import { completed, VirtualTokens } from '../../prompt-learning/index.ts'
import type { PromptEncoderConfig } from './config.ts'
import { BidirectionalLSTM } from './lstm.ts'

/** `max(x, 0)` as a module, so that layers in a row have PyTorch's numbers. */
class ReLU extends Module {
  forward(x: Tensor): Tensor {
    return relu(x)
  }
}

/** Virtual tokens that an MLP, or an LSTM and an MLP, make of a table. */
export class PromptEncoder extends VirtualTokens {
  readonly config: PromptEncoderConfig
  lstm_head: BidirectionalLSTM | undefined
  mlp_head: ModuleList | undefined

  constructor(config: PromptEncoderConfig) {
    const { numVirtualTokens, numTransformerSubmodules, tokenDim, inferenceMode } = completed(config)
    super([numVirtualTokens * numTransformerSubmodules, tokenDim])
    this.config = config
    if (inferenceMode) return
    this.isPlain = false
    this.addLayers()
  }

  protected override addLayers(): void {
    const { tokenDim, encoderReparameterizationType, encoderHiddenSize, encoderNumLayers, encoderDropout } = this.config
    const [width, hidden] = [tokenDim!, encoderHiddenSize!]
    if (encoderReparameterizationType === 'MLP') {
      this.mlp_head = new ModuleList([
        new Linear(width, hidden),
        new ReLU(),
        new Linear(hidden, hidden),
        new ReLU(),
        new Linear(hidden, width),
      ])
      return
    }
    this.lstm_head = new BidirectionalLSTM({
      inputSize: width,
      hiddenSize: hidden,
      numLayers: encoderNumLayers,
      dropout: encoderDropout,
    })
    this.mlp_head = new ModuleList([new Linear(2 * hidden, 2 * hidden), new ReLU(), new Linear(2 * hidden, width)])
  }

  protected override removeLayers(): void {
    this.lstm_head = undefined
    this.mlp_head = undefined
  }

  protected override encode(table: Tensor): Tensor {
    return this.mlp_head!.forward(this.lstm_head ? this.lstm_head.forward(table) : table) as Tensor
  }
}

/** How many values {@link PromptEncoder} trains. */
export function encoderSize(config: PromptEncoderConfig): number {
  const { numVirtualTokens, numTransformerSubmodules, tokenDim: d } = completed(config)
  const { encoderHiddenSize, encoderNumLayers: layers, encoderReparameterizationType } = config
  const h = encoderHiddenSize!
  const table = numVirtualTokens * numTransformerSubmodules * d
  const dense = (inputs: number, outputs: number) => (inputs + 1) * outputs
  if (encoderReparameterizationType === 'MLP') return table + dense(d, h) + dense(h, h) + dense(h, d)
  const lstm = 8 * h * (d + h + 2) + (layers - 1) * 8 * h * (3 * h + 2)
  return table + lstm + dense(2 * h, 2 * h) + dense(2 * h, d)
}
