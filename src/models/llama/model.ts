/** @file Llama (arXiv 2302.13971): the decoder without a head. Kindred architectures override what differs. */
import {
  addDims,
  type Dim,
  type Graph,
  greater,
  minimum,
  range,
  slice,
  sub,
  type Tensor,
  unsqueeze,
} from '../../graph/index.ts'
import { additiveMask, causalMask, Embedding, type Module, ModuleList, RMSNorm } from '../../nn/index.ts'
import type { LlamaConfig } from '../config.ts'
import { embeddingInit } from '../init.ts'
import {
  defaultPositions,
  embedTokens,
  graphOfInputs,
  type ModelInputs,
  type ModelOutput,
  type ModelTask,
} from '../inputs.ts'
import { PreTrainedModel } from '../pretrained-model.ts'
import { rotaryTable } from '../rope.ts'
import { LlamaDecoderLayer, type LlamaFamilyConfig, type LlamaLayerOptions } from './layer.ts'

const IGNORED = [/(^|\.)rotary_emb\.inv_freq$/]

/** What the models of Llama's family have in common. */
export abstract class LlamaPreTrainedModel<C extends LlamaFamilyConfig = LlamaConfig> extends PreTrainedModel<C> {
  static override readonly modelType: string = 'llama'

  get baseModelPrefix(): string {
    return 'model'
  }

  get ignoredTensors(): readonly RegExp[] {
    return IGNORED
  }
}

/** The bare decoder. */
export class LlamaModel<C extends LlamaFamilyConfig = LlamaConfig> extends LlamaPreTrainedModel<C> {
  embed_tokens: Embedding
  layers: ModuleList<LlamaDecoderLayer>
  norm: RMSNorm

  constructor(config: C) {
    super(config)
    this.embed_tokens = new Embedding(config.vocab_size, config.hidden_size, {
      init: embeddingInit(config.initializer_range, config.pad_token_id),
    })
    const layers = Array.from({ length: config.num_hidden_layers }, (_, i) => {
      return new LlamaDecoderLayer(config, this.layerOptions(config, i))
    })
    this.layers = new ModuleList(layers)
    this.norm = new RMSNorm(config.hidden_size, { eps: config.rms_norm_eps })
  }

  /** What is special about layer `index`. */
  protected layerOptions(config: C, _index: number): LlamaLayerOptions {
    const { attention_bias, mlp_bias } = config as unknown as LlamaConfig
    return { inputBias: attention_bias, outputBias: attention_bias, mlpBias: mlp_bias }
  }

  get task(): ModelTask {
    return 'FEATURE_EXTRACTION'
  }

  getInputEmbeddings(): Module {
    return this.embed_tokens
  }

  forward(inputs: ModelInputs): ModelOutput {
    const { config } = this
    const { cache } = inputs
    const graph = graphOfInputs(inputs)
    const hidden = embedTokens(this.embed_tokens, inputs)
    const sequence = hidden.shape[1]
    const past = cache?.length ?? 0
    const rotary = rotaryTable(inputs.position_ids ?? defaultPositions(graph, past, sequence), {
      parameters: config.rope_parameters,
      width: config.head_dim,
      maxPositions: config.max_position_embeddings,
    })
    const full = causalMask(graph, sequence, past, inputs.attention_mask)
    const windows = new Map<number | undefined, Tensor>([[undefined, full]])
    const states = [hidden]
    for (const layer of this.layers) {
      const { window } = layer
      if (window !== undefined && !windows.has(window)) {
        windows.set(window, minimum(full, windowMask(graph, sequence, past, window)))
      }
      states.push(layer.forward(states.at(-1)!, { layer: states.length - 1, mask: windows.get(window), rotary, cache }))
    }
    const last = this.norm.forward(states.at(-1)!)
    return { last_hidden_state: last, hidden_states: [...states.slice(0, -1), last] }
  }
}

/** Hides the keys that lie `window` positions back or more; additive, `[1, 1, queries, past + queries]`. */
function windowMask(graph: Graph, queries: Dim, past: Dim, window: number): Tensor {
  const total = addDims(past, queries)
  const positions = range(graph, total)
  const oldest = sub(unsqueeze(slice(positions, 0, past, total), [1]), window)
  return additiveMask(unsqueeze(greater(unsqueeze(positions, [0]), oldest), [0, 1]))
}
