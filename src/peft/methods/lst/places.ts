/** @file Where a ladder leans: the layers of a model, and the place that its last hidden state comes from. */
import { AttentionModule } from '../../../models/attention-context.ts'
import { LayerNorm, type Module, ModuleList, Residual, RMSNorm } from '../../../nn/index.ts'
import { baseModules, unwrapped } from '../../adapted-tree.ts'
import type { ModelFacts } from '../../method.ts'
import type { LstConfig } from './config.ts'

/** What a side network takes from the model. */
export interface LadderPlaces {
  /** The paths of the layers that have a rung, in their order. */
  rungs: readonly string[]
  /** The path of what gives the last hidden state: the normalisation behind the layers, or the last layer. */
  top: string
  /** The width of the hidden states. */
  width: number
  heads: number
  /** The inner width of the feed-forward networks. */
  inner: number
  isDecoder: boolean
}

const nameOf = (path: string) => path.slice(path.lastIndexOf('.') + 1)
const parentOf = (path: string) => path.slice(0, Math.max(path.lastIndexOf('.'), 0))

/**
 * The places of a model.
 *
 * @throws for models without one row of transformer layers, and for `sideLayers` that it does not have
 */
export function ladderPlaces({ sideLayers }: Pick<LstConfig, 'sideLayers'>, model: ModelFacts): LadderPlaces {
  const modules = new Map([...baseModules(model.tree)].map(({ path, module }) => [path, unwrapped(module)]))
  const inside = (path: string) =>
    [...modules].filter(([other]) => other.startsWith(`${path}.`)).map(([, part]) => part)
  const rows = [...modules].filter(
    ([path, module]) => module instanceof ModuleList && inside(path).some(part => part instanceof AttentionModule),
  )
  const [first, ...others] = rows.filter(([path]) => !rows.some(([outer]) => path.startsWith(`${outer}.`)))
  const { name } = model.base.constructor
  if (!first) {
    throw new Error(
      `LST puts a side network beside the layers of a transformer, and ${name} has none; use a method that works on layers, such as LORA`,
    )
  }
  if (others.length) {
    throw new Error(
      `LST needs one row of layers, and ${name} has ${others.length + 1} (${[first, ...others].map(([path]) => path).join(', ')}): a ladder for an encoder and another for a decoder are not built. Use another method, such as LORA or a bottleneck adapter.`,
    )
  }
  const [row] = first
  const layers = [...modules.keys()].filter(path => parentOf(path) === row && /^\d+$/.test(nameOf(path)))
  const wanted = sideLayers ?? layers.map((_, i) => i)
  const stranger = wanted.find(layer => !(layer in layers))
  if (stranger !== undefined || wanted.length === 0) {
    throw new Error(
      `LST: sideLayers names ${stranger ?? 'no layer'}; ${name} has the layers 0 to ${layers.length - 1}, name some of them or leave sideLayers out`,
    )
  }
  const parts = inside(row)
  const attention = parts.find(part => part instanceof AttentionModule)!
  const { width } = parts.find(part => part instanceof Residual) as Residual
  return {
    rungs: layers.filter((_, i) => wanted.includes(i)),
    top: normalisationBehind(modules, row) ?? layers.at(-1)!,
    width,
    heads: Math.max(1, Math.floor(width / attention.headWidth)),
    inner: innerWidth(model, width),
    isDecoder: attention.role === 'decoder',
  }
}

/** The normalisation that stands beside a row of layers and behind it. */
function normalisationBehind(modules: ReadonlyMap<string, Module>, row: string): string | undefined {
  const beside = [...modules.keys()].filter(path => path !== '' && parentOf(path) === parentOf(row))
  return beside.slice(beside.indexOf(row) + 1).find(path => {
    const module = modules.get(path)
    return module instanceof LayerNorm || module instanceof RMSNorm
  })
}

function innerWidth({ config }: ModelFacts, width: number): number {
  const { intermediate_size, hidden_dim, n_inner } = config as unknown as Record<string, number | undefined | null>
  return intermediate_size ?? hidden_dim ?? n_inner ?? 4 * width
}
