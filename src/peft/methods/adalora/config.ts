/** @file The options of AdaLoRA, with PEFT's names and defaults: its own, and those it has from LoRA. */
import { type ConfigDefaults, optionsFromJson, PeftConfig, type PeftConfigOptions } from '../../config.ts'
import type { TargetOptions } from '../../method.ts'
import { LORA_DEFAULTS } from '../lora/config.ts'

/** Which of the first directions of a layer are left, by `<path>.lora_E`. */
export type RankPattern = Readonly<Record<string, readonly boolean[]>>

/** The options of {@link AdaLoraConfig}. */
export interface AdaLoraConfigOptions extends PeftConfigOptions, TargetOptions {
  /** The rank that layers have on average at the end (8). */
  targetR?: number
  /** The rank that each layer begins with (12). */
  initR?: number
  /** How many steps are trained before ranks shrink (0). */
  tinit?: number
  /** How many steps are trained at the end with the ranks found (0). */
  tfinal?: number
  /** Ranks are allotted anew every so many steps (1). */
  deltaT?: number
  /** How much of the mean importance is kept from step to step (0.85). */
  beta1?: number
  /** How much of the mean uncertainty of the importance is kept from step to step (0.85). */
  beta2?: number
  /** How much the loss grows where the directions of a layer are not orthogonal (0.5). */
  orthRegWeight?: number
  /** How many steps the training has; the Trainer knows it, a loop of one's own gives it here or to the optimizer. */
  totalStep?: number | null
  /** The directions that were left when the adapter was saved. */
  rankPattern?: RankPattern | null
  /** The update is scaled by `loraAlpha / initR` (8). */
  loraAlpha?: number
  /** The probability of dropping an element of the adapter's input while training (0). */
  loraDropout?: number
  /** Which biases of the base model are trained too (`none`). */
  bias?: 'none' | 'all' | 'lora_only'
  /** Whether the middle factor begins at zero, so that nothing changes at first (true); otherwise all are drawn. */
  initLoraWeights?: boolean
  /** Tokens of which the vectors are trained too, as in LoRA. */
  trainableTokenIndices?: readonly number[] | Readonly<Record<string, readonly number[]>> | null
  /** Kept for the file; worked out from the layers. */
  fanInFanOut?: boolean
  /** Options of PEFT's that are read from and written to files; setting them to anything else is refused. */
  [option: string]: unknown
}

/** Every option of PEFT's AdaLoraConfig with its default. */
export const ADALORA_DEFAULTS: ConfigDefaults = {
  ...LORA_DEFAULTS,
  beta1: 0.85,
  beta2: 0.85,
  deltaT: 1,
  initR: 12,
  orthRegWeight: 0.5,
  rankPattern: null,
  targetR: 8,
  tfinal: 0,
  tinit: 0,
  totalStep: null,
}

/** The options that mean something here; those that only LoRA has must stay at their defaults. */
const SUPPORTED = new Set([
  'beta1',
  'beta2',
  'bias',
  'deltaT',
  'excludeModules',
  'fanInFanOut',
  'initLoraWeights',
  'initR',
  'layersPattern',
  'layersToTransform',
  'loraAlpha',
  'loraDropout',
  'megatronCore',
  'modulesToSave',
  'orthRegWeight',
  'rankPattern',
  'targetModules',
  'targetR',
  'tfinal',
  'tinit',
  'totalStep',
  'trainableTokenIndices',
])

/** The configuration of an AdaLoRA adapter (arXiv 2303.10512). */
export class AdaLoraConfig extends PeftConfig {
  readonly peftType = 'ADALORA'
  declare targetR: number
  declare initR: number
  declare tinit: number
  declare tfinal: number
  declare deltaT: number
  declare beta1: number
  declare beta2: number
  declare orthRegWeight: number
  declare totalStep: number | null
  declare rankPattern: RankPattern | null
  declare loraAlpha: number
  declare loraDropout: number
  declare bias: 'none' | 'all' | 'lora_only'
  declare initLoraWeights: boolean
  declare fanInFanOut: boolean
  declare r: number
  declare trainableTokenIndices: readonly number[] | Readonly<Record<string, readonly number[]>> | null
  declare targetModules: readonly string[] | string | null
  declare excludeModules: readonly string[] | string | null
  declare layersToTransform: readonly number[] | number | null
  declare layersPattern: readonly string[] | string | null
  declare modulesToSave: readonly string[] | null

