/** @file Mixtral (arXiv 2401.04088): Mistral with experts for feed-forward networks. */
import type { MixtralConfig } from '../config.ts'
import { expertPart, expertParts, refuseRouterLoss, SparseMoeBlock } from '../decoder/experts.ts'
import { LlamaForCausalLM, LlamaForSequenceClassification, LlamaModel } from '../llama/index.ts'
import { type FeedForward, LlamaDecoderLayer } from '../llama/layer.ts'
import type { TensorPart } from '../pretrained-model.ts'
import type { ModelClasses } from '../registry.ts'
import { renaming } from '../renaming.ts'

const NAMES = renaming([['layers.#.mlp', 'layers.#.block_sparse_moe']])
const PARTS = { gate: 'w1', up: 'w3', down: 'w2' }

/** A layer of Mixtral. */
class MixtralDecoderLayer extends LlamaDecoderLayer<MixtralConfig> {
  protected override createMLP(config: MixtralConfig): FeedForward {
    return new SparseMoeBlock({
      hidden_size: config.hidden_size,
      inner: config.intermediate_size,
      experts: config.num_local_experts,
      chosen: config.num_experts_per_tok,
      normalize: true,
      hidden_act: config.hidden_act,
      initializer_range: config.initializer_range,
    })
  }
}

/** The bare decoder. */
export class MixtralModel extends LlamaModel<MixtralConfig> {
  static override readonly modelType: string = 'mixtral'

  constructor(config: MixtralConfig) {
    super(config)
    refuseRouterLoss(config)
    if (config.router_jitter_noise > 0) {
      throw new Error(
        `${config.label}: "router_jitter_noise" is ${config.router_jitter_noise}; noise on the router is not drawn, expected 0`,
      )
    }
  }

  protected override createLayer(config: MixtralConfig): MixtralDecoderLayer {
    const window = config.sliding_window ?? undefined
    return new MixtralDecoderLayer(config, { inputBias: false, outputBias: false, mlpBias: false, window })
  }

  override partOf(name: string): TensorPart | undefined {
    return expertPart(name, PARTS)
  }

  override partsOf(name: string, [experts]: readonly number[]): readonly string[] | undefined {
    return expertParts(name, experts, PARTS)
  }

  override currentName(name: string): string {
    return NAMES.toCurrent(name)
  }

  override checkpointName(name: string): string {
    return NAMES.toCheckpoint(name)
  }
}

/** Mixtral predicting the next token. */
export class MixtralForCausalLM extends LlamaForCausalLM<MixtralConfig> {
  static override readonly modelType: string = 'mixtral'

  protected override createModel(config: MixtralConfig): MixtralModel {
    return new MixtralModel(config)
  }
}

/** Mixtral with a classifier over each sequence's last token. */
export class MixtralForSequenceClassification extends LlamaForSequenceClassification<MixtralConfig> {
  static override readonly modelType: string = 'mixtral'

  protected override createModel(config: MixtralConfig): MixtralModel {
    return new MixtralModel(config)
  }
}

/** Mixtral's models by task. */
export const MIXTRAL_MODELS: ModelClasses = {
  FEATURE_EXTRACTION: MixtralModel,
  SEQ_CLS: MixtralForSequenceClassification,
  CAUSAL_LM: MixtralForCausalLM,
}
