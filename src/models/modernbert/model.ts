/** @file ModernBERT (arXiv 2412.13663): an encoder in which layers that see all tokens alternate with local ones. */
import {
  abs,
  addDims,
  type Dim,
  type Graph,
  lessOrEqual,
  minimum,
  range,
  slice,
  sub,
  type Tensor,
  unsqueeze,
} from '../../graph/index.ts'
import {
  additiveMask,
  Dropout,
  Embedding,
  type LayerNorm,
  Module,
  ModuleList,
  paddingMask,
  truncatedNormalInit,
} from '../../nn/index.ts'
import type { ModernBertConfig, RopeParameters } from '../config.ts'
import { EncoderPreTrainedModel } from '../encoder/index.ts'
import { embedTokens, type ModelInputs, type ModelOutput, type ModelTask, positionsOf } from '../inputs.ts'
import { rotaryTable } from '../rope.ts'
import { createNorm, ModernBertEncoderLayer } from './layer.ts'

/** Hides the keys that lie more than `reach` positions away; additive, `[1, 1, queries, past + queries]`. */
function nearMask(graph: Graph, queries: Dim, past: Dim, reach: number): Tensor {
  const total = addDims(past, queries)
  const positions = range(graph, total)
  const distance = abs(sub(unsqueeze(slice(positions, 0, past, total), [1]), unsqueeze(positions, [0])))
  return additiveMask(unsqueeze(lessOrEqual(distance, reach), [0, 1]))
}

/** The first layer: tokens, normalised. */
export class ModernBertEmbeddings extends Module {
  tok_embeddings: Embedding
  norm: LayerNorm
  drop: Dropout

  constructor(config: ModernBertConfig) {
    super()
    this.tok_embeddings = new Embedding(config.vocab_size, config.hidden_size, {
      init: truncatedNormalInit(config.initializer_range, config.initializer_cutoff_factor),
      paddingIndex: config.pad_token_id,
    })
    this.norm = createNorm(config)
    this.drop = new Dropout(config.embedding_dropout)
  }

  /** @returns `[batch, sequence, hidden]` */
  forward(inputs: ModelInputs): Tensor {
    return this.drop.forward(this.norm.forward(embedTokens(this.tok_embeddings, inputs)))
  }
}

/** The bare encoder. */
export class ModernBertModel extends EncoderPreTrainedModel<ModernBertConfig> {
  static override readonly modelType: string = 'modernbert'

  embeddings: ModernBertEmbeddings
  layers: ModuleList<ModernBertEncoderLayer>
  final_norm: LayerNorm

  constructor(config: ModernBertConfig) {
    super(config)
    const layers = Array.from({ length: config.num_hidden_layers }, (_, i) => new ModernBertEncoderLayer(config, i))
    this.embeddings = new ModernBertEmbeddings(config)
    this.layers = new ModuleList(layers)
    this.final_norm = createNorm(config)
  }

  override get baseModelPrefix(): string {
    return 'model'
  }

  get task(): ModelTask {
    return 'FEATURE_EXTRACTION'
  }

  getInputEmbeddings(): Module {
    return this.embeddings.tok_embeddings
  }

  forward(inputs: ModelInputs): ModelOutput {
    const { cache } = inputs
    const states = [this.embeddings.forward(inputs)]
    const kinds = this.layerKinds(inputs, states[0])
    for (const layer of this.layers) {
      const index = states.length - 1
      const { mask, rotary } = kinds[this.config.layer_types[index]]
      states.push(layer.forward(states[index], { layer: index, mask, rotary, cache }))
    }
    const last = this.final_norm.forward(states.at(-1)!)
    return { last_hidden_state: last, hidden_states: [...states.slice(0, -1), last] }
  }

  /** The masks and the angles of both kinds of layers. */
  private layerKinds(inputs: ModelInputs, { graph, shape }: Tensor) {
    const { attention_mask, cache } = inputs
    const { config } = this
    const sequence = shape[1]
    const positions = positionsOf(inputs, sequence)
    const { max_position_embeddings: maxPositions } = config
    const width = config.hidden_size / config.num_attention_heads
    const table = (parameters: RopeParameters) => rotaryTable(positions, { parameters, width, maxPositions })
    const full = attention_mask && paddingMask(attention_mask)
    const near = nearMask(graph, sequence, cache?.length ?? 0, Math.floor(config.local_attention / 2))
    return {
      full_attention: { mask: full, rotary: table(config.rope_parameters) },
      sliding_attention: { mask: full ? minimum(full, near) : near, rotary: table(config.sliding_rope_parameters) },
    }
  }
}
