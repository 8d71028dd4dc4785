/** @file The options of LoRA, with PEFT's names and defaults. */
import { didYouMean } from '../../../util/nearest.ts'
import { type ConfigDefaults, optionsFromJson, PeftConfig, type PeftConfigOptions } from '../../config.ts'
import type { TargetOptions } from '../../method.ts'

/** The options of {@link LoraConfig}. */
export interface LoraConfigOptions extends PeftConfigOptions, TargetOptions {
  /** The rank of the update (8). */
  r?: number
  /** The update is scaled by `loraAlpha / r` (8). */
  loraAlpha?: number
  /** The probability of dropping an element of the adapter's input while training (0). */
  loraDropout?: number
  /**
   * The modules to adapt: names (the end of a path), a regular expression for whole paths, or `all-linear`. By default
   * what suits the model type.
   */
  targetModules?: readonly string[] | string | null
  /** Modules to leave out, as names or a regular expression. */
  excludeModules?: readonly string[] | string | null
  /** The numbers of the layers to adapt, for a list of target names. */
  layersToTransform?: readonly number[] | number | null
  /** The name of the list of layers, where the first number in a path is not the layer's. */
  layersPattern?: readonly string[] | string | null
  /** Ranks for the modules whose path ends with a name or matches an expression. */
  rankPattern?: Readonly<Record<string, number>>
  /** Alphas for the modules whose path ends with a name or matches an expression. */
  alphaPattern?: Readonly<Record<string, number>>
  /** Whether B has a bias, which begins at zero (false); on dense layers, with `initLoraWeights` true or false. */
  loraBias?: boolean
  /** Which biases of the base model are trained too (`none`). */
  bias?: 'none' | 'all' | 'lora_only'
  /** Scale by `loraAlpha / sqrt(r)` instead (arXiv 2312.03732). */
  useRslora?: boolean
  /** Modules that are trained as a whole and saved with the adapter. */
  modulesToSave?: readonly string[] | null
  /** How A and B begin (true); see {@link LoraInit}. */
  initLoraWeights?: LoraInit
  /** What `loftq` simulates: the bits of the base's weights (4 or 8) and how often A and B are fitted anew (1). */
  loftqConfig?: Partial<LoftQConfig>
  /** Whether each layer also learns the lengths of its weight's rows (DoRA, arXiv 2402.09353). */
  useDora?: boolean
  /**
   * Parameters to adapt that are no layer's weight, such as the experts of a mixture: names (the end of a path), each of
   * two axes `[out, in]` or of three `[experts, out, in]`.
   */
  targetParameters?: readonly string[] | null
  /**
   * Tokens of which the vectors are trained too: of the token embedding, or of the tables that a record names. What is
   * tied to a table follows it.
   */
  trainableTokenIndices?: readonly number[] | Readonly<Record<string, readonly number[]>> | null
  /**
   * Ranges `[start, end)` of the model's layers, which take the place of its layers one after another: a deeper model
   * that shares weights, with adapters of its own in each copy.
   */
  layerReplication?: readonly (readonly [start: number, end: number])[] | null
  /** Whether what the adapter does to an embedding it also does to the head that is tied to it (false). */
  ensureWeightTying?: boolean
  /** Whether the base layers store their weights as `[in, out]`; worked out from the layers, kept for the file. */
  fanInFanOut?: boolean
  /** Options of PEFT that are read from and written to files; setting them to anything else is refused. */
  [option: string]: unknown
}

/**
 * How A and B begin.
 *
 * - `true`: A uniform, B zero; `gaussian`: A normal, B zero; `false`: both uniform, which changes the model
 * - `orthogonal`: both in orthogonal subspaces, so that their product is zero (even ranks)
 * - `pissa` (arXiv 2404.02948), `pissa_niter_4`: the principal singular vectors of the weight, exactly or by so many
 *   iterations; `olora` (arXiv 2406.01775): its QR factors. Both are taken out of the weight
 * - `mica` (arXiv 2604.01694): B the singular vectors of the smallest singular values, frozen; A zero
 * - `loftq` (arXiv 2310.08659): what a weight of few bits lacks; the weight itself is replaced by that of few bits
 *
 * The base model is never changed: what is taken out of a weight is subtracted where the adapter computes.
 */
export type LoraInit =
  | boolean
  | 'gaussian'
  | 'orthogonal'
  | 'pissa'
  | `pissa_niter_${number}`
  | 'olora'
  | 'mica'
  | 'loftq'

/** The options of `loftq`. */
export interface LoftQConfig {
  /** 4 (NF4, blocks of 64) or 8 (int8, a scale for each row). */
  loftqBits: 4 | 8
  /** How often the weight of few bits, and A and B, are fitted to each other. */
  loftqIter: number
}

