/** @file The options of bottleneck adapters, with AdapterHub's names and defaults. */
import { hubActivation } from '../../adapterhub/activations.ts'
import { type ConfigDefaults, optionsFromJson, PeftConfig, type PeftConfigOptions } from '../../config.ts'
import type { TargetOptions } from '../../method.ts'

/** What the width of a layer is divided by to get the adapter's: one number, or one by the number of the layer. */
export type ReductionFactor = number | Readonly<Record<string, number>>

/** The options of {@link BnConfig}. */
export interface BnConfigOptions extends PeftConfigOptions, TargetOptions {
  /** Whether adapters follow the attention (false). */
  mhAdapter?: boolean
  /** Whether adapters follow the feed-forward network (true). */
  outputAdapter?: boolean
  /** Whether adapters follow the cross-attention of a decoder too (false). */
  crossAdapter?: boolean
  /** The adapter is this many times narrower than the layer (16); by layer: `{ '0': 8, default: 16 }`. */
  reductionFactor?: ReductionFactor
  /** The activation in the middle, by Transformers' names, or `leakyrelu` (`relu`). */
  nonLinearity?: string
  /** Whether the adapter reads the layer's sum and normalisation, LN(h + x), in the place of h (false). */
  originalLnBefore?: boolean
  /** Whether the layer's sum and normalisation follow the adapter (true). */
  originalLnAfter?: boolean
  /** Whether the adapter adds h to its result (true), LN(h + x) (false), or h + x (`post_add`). */
  residualBeforeLn?: boolean | 'post_add'
  /** Whether that sum is formed before the adapter's own last normalisation (false). */
  adapterResidualBeforeLn?: boolean
  /** Whether the adapter begins with a normalisation of its own (false). */
  lnBefore?: boolean
  /** Whether the adapter ends with a normalisation of its own (false). */
  lnAfter?: boolean
  /** How first values are drawn: `bert` N(0, 0.02), `houlsby` narrow and truncated, `mam_adapter` with nothing added at first. */
  initWeights?: 'bert' | 'houlsby' | 'mam_adapter'
  /** Draws the first values in the place of the model's seed (null). */
  initWeightsSeed?: number | null
  /** Whether the adapter reads the sublayer's input and works beside it (false). */
  isParallel?: boolean
  /** The factor on the adapter's result (1): a number, one that is learnt, or one for each channel. */
  scaling?: number | 'learned' | 'channel'
  /** Whether the adapter's result is multiplied by a learnt gate, averaged over the sequence (false). */
  useGating?: boolean
  /** `nice` for an invertible adapter after the embeddings (null). */
  invAdapter?: 'nice' | null
  /** The invertible adapter's layers are this many times narrower (null). */
  invAdapterReductionFactor?: number | null
  /**
   * Whether the invertible adapter's change is undone before the output layer over the vocabulary. By default (null) as
   * AdapterHub does: in the models that it runs through an interface, not before other stock heads. AdapterHub's
   * files have no place for it; an adapter that has it is saved as PEFT saves.
   */
  invBeforeOutput?: boolean | null
  /** The numbers of the layers that get no adapter (AdapterDrop, arXiv 2010.11918). */
  leaveOut?: readonly number[]
  /** The probability of dropping an element of the adapter's result while training (0). */
  dropout?: number
  /** The probability of dropping the adapter's result for a whole example while training (0). */
  stochasticDepth?: number
  /** Whether the dense layers are sums of Kronecker products (Compacter, arXiv 2106.04647; false). */
  phmLayer?: boolean
  /** How many products are summed, which is also the width of their rules (4). */
  phmDim?: number
  /** Whether the second factors are products of narrow matrices (true). */
  factorizedPhmW?: boolean
  /** The rank of those (1). */
  phmRank?: number
  /** Whether all layers share them (false). */
  sharedWPhm?: boolean
  /** Whether all layers share the first factors, the rules (true). */
  sharedPhmRule?: boolean
  /** Whether the rules are products of vectors (false). */
  factorizedPhmRule?: boolean
  /** How rules are drawn: `normal` or `uniform` (`normal`). */
  phmCInit?: 'normal' | 'uniform'
  /** The width of that distribution (0.0001). */
  phmInitRange?: number
  /** Whether the rules train (true). */
  learnPhm?: boolean
  /** Kept for the file: AdapterHub draws the second factors in the same way for every value. */
  hypercomplexNonlinearity?: string
  /** Whether the dense layers have a bias (true). */
  phmBias?: boolean
  /** Dense layers that get an adapter on their output, in the place of a model's sublayers; for models of one's own. */
  targetModules?: readonly string[] | string | null
}

