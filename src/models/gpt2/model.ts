/** @file GPT-2: the decoder without a head. */
import { add } from '../../graph/index.ts'
import { Dropout, Embedding, LayerNorm, type Module, ModuleList } from '../../nn/index.ts'
import type { Gpt2Config } from '../config.ts'
import { decoderMask } from '../decoder/index.ts'
import { embeddingInit } from '../init.ts'
import {
  checkPositions,
  defaultPositions,
  embedTokens,
  graphOfInputs,
  type InputSpec,
  type ModelInputs,
  type ModelOutput,
  type ModelTask,
} from '../inputs.ts'
import { PreTrainedModel } from '../pretrained-model.ts'
import { GPT2Block } from './block.ts'

/** The causal masks that old checkpoints hold as buffers. */
const IGNORED = [/(^|\.)attn\.(masked_)?bias$/]

/** What GPT-2's models have in common. */
export abstract class GPT2PreTrainedModel extends PreTrainedModel<Gpt2Config> {
  static override readonly modelType: string = 'gpt2'

  constructor(config: Gpt2Config) {
    super(config)
    if (config.add_cross_attention) {
      throw new Error(`${config.label}: "add_cross_attention" is true; GPT-2 is computed without, expected false`)
    }
  }

  get baseModelPrefix(): string {
    return 'transformer'
  }

  get ignoredTensors(): readonly RegExp[] {
    return IGNORED
  }

  override inputSpecs(): Record<string, InputSpec> {
    return { ...super.inputSpecs(), token_type_ids: { dtype: 'int64', shape: ['batch', 'sequence'], optional: true } }
  }
}

/** The bare decoder. */
export class GPT2Model extends GPT2PreTrainedModel {
  wte: Embedding
  wpe: Embedding
  drop: Dropout
  h: ModuleList<GPT2Block>
  ln_f: LayerNorm

  constructor(config: Gpt2Config) {
    super(config)
    const init = embeddingInit(config.initializer_range)
    this.wte = new Embedding(config.vocab_size, config.n_embd, { init })
    this.wpe = new Embedding(config.n_positions, config.n_embd, { init })
    this.drop = new Dropout(config.embd_pdrop)
    this.h = new ModuleList(Array.from({ length: config.n_layer }, () => new GPT2Block(config)))
    this.ln_f = new LayerNorm(config.n_embd, { eps: config.layer_norm_epsilon })
  }

  get task(): ModelTask {
    return 'FEATURE_EXTRACTION'
  }

  getInputEmbeddings(): Module {
    return this.wte
  }

  forward(inputs: ModelInputs): ModelOutput {
    const { cache, token_type_ids } = inputs
    const graph = graphOfInputs(inputs)
    const tokens = embedTokens(this.wte, inputs)
    const sequence = tokens.shape[1]
    const past = cache?.length ?? 0
    checkPositions(past, sequence, this.config.n_positions)
    const placed = add(tokens, this.wpe.forward(inputs.position_ids ?? defaultPositions(graph, past, sequence)))
    const embedded = token_type_ids ? add(placed, this.wte.forward(token_type_ids)) : placed
    const mask = decoderMask(graph, sequence, inputs)
    const states = [this.drop.forward(embedded)]
    for (const block of this.h) states.push(block.forward(states.at(-1)!, { layer: states.length - 1, mask, cache }))
    const last = this.ln_f.forward(states.at(-1)!)
    return { last_hidden_state: last, hidden_states: [...states.slice(0, -1), last] }
  }
}
