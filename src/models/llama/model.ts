/** @file Llama (arXiv 2302.13971): the decoder without a head. Kindred architectures override what differs. */
import type { Tensor } from '../../graph/index.ts'
import { Embedding, type Module, ModuleList, RMSNorm } from '../../nn/index.ts'
import type { LlamaConfig } from '../config.ts'
import { type DecoderLayer, DecoderPreTrainedModel, runLayers } from '../decoder/index.ts'
import { embeddingInit } from '../init.ts'
import { embedTokens, type ModelInputs, type ModelOutput, type ModelTask, positionsOf } from '../inputs.ts'
import { type RotaryTable, rotaryTable } from '../rope.ts'
import { LlamaDecoderLayer, type LlamaFamilyConfig, type LlamaLayerOptions } from './layer.ts'

/** The bare decoder. */
export class LlamaModel<C extends LlamaFamilyConfig = LlamaConfig> extends DecoderPreTrainedModel<C> {
  static override readonly modelType: string = 'llama'

  embed_tokens: Embedding
  layers: ModuleList<DecoderLayer>
  norm: RMSNorm

  constructor(config: C) {
    super(config)
    this.embed_tokens = this.createEmbedding(config)
    const layers = Array.from({ length: config.num_hidden_layers }, (_, i) => this.createLayer(config, i))
    this.layers = new ModuleList(layers)
    this.norm = this.createNorm(config)
  }

  /** Builds the table of tokens. */
  protected createEmbedding(config: C): Embedding {
    return new Embedding(config.vocab_size, config.hidden_size, {
      init: embeddingInit(config.initializer_range, config.pad_token_id),
      paddingIndex: config.pad_token_id,
    })
  }

  /** Builds layer `index`. */
  protected createLayer(config: C, index: number): DecoderLayer {
    return new LlamaDecoderLayer(config, this.layerOptions(config, index))
  }

  /** What is special about layer `index`. */
  protected layerOptions(config: C, _index: number): LlamaLayerOptions {
    const { attention_bias, mlp_bias } = config as unknown as LlamaConfig
    return { inputBias: attention_bias, outputBias: attention_bias, mlpBias: mlp_bias }
  }

  /** Builds the last normalisation. */
  protected createNorm(config: C): RMSNorm {
    return new RMSNorm(config.hidden_size, { eps: config.rms_norm_eps })
  }

  /** The angles of `positions` (int64 `[batch or 1, sequence]`) in each layer; undefined where a layer turns nothing. */
  protected rotaryTables(positions: Tensor): (layer: number) => RotaryTable | undefined {
    const { rope_parameters: parameters, head_dim: width, max_position_embeddings: maxPositions } = this.config
    const table = rotaryTable(positions, { parameters, width, maxPositions })
    return () => table
  }

  get task(): ModelTask {
    return 'FEATURE_EXTRACTION'
  }

  getInputEmbeddings(): Module {
    return this.embed_tokens
  }

  forward(inputs: ModelInputs): ModelOutput {
    const hidden = embedTokens(this.embed_tokens, inputs)
    const rotary = this.rotaryTables(positionsOf(inputs, hidden.shape[1]))
    const states = runLayers(this.layers, hidden, inputs, { rotary })
    const last = this.norm.forward(states.at(-1)!)
    return { last_hidden_state: last, hidden_states: [...states.slice(0, -1), last] }
  }
}