/** Every option of PEFT's LoraConfig with its default. */
export const LORA_DEFAULTS: ConfigDefaults = {
  aloraInvocationTokens: null,
  alphaPattern: {},
  arrowConfig: null,
  bias: 'none',
  cordaConfig: null,
  ensureWeightTying: false,
  evaConfig: null,
  excludeModules: null,
  fanInFanOut: false,
  initLoraWeights: true,
  kasaConfig: null,
  layerReplication: null,
  layersPattern: null,
  layersToTransform: null,
  loftqConfig: {},
  loraAlpha: 8,
  loraBias: false,
  loraDropout: 0,
  loraGaConfig: null,
  megatronConfig: null,
  megatronCore: 'megatron.core',
  modulesToSave: null,
  montecloraConfig: null,
  qaloraGroupSize: 16,
  r: 8,
  rankPattern: {},
  targetModules: null,
  targetParameters: null,
  trainableTokenIndices: null,
  useBdlora: null,
  useDora: false,
  useQalora: false,
  useRslora: false,
  veloraConfig: null,
}

/** Options that change the computation and have no implementation here: any other value than the default is refused. */
const UNSUPPORTED = [
  'aloraInvocationTokens',
  'arrowConfig',
  'cordaConfig',
  'evaConfig',
  'kasaConfig',
  'loraGaConfig',
  'megatronConfig',
  'montecloraConfig',
  'useBdlora',
  'useQalora',
  'veloraConfig',
] as const

/** The configuration of a LoRA adapter (arXiv 2106.09685). */
export class LoraConfig extends PeftConfig {
  readonly peftType = 'LORA'
  declare r: number
  declare loraAlpha: number
  declare loraDropout: number
  declare targetModules: readonly string[] | string | null
  declare excludeModules: readonly string[] | string | null
  declare layersToTransform: readonly number[] | number | null
  declare layersPattern: readonly string[] | string | null
  declare rankPattern: Readonly<Record<string, number>>
  declare alphaPattern: Readonly<Record<string, number>>
  declare loraBias: boolean
  declare bias: 'none' | 'all' | 'lora_only'
  declare useRslora: boolean
  declare modulesToSave: readonly string[] | null
  declare initLoraWeights: LoraInit
  declare fanInFanOut: boolean
  declare loftqConfig: Partial<LoftQConfig>
  declare useDora: boolean
  declare targetParameters: readonly string[] | null
  declare trainableTokenIndices: readonly number[] | Readonly<Record<string, readonly number[]>> | null
  declare layerReplication: readonly (readonly [number, number])[] | null
  declare ensureWeightTying: boolean

  /** @throws for an option that does not exist, has a value out of range, or is not implemented */
  constructor(options: LoraConfigOptions = {}) {
    super()
    this.assign(options)
    this.loftqConfig = completeLoftQ(this.loftqConfig, this.initLoraWeights === 'loftq')
    this.#validate()
  }

  /** The configuration in the JSON of a file. */
  static fromJson(json: unknown, label: string): LoraConfig {
    return new LoraConfig(optionsFromJson(json, LORA_DEFAULTS, label))
  }

  protected override defaults(): ConfigDefaults {
    return LORA_DEFAULTS
  }

  override toJSON(): Record<string, unknown> {
    const { loftqBits, loftqIter } = this.loftqConfig
    const loftq = loftqBits === undefined ? {} : { loftq_bits: loftqBits, loftq_iter: loftqIter }
    return { ...super.toJSON(), loftq_config: loftq }
  }

