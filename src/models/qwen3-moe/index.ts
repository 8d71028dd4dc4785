/** @file Qwen3-MoE (arXiv 2505.09388): Qwen3 with experts for feed-forward networks. */
import type { Qwen3MoeConfig } from '../config.ts'
import { expertPart, expertParts, refuseRouterLoss, SparseMoeBlock } from '../decoder/experts.ts'
import { LlamaForCausalLM, LlamaForSequenceClassification, LlamaModel } from '../llama/index.ts'
import { type FeedForward, type LlamaLayerOptions, LlamaMLP } from '../llama/layer.ts'
import type { TensorPart } from '../pretrained-model.ts'
import { Qwen3DecoderLayer } from '../qwen3/model.ts'
import type { ModelClasses } from '../registry.ts'

const PARTS = { gate: 'gate_proj', up: 'up_proj', down: 'down_proj' }

/** A layer of Qwen3-MoE that has experts. */
class Qwen3MoeDecoderLayer extends Qwen3DecoderLayer<Qwen3MoeConfig> {
  protected override createMLP(config: Qwen3MoeConfig): FeedForward {
    return new SparseMoeBlock({
      hidden_size: config.hidden_size,
      inner: config.moe_intermediate_size,
      experts: config.num_local_experts,
      chosen: config.num_experts_per_tok,
      normalize: config.norm_topk_prob,
      hidden_act: config.hidden_act,
      initializer_range: config.initializer_range,
    })
  }
}

/** A layer of Qwen3-MoE without experts. */
class Qwen3MoeDenseLayer extends Qwen3DecoderLayer<Qwen3MoeConfig> {
  protected override createMLP(config: Qwen3MoeConfig, options: LlamaLayerOptions): FeedForward {
    return new LlamaMLP(config, options)
  }
}

/** The bare decoder. */
export class Qwen3MoeModel extends LlamaModel<Qwen3MoeConfig> {
  static override readonly modelType: string = 'qwen3_moe'

  constructor(config: Qwen3MoeConfig) {
    super(config)
    refuseRouterLoss(config)
  }

  protected override createLayer(config: Qwen3MoeConfig, index: number): Qwen3DecoderLayer<Qwen3MoeConfig> {
    const options = this.layerOptions(config)
    const sparse = !config.mlp_only_layers.includes(index) && (index + 1) % config.decoder_sparse_step === 0
    return sparse ? new Qwen3MoeDecoderLayer(config, options) : new Qwen3MoeDenseLayer(config, options)
  }

  protected override layerOptions({ attention_bias: bias, sliding_window }: Qwen3MoeConfig): LlamaLayerOptions {
    return { inputBias: bias, outputBias: bias, mlpBias: false, window: sliding_window ?? undefined }
  }

  override partOf(name: string): TensorPart | undefined {
    return expertPart(name, PARTS)
  }

  override partsOf(name: string, [experts]: readonly number[]): readonly string[] | undefined {
    return expertParts(name, experts, PARTS)
  }
}

/** Qwen3-MoE predicting the next token. */
export class Qwen3MoeForCausalLM extends LlamaForCausalLM<Qwen3MoeConfig> {
  static override readonly modelType: string = 'qwen3_moe'

  protected override createModel(config: Qwen3MoeConfig): Qwen3MoeModel {
    return new Qwen3MoeModel(config)
  }
}

/** Qwen3-MoE with a classifier over each sequence's last token. */
export class Qwen3MoeForSequenceClassification extends LlamaForSequenceClassification<Qwen3MoeConfig> {
  static override readonly modelType: string = 'qwen3_moe'

  protected override createModel(config: Qwen3MoeConfig): Qwen3MoeModel {
    return new Qwen3MoeModel(config)
  }
}

/** Qwen3-MoE's models by task. */
export const QWEN3_MOE_MODELS: ModelClasses = {
  FEATURE_EXTRACTION: Qwen3MoeModel,
  SEQ_CLS: Qwen3MoeForSequenceClassification,
  CAUSAL_LM: Qwen3MoeForCausalLM,
}
