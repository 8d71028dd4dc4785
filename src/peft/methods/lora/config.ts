/** @file The options of LoRA, with PEFT's names and defaults. */
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
  /** `true`: A uniform, B zero, so that nothing changes at first; `gaussian`: A normal; `false`: both uniform. */
  initLoraWeights?: boolean | 'gaussian'
  /** Whether the base layers store their weights as `[in, out]`; worked out from the layers, kept for the file. */
  fanInFanOut?: boolean
  /** Options of PEFT that are read from and written to files; setting them to anything else is refused. */
  [option: string]: unknown
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
  'layerReplication',
  'loraGaConfig',
  'megatronConfig',
  'montecloraConfig',
  'targetParameters',
  'trainableTokenIndices',
  'useBdlora',
  'useDora',
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
  declare initLoraWeights: boolean | 'gaussian'
  declare fanInFanOut: boolean

  /** @throws for an option that does not exist, has a value out of range, or is not implemented */
  constructor(options: LoraConfigOptions = {}) {
    super()
    this.assign(options)
    this.#validate()
  }

  /** The configuration in the JSON of a file. */
  static fromJson(json: unknown, label: string): LoraConfig {
    return new LoraConfig(optionsFromJson(json, LORA_DEFAULTS, label))
  }

  protected override defaults(): ConfigDefaults {
    return LORA_DEFAULTS
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
    if (![true, false, 'gaussian'].includes(this.initLoraWeights)) {
      fail(`initLoraWeights ${JSON.stringify(this.initLoraWeights)} is not implemented; use true, false or "gaussian"`)
    }
    if (this.loraBias && typeof this.initLoraWeights !== 'boolean') {
      fail(`loraBias works with initLoraWeights true or false, got ${JSON.stringify(this.initLoraWeights)}`)
    }
    const values = this as unknown as Record<string, unknown>
    for (const name of UNSUPPORTED) {
      if (JSON.stringify(values[name]) !== JSON.stringify(LORA_DEFAULTS[name])) {
        fail(
          `${name} is not implemented (got ${JSON.stringify(values[name])}); leave it at ${JSON.stringify(LORA_DEFAULTS[name])}`,
        )
      }
    }
  }
}
