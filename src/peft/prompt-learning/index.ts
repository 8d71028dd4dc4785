/** @file What the methods share that put virtual tokens in front of a text. */
export {
  type CompleteOptions,
  completed,
  completeFromModel,
  PROMPT_LEARNING_DEFAULTS,
  PromptLearningConfig,
  type PromptLearningConfigOptions,
  requireCount,
  requireTokenWidth,
  tokenEmbedding,
} from './config.ts'
export { enterWithPrompt, hasSegments, inFront } from './enter.ts'
export {
  LAYERED_FILES,
  PLAIN_FILES,
  PROMPT_ENCODER_FILE,
  promptOf,
  sharedTokens,
  virtualTokensOf,
} from './files.ts'
export { enterWithPrefix, type PrefixShape, prefixKeyValues, prefixShape } from './prefix.ts'
export { VirtualTokens } from './virtual-tokens.ts'
