/** @file BERT (arXiv 1810.04805): the encoder with its pooler. Kindred architectures override what differs. */
import { slice, squeeze, type Tensor, tanh } from '../../graph/index.ts'
import { type Linear, Module, ModuleList, paddingMask } from '../../nn/index.ts'
import type { BertConfig, BertFamilyConfig } from '../config.ts'
import { EncoderPreTrainedModel } from '../encoder/index.ts'
import { createLinear } from '../init.ts'
import type { ModelInputs, ModelOutput, ModelTask } from '../inputs.ts'
import { BertEmbeddings } from './embeddings.ts'
import { BertLayer, type BertLayerConfig } from './layer.ts'

/** BERT's layers in a row. */
export class BertEncoder extends Module {
  layer: ModuleList<BertLayer>

  constructor(config: BertLayerConfig & Pick<BertFamilyConfig, 'num_hidden_layers'>) {
    super()
    this.layer = new ModuleList(Array.from({ length: config.num_hidden_layers }, () => new BertLayer(config)))
  }

  /** @returns the input, then each layer's output */
  forward(hidden: Tensor, { attention_mask, cache }: ModelInputs): Tensor[] {
    const mask = attention_mask && paddingMask(attention_mask)
    const states = [hidden]
    for (const layer of this.layer)
      states.push(layer.forward(states.at(-1)!, { layer: states.length - 1, mask, cache }))
    return states
  }
}

/** A dense layer over the first token of each sequence. */
export class BertPooler extends Module {
  dense: Linear

  constructor(config: Pick<BertFamilyConfig, 'hidden_size' | 'initializer_range'>) {
    super()
    this.dense = createLinear(config.hidden_size, config.hidden_size, config.initializer_range)
  }

  /** @param hidden `[batch, sequence, hidden]` @returns `[batch, hidden]` */
  forward(hidden: Tensor): Tensor {
    return tanh(this.dense.forward(firstToken(hidden)))
  }
}

/**
 * The hidden state of each sequence's first token, `[batch, hidden]`. It is a slice, which the optimiser moves down into
 * the last layer: its other tokens are not computed then.
 */
export function firstToken(hidden: Tensor): Tensor {
  return squeeze(slice(hidden, 1, 0, 1), [1])
}

/** The bare encoder, with a pooler unless a head needs none. */
export class BertModel<C extends BertFamilyConfig = BertConfig> extends EncoderPreTrainedModel<C> {
  static override readonly modelType: string = 'bert'

  embeddings: BertEmbeddings
  encoder: BertEncoder
  pooler: BertPooler | undefined

  constructor(config: C, options: { pooler?: boolean } = {}) {
    super(config)
    this.embeddings = this.createEmbeddings(config)
    this.encoder = new BertEncoder(config)
    this.pooler = options.pooler === false ? undefined : new BertPooler(config)
  }

  /** Builds the first layer. */
  protected createEmbeddings(config: C): BertEmbeddings {
    return new BertEmbeddings(config)
  }

  get task(): ModelTask {
    return 'FEATURE_EXTRACTION'
  }

  getInputEmbeddings(): Module {
    return this.embeddings.word_embeddings
  }

  /** What the first layer reads, `[batch, sequence, hidden]`. */
  protected embed(inputs: ModelInputs): Tensor {
    return this.embeddings.forward(inputs, inputs.cache?.length ?? 0)
  }

  forward(inputs: ModelInputs): ModelOutput {
    const states = this.encoder.forward(this.embed(inputs), inputs)
    const last = states.at(-1)!
    return { last_hidden_state: last, pooler_output: this.pooler?.forward(last), hidden_states: states }
  }
}
