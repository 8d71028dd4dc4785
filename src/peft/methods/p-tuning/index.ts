/** @file P-tuning: registration. */
import { registerPeftMethod } from '../../method.ts'
import {
  completeFromModel,
  enterWithPrompt,
  LAYERED_FILES,
  promptOf,
  requireTokenWidth,
  sharedTokens,
} from '../../prompt-learning/index.ts'
import { PromptEncoderConfig } from './config.ts'
import { encoderSize, PromptEncoder } from './prompt-encoder.ts'

registerPeftMethod<PromptEncoderConfig>({
  ...LAYERED_FILES,
  peftType: 'P_TUNING',
  about: {
    title: 'P-tuning',
    family: 'additive',
    formula: 'x = [P; E(tokens)] with P = MLP(T) or MLP(BiLSTM(T)), T and the layers trained',
    paper: 'arXiv 2103.10385',
    parameters: 'm d + d h + h + h² + h + h d + d for m virtual tokens of width d and an MLP of width h',
    count: encoderSize,
    example: options => new PromptEncoderConfig({ numVirtualTokens: 4, encoderHiddenSize: 16, ...options }),
    recommended: { learningRate: 3e-3, options: { numVirtualTokens: 20 } },
    oracle: 'adapters/p-tuning-mlp',
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
  configFromJson: PromptEncoderConfig.fromJson,
  complete: (config, model) => {
    completeFromModel(config, model)
    config.encoderHiddenSize ??= config.tokenDim
  },
  validate: (config, _, model) => requireTokenWidth(config, model),
  shared: context => sharedTokens(new PromptEncoder(context.config), context),
  enter: (inputs, context) => enterWithPrompt(inputs, promptOf(context), context.model),
  front: ({ numVirtualTokens }, { task }) => ({ positions: numVirtualTokens!, predicts: task === 'CAUSAL_LM' }),
  prelude: context => (context.model.config?.is_encoder_decoder ? {} : { embeddings: promptOf(context) }),
})

export {
  PromptEncoderConfig,
  type PromptEncoderConfigOptions,
  PromptEncoderReparameterizationType,
} from './config.ts'
