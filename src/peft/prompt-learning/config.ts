/** @file The options that all methods of virtual tokens have, and what they take over from the model. */
import type { ModelConfig, PreTrainedModel } from '../../models/index.ts'
import { Embedding } from '../../nn/index.ts'
import { unwrapped } from '../adapted-tree.ts'
import { type ConfigDefaults, PeftConfig, type PeftConfigOptions } from '../config.ts'
import { type ModelFacts, pretrained } from '../method.ts'

/** The options of {@link PromptLearningConfig}. */
export interface PromptLearningConfigOptions extends PeftConfigOptions {
  /** How many virtual tokens stand in front of a text. */
  numVirtualTokens?: number | null
  /** The width of a virtual token; taken from the model. */
  tokenDim?: number | null
  /** 2 for a model with an encoder and a decoder, otherwise 1; taken from the model. */
  numTransformerSubmodules?: number | null
  /** How many heads the model's attention has; taken from the model. */
  numAttentionHeads?: number | null
  /** How many layers the model has; taken from the model. */
  numLayers?: number | null
  /** Modules that are trained as a whole and saved with the adapter: a head. */
  modulesToSave?: readonly string[] | null
}

/** The options of PEFT's PromptLearningConfig with their defaults. */
export const PROMPT_LEARNING_DEFAULTS: ConfigDefaults = {
  modulesToSave: null,
  numAttentionHeads: null,
  numLayers: null,
  numTransformerSubmodules: null,
  numVirtualTokens: null,
  tokenDim: null,
}

/** The configuration of a method that puts virtual tokens, or their keys and values, in front of a text. */
export abstract class PromptLearningConfig extends PeftConfig {
  declare numVirtualTokens: number | null
  declare tokenDim: number | null
  declare numTransformerSubmodules: number | null
  declare numAttentionHeads: number | null
  declare numLayers: number | null
  declare modulesToSave: readonly string[] | null

  protected override assign(options: object): void {
    super.assign(options)
    const counts = [
      'numVirtualTokens',
      'tokenDim',
      'numTransformerSubmodules',
      'numAttentionHeads',
      'numLayers',
    ] as const
    for (const name of counts) requireCount(this, name, this[name])
  }
}

/** Refuses what is neither null nor a whole number above 0. */
export function requireCount(config: PeftConfig, name: string, value: unknown): void {
  if (value === null || (Number.isSafeInteger(value) && (value as number) >= 1)) return
  throw new Error(`${config.constructor.name}: ${name} must be a whole number above 0, got ${JSON.stringify(value)}`)
}

/** The options of a configuration that was completed. */
export interface CompleteOptions {
  numVirtualTokens: number
  tokenDim: number
  numTransformerSubmodules: number
  numAttentionHeads: number
  numLayers: number
}

/** The options that {@link completeFromModel} filled in. */
export function completed<C extends PromptLearningConfig>(config: C): C & CompleteOptions {
  return config as C & CompleteOptions
}

/**
 * Fills in what the user left open, as PEFT does.
 *
 * @param own what the method knows better than the model's configuration
 * @throws where the number of virtual tokens is open, or the model has no token embeddings
 */
export function completeFromModel(
  config: PromptLearningConfig,
  model: ModelFacts,
  own: Partial<Pick<CompleteOptions, 'tokenDim' | 'numAttentionHeads' | 'numLayers'>> = {},
): void {
  const { config: base } = pretrained(model, config.peftType)
  tokenEmbedding(model.base as PreTrainedModel, config.peftType)
  if (config.numVirtualTokens === null) {
    throw new Error(
      `${config.constructor.name}: numVirtualTokens is not given; say how many virtual tokens stand in front of a text, for example 20`,
    )
  }
  const { hidden_size, num_attention_heads, num_hidden_layers } = base as ModelConfig & Record<string, number>
  const isSeq2Seq = (config.taskType ?? model.task) === 'SEQ_2_SEQ_LM'
  config.numTransformerSubmodules ??= isSeq2Seq ? 2 : 1
  config.tokenDim ??= own.tokenDim ?? hidden_size
  config.numAttentionHeads ??= own.numAttentionHeads ?? num_attention_heads
  config.numLayers ??= own.numLayers ?? num_hidden_layers
}

/** The layer of a model that embeds tokens. Throws for one that takes something else. */
export function tokenEmbedding(model: PreTrainedModel, peftType: string): Embedding {
  const embedding = unwrapped(model.getInputEmbeddings())
  if (embedding instanceof Embedding && !model.inputSpecs().pixel_values) return embedding
  throw new Error(
    `${peftType} puts virtual tokens in front of a text; ${model.constructor.name} does not take tokens. Use a method that works on layers, such as LORA.`,
  )
}

/** Refuses a configuration whose tokens are not as wide as those of the model. */
export function requireTokenWidth(config: PromptLearningConfig, model: ModelFacts): void {
  const { embeddingDim } = tokenEmbedding(model.base as PreTrainedModel, config.peftType)
  if (config.tokenDim === embeddingDim) return
  throw new Error(
    `${config.constructor.name}: tokenDim is ${config.tokenDim}, the tokens of ${model.modelType} are ${embeddingDim} wide; leave it out`,
  )
}
