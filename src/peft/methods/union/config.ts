/** @file A union: several of AdapterHub's methods as one adapter. */
import { ADAPTERHUB } from '../../adapterhub/format.ts'
import { hubMethod } from '../../adapterhub/methods.ts'
import { type ConfigDefaults, optionsFromJson, PeftConfig, type PeftConfigOptions } from '../../config.ts'
import { getPeftConfig, getPeftMethod, type TargetOptions } from '../../method.ts'

/** A part of a union: the configuration of a method whose adapters AdapterHub's files hold. */
export type UnionPart = PeftConfig & TargetOptions

/** The options of {@link UnionConfig}. */
export interface UnionConfigOptions extends PeftConfigOptions {
  /** The parts. The task and the modules to save belong to the union, not to them. */
  configs: readonly UnionPart[]
  /** Modules that are trained as a whole and saved with the adapter: a head. */
  modulesToSave?: readonly string[] | null
}

const DEFAULTS: ConfigDefaults = { configs: [], modulesToSave: null }

/**
 * The configuration of an adapter that consists of others, each of which works on places of its own.
 *
 * @example
 * new UnionConfig({ configs: [new SeqBnConfig(), new AdapterHubLoraConfig({ r: 8 })] })
 */
export class UnionConfig extends PeftConfig {
  readonly peftType = 'ADAPTERHUB_UNION'
  declare configs: readonly UnionPart[]
  declare modulesToSave: readonly string[] | null

  /** @throws for an option that does not exist, and for parts that cannot be in a union */
  constructor({ configs, ...options }: UnionConfigOptions) {
    super()
    this.assign(options)
    const parts: unknown = configs
    if (!Array.isArray(parts) || parts.length === 0) {
      throw new Error(`UnionConfig: configs must be a list of configurations, got ${JSON.stringify(configs)}`)
    }
    for (const part of parts) requirePart(part)
    this.configs = parts.map(part => part.with({}))
  }

  /** The configuration in JSON under this library's names. */
  static fromJson(json: unknown, label: string): UnionConfig {
    const options = optionsFromJson(json, DEFAULTS, label)
    const { configs } = options
    if (!Array.isArray(configs)) {
      throw new Error(`${label}: "configs" must be a list of configurations, got ${JSON.stringify(configs)}`)
    }
    return new UnionConfig({
      ...options,
      configs: configs.map((part, i) => getPeftConfig(part, `${label}: configs[${i}]`)),
    })
  }

  override with(options: object): this {
    const { configs, ...others } = options as Partial<UnionConfigOptions>
    const copy = super.with(others)
    copy.configs = (configs ?? this.configs).map(part => part.with({}))
    return copy
  }

  override toJSON(): Record<string, unknown> {
    return { ...super.toJSON(), configs: this.configs.map(part => part.toJSON()) }
  }

  protected override defaults(): ConfigDefaults {
    return DEFAULTS
  }
}

/** Refuses what cannot be a part of a union. */
function requirePart(part: unknown): void {
  if (!(part instanceof PeftConfig)) {
    throw new Error(`UnionConfig: every part must be a configuration, got ${JSON.stringify(part)}`)
  }
  if (part instanceof UnionConfig) throw new Error('UnionConfig: a union cannot be a part of a union; list its parts')
  const { peftType, taskType, modulesToSave } = part as UnionPart
  const { name } = part.constructor
  hubMethod(peftType)
  if (getPeftMethod(peftType).format?.(part) !== ADAPTERHUB) {
    throw new Error(
      `UnionConfig: ${name} names targetModules, which AdapterHub's files have no place for; leave them out`,
    )
  }
  if (taskType === null && !modulesToSave?.length) return
  throw new Error(
    `UnionConfig: taskType and modulesToSave belong to the union, not to its part ${name}; give them to the union`,
  )
}
