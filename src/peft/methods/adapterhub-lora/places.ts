/** @file The dense layers that AdapterHub's LoRA works on in each architecture. */
import { baseModules } from '../../adapted-tree.ts'
import { layerNumbers } from '../../layer-numbers.ts'
import type { ModelFacts } from '../../method.ts'
import { resolveTargets } from '../../targets.ts'
import type { AdapterHubLoraConfig, AttentionMatrix } from './config.ts'

/** The ends of the paths of an architecture's dense layers. */
interface LoraPlaces {
  /** Queries, keys and values. */
  attention?: Readonly<Record<AttentionMatrix, RegExp>>
  /** Queries, keys and values in one layer, in this order. */
  fused?: RegExp
  /** What `intermediateLora` means. */
  intermediate: RegExp
  /** What `outputLora` means. */
  output: RegExp
}

const matrices = (path: string, [q, k, v]: readonly string[]) => {
  const end = (name: string) => new RegExp(`(^|\\.)${path}\\.${name}$`)
  return { q: end(q), k: end(k), v: end(v) }
}
const PROJECTIONS = ['q_proj', 'k_proj', 'v_proj']

const BERT: LoraPlaces = {
  attention: matrices('attention\\.self', ['query', 'key', 'value']),
  intermediate: /\.\d+\.intermediate\.dense$/,
  output: /\.\d+\.output\.dense$/,
}

const ROPE_DECODER: LoraPlaces = {
  attention: matrices('self_attn', PROJECTIONS),
  intermediate: /\.mlp\.up_proj$/,
  output: /\.mlp\.down_proj$/,
}

/** AdapterHub takes the one for the other in the models that it has classes of its own for. */
const LLAMA: LoraPlaces = {
  ...ROPE_DECODER,
  intermediate: ROPE_DECODER.output,
  output: ROPE_DECODER.intermediate,
}

const T5: LoraPlaces = {
  attention: matrices('(SelfAttention|EncDecAttention)', ['q', 'k', 'v']),
  intermediate: /\.DenseReluDense\.(wi|wi_1)$/,
  output: /\.DenseReluDense\.wo$/,
}

const PLACES: Readonly<Record<string, LoraPlaces>> = {
  bart: {
    attention: matrices('(self_attn|encoder_attn)', PROJECTIONS),
    intermediate: /\.fc1$/,
    output: /\.fc2$/,
  },
  bert: BERT,
  distilbert: {
    attention: matrices('attention', ['q_lin', 'k_lin', 'v_lin']),
    intermediate: /\.ffn\.lin1$/,
    output: /\.ffn\.lin2$/,
  },
  gpt2: { fused: /\.attn\.c_attn$/, intermediate: /\.mlp\.c_fc$/, output: /\.mlp\.c_proj$/ },
  llama: LLAMA,
  mistral: LLAMA,
  mt5: T5,
  roberta: BERT,
  t5: T5,
  vit: { attention: matrices('attention', PROJECTIONS), intermediate: /\.mlp\.fc1$/, output: /\.mlp\.fc2$/ },
  'xlm-roberta': BERT,
}

/** The places of a model type; those that its kindred have where it is not known. */
const placesOf = (modelType: string): LoraPlaces =>
  Object.hasOwn(PLACES, modelType) ? PLACES[modelType] : ROPE_DECODER

/** The paths of the dense layers that get an adapter. */
export function chooseLayers(config: AdapterHubLoraConfig, { base, tree, modelType }: ModelFacts): string[] {
  const layerOf = layerNumbers(base)
  const isKept = (path: string) => !config.leaveOut.includes(layerOf(path) ?? -1)
  if (config.targetModules !== null) {
    return resolveTargets(tree, config.targetModules, config, { outputModules: [], strict: true }).filter(isKept)
  }
  const { attention, fused, intermediate, output } = placesOf(modelType)
  const attended = fused
    ? config.attnMatrices.slice(0, 1).map(() => fused)
    : config.attnMatrices.map(name => attention![name])
  const wanted = [
    ...(config.selfattnLora ? attended : []),
    ...(config.intermediateLora ? [intermediate] : []),
    ...(config.outputLora ? [output] : []),
  ]
  const paths = [...baseModules(tree)].map(({ path }) => path)
  const chosen = paths.filter(path => wanted.some(expression => expression.test(path)) && isKept(path))
  if (chosen.length > 0) return chosen
  throw new Error(
    `${config.constructor.name}: the options choose no dense layer of this model (${modelType}); ` +
      (wanted.length === 0
        ? 'set selfattnLora with attnMatrices, intermediateLora or outputLora'
        : 'name the layers with targetModules, or leave fewer out'),
  )
}

/** Whether the layer at a path holds queries, keys and values in one. */
export function isFused(config: AdapterHubLoraConfig, path: string, { modelType }: Pick<ModelFacts, 'modelType'>) {
  return config.targetModules === null && (placesOf(modelType).fused?.test(path) ?? false)
}