  /** @throws for an option that does not exist, has a value out of range, or is not implemented */
  constructor(options: AdaLoraConfigOptions = {}) {
    super()
    this.assign(options)
    this.#validate()
    if (this.totalStep !== null) checkSchedule(this, this.totalStep)
  }

  /** The configuration in the JSON of a file. */
  static fromJson(json: unknown, label: string): AdaLoraConfig {
    // Files may hold an `r`, which means nothing to AdaLoRA.
    const { r, ...options } = optionsFromJson(json, ADALORA_DEFAULTS, label)
    const config = new AdaLoraConfig(options)
    if (r !== undefined) config.r = r as number
    return config
  }

  protected override defaults(): ConfigDefaults {
    return ADALORA_DEFAULTS
  }

  override toJSON(): Record<string, unknown> {
    // The one key of PEFT's that is not in snake_case.
    const { delta_t, ...others } = super.toJSON()
    return { ...others, deltaT: delta_t }
  }

  #validate(): void {
    const values = this as unknown as Record<string, unknown>
    const whole = (name: string, least: number) => {
      const value = values[name]
      if (!(Number.isInteger(value) && (value as number) >= least))
        fail(`${name} must be a whole number of at least ${least}, got ${value}`)
    }
    if (this.r !== ADALORA_DEFAULTS.r) {
      fail(`r means nothing to AdaLoRA, got ${this.r}; set initR, the rank at first, and targetR, the rank at the end`)
    }
    for (const name of ['initR', 'targetR', 'deltaT']) whole(name, 1)
    for (const name of ['tinit', 'tfinal']) whole(name, 0)
    if (this.totalStep !== null) whole('totalStep', 1)
    if (this.targetR > this.initR) {
      fail(`targetR ${this.targetR} is above initR ${this.initR}; ranks can only shrink, so begin with a higher initR`)
    }
    for (const name of ['beta1', 'beta2']) {
      const value = values[name] as number
      if (!(value > 0 && value < 1)) fail(`${name} must lie in (0, 1), got ${value}`)
    }
    if (!(this.orthRegWeight >= 0)) fail(`orthRegWeight must not be negative, got ${this.orthRegWeight}`)
    if (!Number.isFinite(this.loraAlpha)) fail(`loraAlpha must be a number, got ${this.loraAlpha}`)
    if (!(this.loraDropout >= 0 && this.loraDropout < 1))
      fail(`loraDropout must lie in [0, 1), got ${this.loraDropout}`)
    if (!['none', 'all', 'lora_only'].includes(this.bias))
      fail(`bias must be none, all or lora_only, got "${this.bias}"`)
    if (typeof this.initLoraWeights !== 'boolean') {
      fail(`initLoraWeights must be true or false, got ${JSON.stringify(this.initLoraWeights)}`)
    }
    if (this.layersToTransform !== null && typeof this.targetModules === 'string') {
      fail('layersToTransform works with a list of targetModules; put the layers into the expression')
    }
    if (this.layersPattern !== null && this.layersToTransform === null) {
      fail('layersPattern needs layersToTransform, the numbers of the layers')
    }
    for (const [name, value] of Object.entries(ADALORA_DEFAULTS)) {
      if (SUPPORTED.has(name) || JSON.stringify(values[name]) === JSON.stringify(value)) continue
      fail(
        `${name} is an option of LoRA that AdaLoRA does not have (got ${JSON.stringify(values[name])}); leave it at ${JSON.stringify(value)}, or use LoraConfig`,
      )
    }
  }
}

function fail(message: string): never {
  throw new Error(`AdaLoraConfig: ${message}`)
}

/** Throws where a training of so many steps leaves none in which ranks shrink. */
export function checkSchedule({ tinit, tfinal }: AdaLoraConfig, totalStep: number): void {
  if (tinit < totalStep - tfinal) return
  fail(
    `of ${totalStep} steps none is left to shrink ranks in: tinit is ${tinit} and tfinal ${tfinal}; lower them, or train for more steps`,
  )
}
