/** @file The options of KronA. */
import { type ConfigDefaults, optionsFromJson, PeftConfig, type PeftConfigOptions } from '../../config.ts'
import type { TargetOptions } from '../../method.ts'

/** The options of {@link KronAConfig}. */
export interface KronAConfigOptions extends PeftConfigOptions, TargetOptions {
  /** The shape of the left factor, rows and columns; by default the whole numbers nearest to the roots of out and in. */
  factorShape?: readonly [rows: number, columns: number] | null
  /** The factor on the update (1). */
  scaling?: number
  /** Whether the right factor begins at zero, so that nothing changes at first (true). */
  initWeights?: boolean
}

/** Every option with its default. */
export const KRONA_DEFAULTS: ConfigDefaults = {
  excludeModules: null,
  factorShape: null,
  initWeights: true,
  layersPattern: null,
  layersToTransform: null,
  modulesToSave: null,
  scaling: 1,
  targetModules: null,
}

/** The configuration of a KronA adapter (arXiv 2212.10650). */
export class KronAConfig extends PeftConfig {
  readonly peftType = 'KRONA'
  declare targetModules: readonly string[] | string | null
  declare excludeModules: readonly string[] | string | null
  declare layersToTransform: readonly number[] | number | null
  declare layersPattern: readonly string[] | string | null
  declare modulesToSave: readonly string[] | null
  declare factorShape: readonly [number, number] | null
  declare scaling: number
  declare initWeights: boolean

  /** @throws for an option that does not exist or has a value out of range */
  constructor(options: KronAConfigOptions = {}) {
    super()
    this.assign(options)
    const { factorShape: shape, scaling } = this
    if (shape !== null && !(shape.length === 2 && shape.every(size => Number.isInteger(size) && size > 0))) {
      throw new Error(`KronAConfig: factorShape must be two whole numbers above 0, got ${JSON.stringify(shape)}`)
    }
    if (!Number.isFinite(scaling)) throw new Error(`KronAConfig: scaling must be a number, got ${scaling}`)
  }

  /** The configuration in the JSON of a file. */
  static fromJson(json: unknown, label: string): KronAConfig {
    return new KronAConfig(optionsFromJson(json, KRONA_DEFAULTS, label))
  }

  protected override defaults(): ConfigDefaults {
    return KRONA_DEFAULTS
  }
}

/** The divisor of `size` that is nearest to its root, from below. */
function middleDivisor(size: number): number {
  let divisor = Math.floor(Math.sqrt(size))
  while (size % divisor !== 0) divisor--
  return divisor
}

/**
 * The shapes of both factors for a dense layer: their Kronecker product is `[out, in]`.
 *
 * @throws when the left factor's shape does not divide the layer's
 */
export function factorShapes({ factorShape }: KronAConfig, out: number, input: number) {
  const [rows, columns] = factorShape ?? [middleDivisor(out), middleDivisor(input)]
  if (out % rows || input % columns) {
    throw new Error(
      `KRONA: factorShape [${rows}, ${columns}] does not divide a layer of shape [${out}, ${input}]; take divisors of both`,
    )
  }
  return { left: [rows, columns], right: [out / rows, input / columns] } as const
}
