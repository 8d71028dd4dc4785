/** @file The options of AdapterHub's prefix tuning, with its names and defaults. */
import { hubActivation } from '../../adapterhub/activations.ts'
import { type ConfigDefaults, optionsFromJson, PeftConfig, type PeftConfigOptions } from '../../config.ts'

/** The options of {@link AdapterHubPrefixConfig}. */
export interface AdapterHubPrefixConfigOptions extends PeftConfigOptions {
  /** Whether the encoder of a model with a decoder gets prefixes (true). */
  encoderPrefix?: boolean
  /** Whether the cross-attention of such a model gets prefixes (true). */
  crossPrefix?: boolean
  /** The numbers of the layers that get no prefix; those of a decoder go on after those of its encoder. */
  leaveOut?: readonly number[]
  /** Whether keys and values are trained as they are, in the place of a network that makes them (false). */
  flat?: boolean
  /** The number of keys and values in front of each layer's own (30). */
  prefixLength?: number
  /** The width of the network that makes them (512). */
  bottleneckSize?: number
  /** The activation in that network, by Transformers' names, or `leakyrelu` (`tanh`). */
  nonLinearity?: string
  /** The probability of dropping an element of keys and values while training (0). */
  dropout?: number
  /** Whether the prefix is multiplied by a learnt gate, averaged over the sequence (false). */
  useGating?: boolean
  /** Whether keys and values have one gate, or one each (true). */
  sharedGating?: boolean
  /** Draws the first values in the place of the model's seed (null). */
  initWeightsSeed?: number | null
  /** Modules that are trained as a whole and saved with the adapter: a head. */
  modulesToSave?: readonly string[] | null
}

/** AdapterHub's options with their defaults. */
export const HUB_PREFIX_OPTIONS: ConfigDefaults = {
  bottleneckSize: 512,
  crossPrefix: true,
  dropout: 0,
  encoderPrefix: true,
  flat: false,
  initWeightsSeed: null,
  leaveOut: [],
  nonLinearity: 'tanh',
  prefixLength: 30,
  sharedGating: true,
  useGating: false,
}

const DEFAULTS: ConfigDefaults = { ...HUB_PREFIX_OPTIONS, modulesToSave: null }

const FLAGS = Object.keys(HUB_PREFIX_OPTIONS).filter(name => typeof HUB_PREFIX_OPTIONS[name] === 'boolean')

/** The configuration of prefix tuning as AdapterHub computes it (arXiv 2101.00190). */
export class AdapterHubPrefixConfig extends PeftConfig {
  readonly peftType = 'ADAPTERHUB_PREFIX'
  declare encoderPrefix: boolean
  declare crossPrefix: boolean
  declare leaveOut: readonly number[]
  declare flat: boolean
  declare prefixLength: number
  declare bottleneckSize: number
  declare nonLinearity: string
  declare dropout: number
  declare useGating: boolean
  declare sharedGating: boolean
  declare initWeightsSeed: number | null
  declare modulesToSave: readonly string[] | null

  /** @throws for an option that does not exist or has a value out of range */
  constructor(options: AdapterHubPrefixConfigOptions = {}) {
    super()
    this.assign(options)
    const values = this as unknown as Record<string, unknown>
    const demand = (name: string, isRight: boolean, expected: string) => {
      if (isRight) return
      throw new Error(`AdapterHubPrefixConfig: ${name} must be ${expected}, got ${JSON.stringify(values[name])}`)
    }
    for (const name of FLAGS) demand(name, typeof values[name] === 'boolean', 'true or false')
    for (const name of ['prefixLength', 'bottleneckSize'] as const) {
      demand(name, Number.isInteger(this[name]) && this[name] > 0, 'a whole number above 0')
    }
    demand('dropout', this.dropout >= 0 && this.dropout < 1, 'a number in [0, 1)')
    const isLayer = (layer: unknown) => Number.isInteger(layer) && (layer as number) >= 0
    demand('leaveOut', Array.isArray(this.leaveOut) && this.leaveOut.every(isLayer), 'a list of layer numbers')
    demand('nonLinearity', typeof this.nonLinearity === 'string', 'the name of an activation')
    hubActivation(this.nonLinearity)
  }

  /** The configuration in JSON under this library's names. */
  static fromJson(json: unknown, label: string): AdapterHubPrefixConfig {
    return new AdapterHubPrefixConfig(optionsFromJson(json, DEFAULTS, label))
  }

  protected override defaults(): ConfigDefaults {
    return DEFAULTS
  }
}

/** Keys and values that are trained as they are. */
export class AdapterHubFlatPrefixConfig extends AdapterHubPrefixConfig {
  constructor(options: AdapterHubPrefixConfigOptions = {}) {
    super({ flat: true, ...options })
  }
}
