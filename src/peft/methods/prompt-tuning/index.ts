/** @file Prompt tuning: registration. */
import { registerPeftMethod } from '../../method.ts'
import {
  completed,
  completeFromModel,
  enterWithPrompt,
  PLAIN_FILES,
  promptOf,
  requireTokenWidth,
  sharedTokens,
} from '../../prompt-learning/index.ts'
import { PromptTuningConfig } from './config.ts'
import { createPromptEmbedding } from './prompt-embedding.ts'

registerPeftMethod<PromptTuningConfig>({
  ...PLAIN_FILES,
  peftType: 'PROMPT_TUNING',
  about: {
    title: 'Prompt tuning',
    family: 'additive',
    formula: 'x = [P; E(tokens)] with trained P',
    paper: 'arXiv 2104.08691',
    parameters: 'virtual tokens × hidden width, twice that for an encoder with a decoder',
    count: config => {
      const { numVirtualTokens, numTransformerSubmodules, tokenDim } = completed(config)
      return numVirtualTokens * numTransformerSubmodules * tokenDim
    },
    example: options => new PromptTuningConfig({ numVirtualTokens: 4, ...options }),
    recommended: { learningRate: 3e-2, options: { numVirtualTokens: 20, promptTuningInit: 'SAMPLE_VOCAB' } },
    oracle: 'adapters/prompt-tuning',
  },
  can: {
    merge: false,
    mixedBatch: false,
    weightedSum: false,
    convertToLora: false,
    noOpAtInit: false,
    several: true,
  },
  layerKinds: [],
  configFromJson: PromptTuningConfig.fromJson,
  complete: completeFromModel,
  validate: (config, _, model) => requireTokenWidth(config, model),
  shared: context => sharedTokens(createPromptEmbedding(context), context),
  enter: (inputs, context) => enterWithPrompt(inputs, promptOf(context), context.model),
  front: ({ numVirtualTokens }, { task }) => ({ positions: numVirtualTokens!, predicts: task === 'CAUSAL_LM' }),
  prelude: context => (context.model.config?.is_encoder_decoder ? {} : { embeddings: promptOf(context) }),
})

export { PromptTuningConfig, type PromptTuningConfigOptions, PromptTuningInit } from './config.ts'
