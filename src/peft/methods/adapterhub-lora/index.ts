/** @file LoRA and its kin as AdapterHub computes them: registration. */
import { Conv1D, Linear } from '../../../nn/index.ts'
import { drawMissing, randomFor } from '../../adapterhub/first-values.ts'
import { ADAPTERHUB } from '../../adapterhub/format.ts'
import { type ModelFacts, registerPeftMethod, type SharedContext } from '../../method.ts'
import { originalOf, tunerAt } from '../../tuner-layer.ts'
import { averagedLoraConfig, averageLora } from './average.ts'
import { AdapterHubLoraConfig, isVera } from './config.ts'
import { countHubLora } from './count.ts'
import './hub.ts'
import { HubLoraLayer, refuseGates, VERA_SHARED } from './layer.ts'
import { chooseLayers, isFused } from './places.ts'
import { VeraShared } from './vera.ts'

registerPeftMethod<AdapterHubLoraConfig>({
  peftType: 'ADAPTERHUB_LORA',
  about: {
    title: 'AdapterHub LoRA',
    family: 'reparameterized',
    formula: 'y = W x + b + (alpha / r) B A x; a learnt gate in the place of alpha / r, (IA)³, DoRA, VeRA by options',
    paper: 'arXiv 2106.09685; by options arXiv 2205.05638, 2402.09353, 2310.11454',
    parameters: 'r (in + out) a layer; out with scale, r² + out² with VeRA, out more with DoRA',
    count: countHubLora,
    example: options => new AdapterHubLoraConfig({ r: 4, ...options }),
    recommended: { learningRate: 1e-3, options: { intermediateLora: true, outputLora: true } },
    oracle: 'adapterhub/lora-bert',
  },
  can: {
    merge: true,
    mixedBatch: 'each',
    weightedSum: true,
    convertToLora: true,
    noOpAtInit: true,
    several: true,
  },
  layerKinds: [Linear.name, Conv1D.name],
  // A gate is averaged over the sequence.
  readsWhole: ({ useGating }) => useGating,
  configFromJson: AdapterHubLoraConfig.fromJson,
  format: ({ targetModules }) => (targetModules === null ? ADAPTERHUB : 'peft'),
  chooseModules: chooseLayers,
  validate: requireOneShape,
  shared: createShared,
  wrap: context => {
    const { module, state } = context
    const original = originalOf(module)
    if (!(original instanceof Linear || original instanceof Conv1D)) return undefined
    const layer = tunerAt(module, HubLoraLayer) ?? new HubLoraLayer(module as Linear, state)
    layer.addAdapter(context)
    return layer
  },
  // What the layers share stands on the model, too.
  stateDict: (_, own) => new Map([...own].filter(([key]) => !key.includes('.loras.shared_parameters.'))),
  combinedConfig: averagedLoraConfig,
  combine: averageLora,
  checkMerge: ({ adapterName, config }) => {
    if (config.useGating) refuseGates(adapterName)
  },
})

/** Refuses VeRA and DoRA where AdapterHub cannot have them: the shared matrices fit one shape only. */
function requireOneShape(config: AdapterHubLoraConfig, targets: readonly string[], model: ModelFacts): void {
  const { useDora } = config
  const fused = targets.find(path => isFused(config, path, model))
  if (fused !== undefined && (useDora || isVera(config))) {
    throw new Error(
      `${config.constructor.name}: "${fused}" holds queries, keys and values in one, which goes with neither useDora nor veraD and veraB; set selfattnLora to false, or use LORA`,
    )
  }
  if (!isVera(config)) return
  const shapes = targets.map(path => shapeOf(model, path))
  const other = targets.find((_, i) => shapes[i].join() !== shapes[0].join())
  if (other === undefined) return
  throw new Error(
    `${config.constructor.name}: VeRA shares its matrices between layers of one shape; "${targets[0]}" is [${shapes[0]}] and "${other}" is [${shapeOf(model, other)}]. Choose attnMatrices of one shape, or use VERA`,
  )
}

function shapeOf({ base }: ModelFacts, path: string): readonly [output: number, input: number] {
  const { outFeatures, inFeatures } = base.getSubmodule(path) as Linear
  return [outFeatures, inFeatures]
}

/** The frozen matrices of VeRA. */
function createShared({
  config,
  model,
  targets,
  random,
}: SharedContext<AdapterHubLoraConfig>): Record<string, VeraShared> {
  if (!isVera(config)) return {}
  const [output, input] = shapeOf(model, targets[0])
  const source = randomFor(config.initWeightsSeed, VERA_SHARED, random(VERA_SHARED))
  return { [VERA_SHARED]: drawMissing(new VeraShared(config, input, output), source) }
}

export {
  AdapterHubLoraConfig,
  type AdapterHubLoraConfigOptions,
  type AttentionMatrix,
  type HubLoraInit,
} from './config.ts'
export { HubLoraLayer } from './layer.ts'
export {
  AdapterHubDoraConfig,
  AdapterHubDvoraConfig,
  AdapterHubIA3Config,
  AdapterHubVeraConfig,
} from './named-configs.ts'
