/** @file The options of ladder side-tuning. */
import { type ConfigDefaults, optionsFromJson, PeftConfig, type PeftConfigOptions } from '../../config.ts'
import type { TargetOptions } from '../../method.ts'

/**
 * What a rung of the ladder is made of: a `transformer` block, as in the paper; or a `feed_forward` block, which works on
 * each position by itself and so needs no cache of its own when a text is generated.
 */
export type SideBlock = 'transformer' | 'feed_forward'

/** The options of {@link LstConfig}. */
export interface LstConfigOptions extends PeftConfigOptions, Pick<TargetOptions, 'modulesToSave'> {
  /** The side network is this many times narrower than the model (8). */
  reductionFactor?: number
  /** By default `transformer` for encoders, `feed_forward` for decoders (null). */
  sideBlock?: SideBlock | null
  /**
   * How many heads the attention of a transformer block has (null: as many as the model's, or the most of them that the
   * side network's width can be divided by). Their scores are most of what a step keeps: fewer heads need less memory.
   */
  sideHeads?: number | null
  /** The numbers of the layers that have a rung, the others are left out (null: all). */
  sideLayers?: readonly number[] | null
  /** What the gates' parameters are divided by: the smaller, the faster they move (0.1). */
  temperature?: number
  /**
   * Whether the side network's result is added to the model's last hidden state, which changes nothing at first (`add`),
   * or takes the place of it, as in the paper (`replace`).
   */
  output?: 'add' | 'replace'
  /** The probability of dropping elements inside the side network while training (0). */
  dropout?: number
}

/** Every option with its default. */
export const LST_DEFAULTS: ConfigDefaults = {
  dropout: 0,
  modulesToSave: null,
  output: 'add',
  reductionFactor: 8,
  sideBlock: null,
  sideHeads: null,
  sideLayers: null,
  temperature: 0.1,
}

/** The configuration of a ladder side network (arXiv 2206.06522). */
export class LstConfig extends PeftConfig {
  readonly peftType = 'LST'
  declare modulesToSave: readonly string[] | null
  declare reductionFactor: number
  declare sideBlock: SideBlock | null
  declare sideHeads: number | null
  declare sideLayers: readonly number[] | null
  declare temperature: number
  declare output: 'add' | 'replace'
  declare dropout: number

  /** @throws for an option that does not exist or has a value out of range */
  constructor(options: LstConfigOptions = {}) {
    super()
    this.assign(options)
    const { reductionFactor, sideBlock, sideHeads, temperature, output, dropout } = this
    const fail = (message: string): never => {
      throw new Error(`LstConfig: ${message}`)
    }
    if (!(reductionFactor >= 1)) fail(`reductionFactor must be at least 1, got ${reductionFactor}`)
    if (!(sideBlock === null || sideBlock === 'transformer' || sideBlock === 'feed_forward')) {
      fail(`sideBlock must be "transformer", "feed_forward" or null, got ${JSON.stringify(sideBlock)}`)
    }
    if (sideHeads !== null && !(Number.isInteger(sideHeads) && sideHeads > 0)) {
      fail(`sideHeads must be a whole number above 0, or null, got ${sideHeads}`)
    }
    if (!(temperature > 0)) fail(`temperature must be above 0, got ${temperature}`)
    if (output !== 'add' && output !== 'replace')
      fail(`output must be "add" or "replace", got ${JSON.stringify(output)}`)
    if (!(dropout >= 0 && dropout < 1)) fail(`dropout must lie in [0, 1), got ${dropout}`)
  }

  /** The configuration in the JSON of a file. */
  static fromJson(json: unknown, label: string): LstConfig {
    return new LstConfig(optionsFromJson(json, LST_DEFAULTS, label))
  }

  protected override defaults(): ConfigDefaults {
    return LST_DEFAULTS
  }
}