/** AdapterHub's options with their defaults. */
export const BN_OPTIONS: ConfigDefaults = {
  adapterResidualBeforeLn: false,
  crossAdapter: false,
  dropout: 0,
  factorizedPhmRule: false,
  factorizedPhmW: true,
  hypercomplexNonlinearity: 'glorot-uniform',
  initWeights: 'bert',
  initWeightsSeed: null,
  invAdapter: null,
  invAdapterReductionFactor: null,
  isParallel: false,
  learnPhm: true,
  leaveOut: [],
  lnAfter: false,
  lnBefore: false,
  mhAdapter: false,
  nonLinearity: 'relu',
  originalLnAfter: true,
  originalLnBefore: false,
  outputAdapter: true,
  phmBias: true,
  phmCInit: 'normal',
  phmDim: 4,
  phmInitRange: 0.0001,
  phmLayer: false,
  phmRank: 1,
  reductionFactor: 16,
  residualBeforeLn: true,
  scaling: 1,
  sharedPhmRule: true,
  sharedWPhm: false,
  stochasticDepth: 0,
  useGating: false,
}

/** Every option with its default; those of the target modules have no place in AdapterHub's files. */
export const BN_DEFAULTS: ConfigDefaults = {
  ...BN_OPTIONS,
  excludeModules: null,
  invBeforeOutput: null,
  modulesToSave: null,
  targetModules: null,
}

const FLAGS = Object.keys(BN_OPTIONS).filter(
  name => typeof BN_OPTIONS[name] === 'boolean' && name !== 'residualBeforeLn',
)

/** The configuration of a bottleneck adapter: a narrow network between the sublayers (arXiv 1902.00751). */
export class BnConfig extends PeftConfig {
  readonly peftType = 'BOTTLENECK'
  declare mhAdapter: boolean
  declare outputAdapter: boolean
  declare crossAdapter: boolean
  declare reductionFactor: ReductionFactor
  declare nonLinearity: string
  declare originalLnBefore: boolean
  declare originalLnAfter: boolean
  declare residualBeforeLn: boolean | 'post_add'
  declare adapterResidualBeforeLn: boolean
  declare lnBefore: boolean
  declare lnAfter: boolean
  declare initWeights: 'bert' | 'houlsby' | 'mam_adapter'
  declare initWeightsSeed: number | null
  declare isParallel: boolean
  declare scaling: number | 'learned' | 'channel'
  declare useGating: boolean
  declare invAdapter: 'nice' | null
  declare invAdapterReductionFactor: number | null
  declare invBeforeOutput: boolean | null
  declare leaveOut: readonly number[]
  declare dropout: number
  declare stochasticDepth: number
  declare phmLayer: boolean
  declare phmDim: number
  declare factorizedPhmW: boolean
  declare phmRank: number
  declare sharedWPhm: boolean
  declare sharedPhmRule: boolean
  declare factorizedPhmRule: boolean
  declare phmCInit: 'normal' | 'uniform'
  declare phmInitRange: number
  declare learnPhm: boolean
  declare hypercomplexNonlinearity: string
  declare phmBias: boolean
  declare targetModules: readonly string[] | string | null
  declare excludeModules: readonly string[] | string | null
  declare modulesToSave: readonly string[] | null

  /** @throws for an option that does not exist or has a value out of range */
  constructor(options: BnConfigOptions = {}) {
    super()
    this.assign(options)
    validate(this)
  }

  /** The configuration in JSON under this library's names. */
  static fromJson(json: unknown, label: string): BnConfig {
    return new BnConfig(optionsFromJson(json, BN_DEFAULTS, label))
  }

