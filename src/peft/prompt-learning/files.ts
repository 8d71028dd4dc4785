/** @file Virtual tokens in files: PEFT's `prompt_embeddings`, and beside it the layers that made them. */
import { Graph, slice, type Tensor, unsqueeze } from '../../graph/index.ts'
import { type Module, Parameter } from '../../nn/index.ts'
import { defaultEngine, floats } from '../../runtime/index.ts'
import { Random } from '../../util/random.ts'
import type { AdapterContext, PeftMethod, SharedContext } from '../method.ts'
import { completed, type PromptLearningConfig } from './config.ts'
import type { VirtualTokens } from './virtual-tokens.ts'

/** Where an adapter's virtual tokens stand on the model, and what the keys of its training file begin with. */
const PROMPT_ENCODER = 'prompt_encoder'
const PROMPT_EMBEDDINGS = 'prompt_embeddings'

/** The file that holds the layers over a table of virtual tokens. */
export const PROMPT_ENCODER_FILE = 'prompt_encoder.safetensors'

/** By how much what the layers compute may differ from what the file says, relative to its largest value. */
const TOLERANCE = 1e-4

/** The virtual tokens of an adapter. */
export function virtualTokensOf<T extends VirtualTokens>({ shared }: Pick<AdapterContext, 'shared'>): T {
  return shared[PROMPT_ENCODER] as T
}

/** An adapter's virtual tokens as {@link PeftMethod.shared} gives them, with their first values. */
export function sharedTokens(tokens: VirtualTokens, { random }: Pick<SharedContext, 'random'>): Record<string, Module> {
  tokens.draw(name => random(`${PROMPT_ENCODER}.${name}`))
  return { [PROMPT_ENCODER]: tokens }
}

/** How virtual tokens are saved and loaded, for methods that have no layers over them. */
export const PLAIN_FILES: Pick<PeftMethod<PromptLearningConfig>, 'basePath' | 'stateDict'> = {
  // PEFT puts nothing into the model's tree for these methods, so its keys have one name less.
  basePath: 'base_model.',
  stateDict: context => new Map([[PROMPT_EMBEDDINGS, resultOf(virtualTokensOf(context))]]),
}

/**
 * How virtual tokens are saved and loaded, for methods that learn them through layers. PEFT keeps only what the layers
 * compute, so that its training cannot go on; here they stand in a second file. Without that file the tokens
 * themselves train on, and a warning says so. A second file that does not fit the first, because another program has
 * written that since, is left alone.
 */
export const LAYERED_FILES: Pick<
  PeftMethod<PromptLearningConfig>,
  'basePath' | 'stateDict' | 'trainingFile' | 'beforeLoad' | 'afterLoad'
> = {
  ...PLAIN_FILES,
  trainingFile: {
    name: PROMPT_ENCODER_FILE,
    stateDict: (context, own) =>
      virtualTokensOf(context).isPlain
        ? new Map()
        : new Map([...own].filter(([key]) => key.startsWith(`${PROMPT_ENCODER}.`))),
  },
  beforeLoad: (context, shapes) => {
    const tokens = virtualTokensOf(context)
    const isPlain = ![...shapes.keys()].some(key => key.startsWith(`${PROMPT_ENCODER}.`))
    if (tokens.isPlain !== isPlain) tokens.become(isPlain ? 'plain' : 'layered', anyValues)
  },
  afterLoad: async (context, values) => {
    const tokens = virtualTokensOf(context)
    const saved = values.get(PROMPT_EMBEDDINGS)
    if (!saved) return undefined
    const trained = context.config.inferenceMode ? '' : '; the virtual tokens themselves are trained from here on'
    if (tokens.isPlain)
      return trained && isLayered(context.config) ? `there is no ${PROMPT_ENCODER_FILE}${trained}` : undefined
    if (isNear(await valuesOf(tokens), saved)) return undefined
    tokens.become('plain', anyValues)
    tokens.embedding.weight.data = saved.slice()
    return `${PROMPT_ENCODER_FILE} does not give the "${PROMPT_EMBEDDINGS}" of the adapter, which another program has written since; it is not used${trained}`
  },
}

/** The virtual tokens that stand in front of a text, `[1, length, width]`: of an encoder with a decoder the encoder's. */
export function promptOf(context: AdapterContext<PromptLearningConfig>): Tensor {
  const values = virtualTokensOf(context).forward()
  const { numVirtualTokens } = completed(context.config)
  return unsqueeze(slice(values, 0, 0, numVirtualTokens), [0])
}

/** Whether the options ask for layers over the table. */
function isLayered(config: PromptLearningConfig & { prefixProjection?: boolean }): boolean {
  return config.prefixProjection ?? true
}

/** Values that are replaced right away. */
const anyValues = () => new Random(0)

/** What PEFT's file holds: the table, or what the layers make of it now. */
function resultOf(tokens: VirtualTokens): Parameter {
  if (tokens.isPlain) return tokens.embedding.weight
  return Parameter.computed(tokens.resultShape, () => valuesOf(tokens), { requiresGrad: false })
}

async function valuesOf(tokens: VirtualTokens): Promise<Float32Array> {
  for (const parameter of tokens.parameters()) await parameter.load()
  const graph = new Graph()
  const result = graph.trace(() => tokens.forward())
  const engine = await defaultEngine()
  await using executable = await engine.compile({ result }, { mode: 'small' })
  return floats((await executable.run({})).result)
}

function isNear(got: Float32Array, expected: Float32Array): boolean {
  const scale = expected.reduce((largest, value) => Math.max(largest, Math.abs(value)), 1e-6)
  return expected.every((value, i) => Math.abs(got[i] - value) <= TOLERANCE * scale)
}
