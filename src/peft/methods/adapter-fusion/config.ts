/** @file The options of AdapterFusion, with AdapterHub's names and defaults. */
import { type ConfigDefaults, optionsFromJson, PeftConfig, type PeftConfigOptions } from '../../config.ts'

/** The options of {@link AdapterFusionConfig}. */
export interface AdapterFusionConfigOptions extends PeftConfigOptions {
  /** The adapters that are mixed; the fusion's own name is theirs, joined by commas. */
  adapterNames?: readonly string[]
  /** Whether keys are projected (true). */
  key?: boolean
  /** Whether the query is projected (true). */
  query?: boolean
  /** Whether values are projected (true). */
  value?: boolean
  /** Whether the sublayer's result is the query before the normalisation (false). */
  queryBeforeLn?: boolean
  /** Whether the projection of values is held near the identity (true). */
  regularization?: boolean
  /** Whether the residual is added to keys and values instead of to the result (false). */
  residualBefore?: boolean
  /** Whether the softmax begins hot and cools while training (false). */
  temperature?: boolean
  /** Whether values are projected before they are mixed (true). */
  valueBeforeSoftmax?: boolean
  /** Whether the projection of values begins near the identity (true). */
  valueInitialized?: boolean
  /** The probability of dropping a score while training; by default the model's for attention. */
  dropoutProb?: number | null
  modulesToSave?: readonly string[] | null
}

/** AdapterHub's options with the defaults of its `dynamic` fusion. */
export const FUSION_OPTIONS: ConfigDefaults = {
  dropoutProb: null,
  key: true,
  query: true,
  queryBeforeLn: false,
  regularization: true,
  residualBefore: false,
  temperature: false,
  value: true,
  valueBeforeSoftmax: true,
  valueInitialized: true,
}

const DEFAULTS: ConfigDefaults = { ...FUSION_OPTIONS, adapterNames: [], modulesToSave: null }

/** The configuration of a fusion of adapters (arXiv 2005.00247). */
export class AdapterFusionConfig extends PeftConfig {
  readonly peftType = 'ADAPTER_FUSION'
  declare adapterNames: readonly string[]
  declare key: boolean
  declare query: boolean
  declare value: boolean
  declare queryBeforeLn: boolean
  declare regularization: boolean
  declare residualBefore: boolean
  declare temperature: boolean
  declare valueBeforeSoftmax: boolean
  declare valueInitialized: boolean
  declare dropoutProb: number | null
  declare modulesToSave: readonly string[] | null

  /** @throws for an option that does not exist */
  constructor(options: AdapterFusionConfigOptions = {}) {
    super()
    this.assign(options)
    const { dropoutProb: p } = this
    if (p !== null && !(p >= 0 && p < 1)) {
      throw new Error(`AdapterFusionConfig: dropoutProb must lie in [0, 1) or be null, got ${p}`)
    }
  }

  /** The configuration in the JSON of a file. */
  static fromJson(json: unknown, label: string): AdapterFusionConfig {
    return new AdapterFusionConfig(optionsFromJson(json, DEFAULTS, label))
  }

  protected override defaults(): ConfigDefaults {
    return DEFAULTS
  }
}

/** AdapterHub's `static` fusion: without a projection of values. */
export class StaticAdapterFusionConfig extends AdapterFusionConfig {
  constructor(options: AdapterFusionConfigOptions = {}) {
    super({ value: false, valueInitialized: false, regularization: false, ...options })
  }
}