  protected override defaults(): ConfigDefaults {
    return BN_DEFAULTS
  }
}

/** The reduction factor of a layer. Throws where the table has none. */
export function reductionFactorOf({ reductionFactor }: BnConfig, layer: number | undefined): number {
  if (typeof reductionFactor === 'number') return reductionFactor
  const factor = (layer === undefined ? undefined : reductionFactor[layer]) ?? reductionFactor.default
  if (factor === undefined) {
    throw new Error(
      `BnConfig: reductionFactor names no factor for layer ${layer ?? '(outside all layers)'} and no "default", got ${JSON.stringify(reductionFactor)}`,
    )
  }
  return factor
}

/** The width of the adapter on a layer of a width. */
export function bottleneckWidth(config: BnConfig, width: number, layer: number | undefined): number {
  return Math.max(1, Math.floor(width / reductionFactorOf(config, layer)))
}

function validate(config: BnConfig): void {
  const values = config as unknown as Record<string, unknown>
  const fail = (name: string, expected: string): never => {
    throw new Error(`BnConfig: ${name} must be ${expected}, got ${JSON.stringify(values[name])}`)
  }
  const isPositive = (value: unknown) => typeof value === 'number' && value > 0 && Number.isFinite(value)
  for (const name of FLAGS) if (typeof values[name] !== 'boolean') fail(name, 'true or false')
  const factors =
    typeof config.reductionFactor === 'object' ? Object.values(config.reductionFactor ?? {}) : [config.reductionFactor]
  if (factors.length === 0 || !factors.every(isPositive)) {
    fail('reductionFactor', 'a number above 0, or a table of such numbers by layer')
  }
  if (typeof config.nonLinearity !== 'string') fail('nonLinearity', 'the name of an activation')
  hubActivation(config.nonLinearity)
  if (![true, false, 'post_add'].includes(config.residualBeforeLn))
    fail('residualBeforeLn', 'true, false or "post_add"')
  if (config.residualBeforeLn === 'post_add' && !config.originalLnBefore) {
    throw new Error('BnConfig: residualBeforeLn "post_add" needs originalLnBefore: true, where the sum is formed')
  }
  if (!['bert', 'houlsby', 'mam_adapter'].includes(config.initWeights)) {
    fail('initWeights', '"bert", "houlsby" or "mam_adapter"')
  }
  const { scaling } = config
  if (!(typeof scaling === 'number' ? Number.isFinite(scaling) : ['learned', 'channel'].includes(scaling))) {
    fail('scaling', 'a number, "learned" or "channel"')
  }
  for (const name of ['dropout', 'stochasticDepth'] as const) {
    if (!(config[name] >= 0 && config[name] < 1)) fail(name, 'a number in [0, 1)')
  }
  if (!Array.isArray(config.leaveOut) || !config.leaveOut.every(layer => Number.isInteger(layer) && layer >= 0)) {
    fail('leaveOut', 'a list of layer numbers')
  }
  if (config.invAdapter !== null && config.invAdapter !== 'nice') {
    fail('invAdapter', '"nice" or null ("glow" does not run in AdapterHub either)')
  }
  if (config.invAdapter && !isPositive(config.invAdapterReductionFactor)) {
    fail('invAdapterReductionFactor', 'a number above 0 where there is an invertible adapter')
  }
  if (![true, false, null].includes(config.invBeforeOutput)) fail('invBeforeOutput', 'true, false or null')
  for (const name of ['phmDim', 'phmRank'] as const) {
    if (!Number.isInteger(config[name]) || config[name] < 1) fail(name, 'a whole number above 0')
  }
  if (!['normal', 'uniform'].includes(config.phmCInit)) fail('phmCInit', '"normal" or "uniform"')
  if (!isPositive(config.phmInitRange)) fail('phmInitRange', 'a number above 0')
  if (config.phmLayer && config.sharedWPhm && !config.factorizedPhmW) {
    throw new Error('BnConfig: sharedWPhm needs factorizedPhmW: true; whole matrices cannot be shared')
  }
}
