/** @file Prompt tuning as AdapterHub computes it: registration. */
import type { PreTrainedModel } from '../../../models/index.ts'
import { averagedConfig, averageParameters } from '../../adapterhub/average.ts'
import { hiddenSize } from '../../adapterhub/files.ts'
import { ADAPTERHUB } from '../../adapterhub/format.ts'
import { basePrefix, hubPlaces } from '../../adapterhub/places.ts'
import { type ModelFacts, registerPeftMethod } from '../../method.ts'
import { tunerAt } from '../../tuner-layer.ts'
import { AdapterHubPromptConfig } from './config.ts'
import './hub.ts'
import { enterPrompted } from './insert.ts'
import { PromptLayer } from './layer.ts'

/** The models whose embedded sequence can get a prompt: encoders that read it in one go. */
const MODEL_TYPES = ['bert', 'distilbert', 'roberta', 'vit', 'xlm-roberta']

registerPeftMethod<AdapterHubPromptConfig>({
  peftType: 'ADAPTERHUB_PROMPT',
  about: {
    title: 'AdapterHub prompt tuning',
    family: 'additive',
    formula: 'h₀ = [P; embeddings(tokens)] with trained P; tokens keep their positions',
    paper: 'arXiv 2104.08691',
    parameters: 'prompt length × hidden width',
    count: ({ promptLength }, _, { base }) => promptLength * hiddenSize(base as PreTrainedModel)!,
    example: options => new AdapterHubPromptConfig({ promptLength: 4, ...options }),
    recommended: { learningRate: 3e-2 },
    oracle: 'adapterhub/prompt_tuning-bert',
  },
  can: {
    merge: false,
    mixedBatch: false,
    weightedSum: true,
    convertToLora: false,
    noOpAtInit: false,
    several: true,
  },
  layerKinds: [],
  configFromJson: AdapterHubPromptConfig.fromJson,
  format: () => ADAPTERHUB,
  chooseModules: (_, model) => [embeddingsPlace(model)],
  wrap: context => {
    const { module, state } = context
    const layer = tunerAt(module, PromptLayer) ?? new PromptLayer(module, state)
    layer.addAdapter(context)
    return layer
  },
  enter: (inputs, { config, model }) => enterPrompted(inputs, config, model),
  combinedConfig: context => averagedConfig(context),
  combine: context => averageParameters(context),
})

/** The module that gives the embedded sequence. Throws for models that cannot get a prompt behind it. */
function embeddingsPlace(model: ModelFacts): string {
  const { modelType } = model
  if (MODEL_TYPES.includes(modelType)) return `${basePrefix(model)}${hubPlaces(modelType)!.embeddings}`
  throw new Error(
    `ADAPTERHUB_PROMPT puts its rows behind the embeddings of an encoder (${MODEL_TYPES.join(', ')}), this model is a "${modelType}"; use PROMPT_TUNING`,
  )
}

export { AdapterHubPromptConfig, type AdapterHubPromptConfigOptions } from './config.ts'
export { PromptLayer } from './layer.ts'
