/** @file The options of AdapterHub's LoRA and its kin, with AdapterHub's names and defaults. */
import { type ConfigDefaults, optionsFromJson, PeftConfig, type PeftConfigOptions } from '../../config.ts'
import type { TargetOptions } from '../../method.ts'

/** A matrix of the attention: queries, keys or values. */
export type AttentionMatrix = 'q' | 'k' | 'v'

/** How AdapterHub draws first values. */
export type HubLoraInit = 'lora' | 'bert' | 'ia3' | 'vera'

/** The options of {@link AdapterHubLoraConfig}. */
export interface AdapterHubLoraConfigOptions extends PeftConfigOptions, TargetOptions {
  /** Whether the attention's matrices are adapted, of cross-attention too (true). */
  selfattnLora?: boolean
  /** Whether the first dense layer of the feed-forward network is adapted (false). */
  intermediateLora?: boolean
  /** Whether its last dense layer is adapted (false). */
  outputLora?: boolean
  /** The numbers of the layers that get no adapter. */
  leaveOut?: readonly number[]
  /** The rank (8). */
  r?: number
  /** The effect is multiplied by alpha / r; with `scale` by alpha (8). */
  alpha?: number
  /** The probability of dropping an element of the adapter's input while training (0). */
  dropout?: number
  /** Which of the attention's matrices (`['q', 'v']`). */
  attnMatrices?: readonly AttentionMatrix[]
  /** `add` for an update of low rank, `scale` for a factor on each output ((IA)³). */
  compositionMode?: 'add' | 'scale'
  /** How first values are drawn (`lora`: nothing is changed at first). */
  initWeights?: HubLoraInit
  /** Draws the first values in the place of the model's seed (null). */
  initWeightsSeed?: number | null
  /** Whether a learnt gate, averaged over the sequence, takes the place of the scale (false). */
  useGating?: boolean
  /** Whether the rows of the weight get lengths that are learnt (DoRA; false). */
  useDora?: boolean
  /** With {@link veraB}: VeRA, whose trained matrix between the shared ones begins as this multiple of the identity. */
  veraD?: number | null
  /** With {@link veraD}: the multiple of the identity that the trained matrix behind the shared ones begins as. */
  veraB?: number | null
  /** Kept for the file: the type that AdapterHub holds the adapter's tensors in. */
  dtype?: string | null
  /** Dense layers that get an adapter, in the place of those that the options above choose; for models of one's own. */
  targetModules?: readonly string[] | string | null
}

/** AdapterHub's options with their defaults. */
export const HUB_LORA_OPTIONS: ConfigDefaults = {
  alpha: 8,
  attnMatrices: ['q', 'v'],
  compositionMode: 'add',
  dropout: 0,
  dtype: null,
  initWeights: 'lora',
  initWeightsSeed: null,
  intermediateLora: false,
  leaveOut: [],
  outputLora: false,
  r: 8,
  selfattnLora: true,
  useDora: false,
  useGating: false,
  veraB: null,
  veraD: null,
}

/** Every option with its default; those of the target modules have no place in AdapterHub's files. */
const DEFAULTS: ConfigDefaults = { ...HUB_LORA_OPTIONS, excludeModules: null, modulesToSave: null, targetModules: null }

const FLAGS = Object.keys(HUB_LORA_OPTIONS).filter(name => typeof HUB_LORA_OPTIONS[name] === 'boolean')

/** The configuration of a LoRA adapter as AdapterHub computes it (arXiv 2106.09685). */
export class AdapterHubLoraConfig extends PeftConfig {
  readonly peftType = 'ADAPTERHUB_LORA'
  declare selfattnLora: boolean
  declare intermediateLora: boolean
  declare outputLora: boolean
  declare leaveOut: readonly number[]
  declare r: number
  declare alpha: number
  declare dropout: number
  declare attnMatrices: readonly AttentionMatrix[]
  declare compositionMode: 'add' | 'scale'
  declare initWeights: HubLoraInit
  declare initWeightsSeed: number | null
  declare useGating: boolean
  declare useDora: boolean
  declare veraD: number | null
  declare veraB: number | null
  declare dtype: string | null
  declare targetModules: readonly string[] | string | null
  declare excludeModules: readonly string[] | string | null
  declare modulesToSave: readonly string[] | null

  /** @throws for an option that does not exist or has a value out of range */
  constructor(options: AdapterHubLoraConfigOptions = {}) {
    super()
    this.assign(options)
    validate(this)
  }

  /** The configuration in JSON under this library's names. */
  static fromJson(json: unknown, label: string): AdapterHubLoraConfig {
    return new AdapterHubLoraConfig(optionsFromJson(json, DEFAULTS, label))
  }

  protected override defaults(): ConfigDefaults {
    return DEFAULTS
  }
}

/** Whether the adapter is VeRA: trained square matrices around random ones that all layers share. */
export function isVera({ veraD }: AdapterHubLoraConfig): boolean {
  return veraD !== null
}

function validate(config: AdapterHubLoraConfig): void {
  const values = config as unknown as Record<string, unknown>
  const fail = (message: string): never => {
    throw new Error(`${config.constructor.name}: ${message}`)
  }
  const demand = (name: string, isRight: boolean, expected: string) => {
    if (!isRight) fail(`${name} must be ${expected}, got ${JSON.stringify(values[name])}`)
  }
  for (const name of FLAGS) demand(name, typeof values[name] === 'boolean', 'true or false')
  const { r, alpha, dropout, attnMatrices, leaveOut, compositionMode, initWeights, veraB, veraD, useDora } = config
  demand('r', Number.isInteger(r) && r > 0, 'a whole number above 0')
  demand('alpha', Number.isFinite(alpha), 'a number')
  demand('dropout', dropout >= 0 && dropout < 1, 'a number in [0, 1)')
  const isMatrix = (name: unknown) => ['q', 'k', 'v'].includes(name as string)
  demand('attnMatrices', Array.isArray(attnMatrices) && attnMatrices.every(isMatrix), 'a list of "q", "k" and "v"')
  const isLayer = (layer: unknown) => Number.isInteger(layer) && (layer as number) >= 0
  demand('leaveOut', Array.isArray(leaveOut) && leaveOut.every(isLayer), 'a list of layer numbers')
  demand('compositionMode', ['add', 'scale'].includes(compositionMode), '"add" or "scale"')
  const inits = ['lora', 'bert', 'ia3', 'vera']
  demand('initWeights', inits.includes(initWeights), inits.map(name => `"${name}"`).join(' or '))
  for (const name of ['veraB', 'veraD']) {
    demand(name, values[name] === null || Number.isFinite(values[name]), 'a number or null')
  }
  if ((veraB === null) !== (veraD === null)) fail('veraB and veraD belong together; give both (VeRA) or neither')
  if (compositionMode === 'add') return
  if (r !== 1) fail(`compositionMode "scale" has one factor for each output, so r must be 1, got ${r}`)
  if (dropout !== 0) fail('compositionMode "scale" has no dropout; leave it out')
  if (useDora || veraD !== null) fail('compositionMode "scale" goes neither with useDora nor with veraD and veraB')
  if (initWeights === 'vera') fail('compositionMode "scale" begins as "ia3", "lora" or "bert", not as "vera"')
}