  #validate(): void {
    const fail = (message: string): never => {
      throw new Error(`LoraConfig: ${message}`)
    }
    const positive = (name: string, value: unknown) => {
      if (!Number.isInteger(value) || (value as number) <= 0)
        fail(`${name} must be a whole number above 0, got ${value}`)
    }
    positive('r', this.r)
    for (const [key, rank] of Object.entries(this.rankPattern)) positive(`rankPattern["${key}"]`, rank)
    if (!Number.isFinite(this.loraAlpha)) fail(`loraAlpha must be a number, got ${this.loraAlpha}`)
    if (!(this.loraDropout >= 0 && this.loraDropout < 1))
      fail(`loraDropout must lie in [0, 1), got ${this.loraDropout}`)
    if (!['none', 'all', 'lora_only'].includes(this.bias))
      fail(`bias must be none, all or lora_only, got "${this.bias}"`)
    if (this.layersToTransform !== null && typeof this.targetModules === 'string') {
      fail(
        'layersToTransform works with a list of targetModules, not with an expression; put the layers into the expression',
      )
    }
    if (this.layersPattern !== null && this.layersToTransform === null) {
      fail('layersPattern needs layersToTransform, the numbers of the layers')
    }
    this.#validateInit(fail)
    this.#validateParts(fail)
    const values = this as unknown as Record<string, unknown>
    for (const name of UNSUPPORTED) {
      if (JSON.stringify(values[name]) !== JSON.stringify(LORA_DEFAULTS[name])) {
        fail(
          `${name} is not implemented (got ${JSON.stringify(values[name])}); leave it at ${JSON.stringify(LORA_DEFAULTS[name])}`,
        )
      }
    }
  }

  #validateInit(fail: (message: string) => never): void {
    const { initLoraWeights: init, loraBias, useDora } = this
    const isKnown = typeof init === 'boolean' || INITS.includes(init) || /^pissa_niter_\d+$/.test(init)
    if (!isKnown) {
      fail(
        `initLoraWeights ${JSON.stringify(init)} is not implemented.${didYouMean(String(init), INITS)} Use true, false, ${INITS.join(', ')} or pissa_niter_<iterations>`,
      )
    }
    if (loraBias && typeof init !== 'boolean')
      fail(`loraBias works with initLoraWeights true or false, got ${JSON.stringify(init)}`)
    if (loraBias && useDora) fail('loraBias does not work with useDora; set one of them to false')
    if (useDora && init === 'mica') fail('initLoraWeights "mica" does not work with useDora; choose one of them')
    const ranks = [this.r, ...Object.values(this.rankPattern)]
    const odd = ranks.find(rank => rank % 2 === 1)
    if (init === 'orthogonal' && odd !== undefined)
      fail(`initLoraWeights "orthogonal" needs even ranks, got ${odd}; choose an even r`)
    const { loftqBits, loftqIter } = this.loftqConfig
    if (loftqBits === undefined) return
    if (loftqBits !== 4 && loftqBits !== 8) fail(`loftqConfig.loftqBits must be 4 or 8, got ${loftqBits}`)
    if (!(Number.isInteger(loftqIter) && loftqIter! > 0))
      fail(`loftqConfig.loftqIter must be a whole number above 0, got ${loftqIter}`)
  }

  #validateParts(fail: (message: string) => never): void {
    const { layerReplication, targetParameters } = this
    if (layerReplication?.length === 0) fail('layerReplication is an empty list; give ranges, or null')
    for (const range of layerReplication ?? []) {
      const [start, end] = Array.isArray(range) && range.length === 2 ? range : [Number.NaN, Number.NaN]
      if (!(Number.isInteger(start) && Number.isInteger(end) && start >= 0 && end > start)) {
        fail(`layerReplication must hold ranges [start, end) of layer numbers, got ${JSON.stringify(range)}`)
      }
    }
    if (!targetParameters?.length) return
    const others = { loraDropout: this.loraDropout, loraBias: this.loraBias, useDora: this.useDora }
    for (const [name, value] of Object.entries(others)) {
      if (value) fail(`targetParameters does not work with ${name}; leave it at ${LORA_DEFAULTS[name]}`)
    }
    if (![true, false, 'gaussian'].includes(this.initLoraWeights as boolean)) {
      fail(
        `targetParameters works with initLoraWeights true, false or "gaussian", got ${JSON.stringify(this.initLoraWeights)}`,
      )
    }
  }
}

/** The inits that go by a name alone. */
const INITS = ['gaussian', 'orthogonal', 'pissa', 'olora', 'mica', 'loftq']

/** The options of LoftQ with their defaults, empty where another init is chosen; files hold them in snake_case. */
function completeLoftQ(given: Readonly<Record<string, unknown>> | null, isUsed: boolean): Partial<LoftQConfig> {
  const known: Record<string, string> = { loftq_bits: 'loftqBits', loftq_iter: 'loftqIter' }
  const options = Object.fromEntries(Object.entries(given ?? {}).map(([key, value]) => [known[key] ?? key, value]))
  const names = Object.values(known)
  for (const name of Object.keys(options)) {
    if (!names.includes(name)) {
      throw new Error(
        `LoraConfig: loftqConfig has no option "${name}".${didYouMean(name, names)} The options are ${names.join(', ')}.`,
      )
    }
  }
  if (isUsed) return { loftqBits: 4, loftqIter: 1, ...options }
  if (Object.keys(options).length === 0) return {}
  throw new Error('LoraConfig: loftqConfig is read with initLoraWeights "loftq" only; set that, or leave it out')
}
