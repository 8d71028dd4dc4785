/** @file What Gemma's layers are made of: a normalisation around 1, and embeddings that are scaled. */
import { add, mul, rmsNorm, type Tensor } from '../../graph/index.ts'
import { Embedding, RMSNorm, zerosInit } from '../../nn/index.ts'
import { embeddingInit } from '../init.ts'
import { LlamaDecoderLayer, type LlamaFamilyConfig } from '../llama/layer.ts'

/** Root-mean-square normalisation whose factor is `1 + weight`. */
export class GemmaRMSNorm extends RMSNorm {
  constructor(width: number, options: { eps?: number } = {}) {
    super(width, options)
    this.weight.init = zerosInit
  }

  override forward(x: Tensor): Tensor {
    return rmsNorm(x, add(this.weight.trace(x.graph), 1), this.eps)
  }
}

/** A table of tokens whose rows are multiplied by the root of their width. */
export class GemmaEmbedding extends Embedding {
  readonly scale: number

  constructor({ vocab_size, hidden_size, initializer_range, pad_token_id }: LlamaFamilyConfig) {
    const init = embeddingInit(initializer_range, pad_token_id)
    super(vocab_size, hidden_size, { init, paddingIndex: pad_token_id })
    this.scale = Math.sqrt(hidden_size)
  }

  override forward(ids: Tensor): Tensor {
    return mul(super.forward(ids), this.scale)
  }
}

/** A layer of Gemma. */
export class GemmaDecoderLayer<C extends LlamaFamilyConfig> extends LlamaDecoderLayer<C> {
  protected override createNorm(config: C): RMSNorm {
    return new GemmaRMSNorm(config.hidden_size, { eps: config.rms_norm_eps })
  }
}
