/** @file Which modules of a model have a bias that BitFit trains. */
import { type Module, Parameter } from '../../../nn/index.ts'
import { baseModules, unwrapped } from '../../adapted-tree.ts'
import type { ModelFacts, TargetOptions } from '../../method.ts'
import { resolveTargets } from '../../targets.ts'
import type { BitFitConfig } from './config.ts'

/** The projections of queries and the first dense layer of feed-forward blocks, by model type. */
const QUERY_AND_INTERMEDIATE: Readonly<Record<string, readonly string[]>> = {
  bart: ['q_proj', 'fc1'],
  bert: ['query', 'intermediate.dense'],
  distilbert: ['q_lin', 'lin1'],
  opt: ['q_proj', 'fc1'],
  roberta: ['query', 'intermediate.dense'],
  vit: ['q_proj', 'mlp.fc1'],
  'xlm-roberta': ['query', 'intermediate.dense'],
}

/** The bias of a layer; undefined for modules without one, and for those that are made of others. */
export function biasOf(module: Module): Parameter | undefined {
  const { bias } = module as { bias?: unknown }
  return bias instanceof Parameter && module.children().length === 0 ? bias : undefined
}

/**
 * The paths of the modules whose biases train.
 *
 * @throws when there are none, and for names that match no module or one without a bias
 */
export function chooseBiases(config: BitFitConfig, { tree, modelType, base }: ModelFacts): string[] {
  const withBias = [...baseModules(tree)].filter(({ module }) => biasOf(unwrapped(module))).map(({ path }) => path)
  if (withBias.length === 0) {
    throw new Error(
      `BITFIT trains biases, and ${base.constructor.name} has none (models of Llama's kind are built without). Use a method that adds parameters, such as LORA or IA3, or LN_TUNING, which trains normalisations.`,
    )
  }
  const named = namesOf(config, modelType)
  const resolve = (targets: readonly string[] | string, options: TargetOptions) =>
    new Set(resolveTargets(tree, targets, options, { outputModules: [], strict: true }))
  // Exclusions and layer numbers hold for every choice, so they are applied to full paths too.
  const { excludeModules, modulesToSave, layersToTransform, layersPattern, targetModules } = config
  const chosen = resolve(named ?? withBias, { excludeModules, modulesToSave, layersToTransform, layersPattern })
  const bare = [...chosen].filter(path => !withBias.includes(path))
  if (bare.length) {
    throw new Error(
      `BITFIT: biases names ${JSON.stringify(named)}, and ${bare.length} of the modules called so have no bias, the first "${bare[0]}"; the modules with a bias are called ${names(withBias)}`,
    )
  }
  const within = targetModules === null ? chosen : resolve(targetModules, {})
  const paths = withBias.filter(path => chosen.has(path) && within.has(path))
  if (paths.length === 0) {
    throw new Error(
      `BITFIT: no module has a bias, is chosen by biases ${JSON.stringify(config.biases)} and by targetModules ${JSON.stringify(targetModules)}; the modules with a bias are called ${names(withBias)}`,
    )
  }
  return paths
}

function namesOf({ biases }: BitFitConfig, modelType: string): readonly string[] | undefined {
  if (biases === 'all') return undefined
  if (biases !== 'query_and_intermediate') return biases
  const known = QUERY_AND_INTERMEDIATE[modelType]
  if (known) return known
  throw new Error(
    `BITFIT: which layers "query_and_intermediate" means is not known for the model type "${modelType}"; name the modules, for example biases: ["query", "fc1"]. Known: ${Object.keys(QUERY_AND_INTERMEDIATE).join(', ')}.`,
  )
}

function names(paths: readonly string[]): string {
  return [...new Set(paths.map(path => path.slice(path.lastIndexOf('.') + 1)))].slice(0, 24).join(', ')
}
