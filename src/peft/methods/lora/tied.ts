/** @file Heads that are tied to an embedding: what LoRA does to the one it does to the other (`ensureWeightTying`). */
import { add, linear, mul, type Tensor } from '../../../graph/index.ts'
import { Embedding, Linear, Parameter } from '../../../nn/index.ts'
import { matrix, transposed } from '../../../util/linear-algebra/index.ts'
import { baseModules, unwrapped } from '../../adapted-tree.ts'
import type { AdapterContext, ModelFacts } from '../../method.ts'
import { ModulesToSaveWrapper } from '../../modules-to-save.ts'
import { tunerAt } from '../../tuner-layer.ts'
import type { LoraConfig } from './config.ts'
import { LoraEmbedding } from './embedding.ts'
import { LoraLayer } from './layer.ts'

/** LoRA on a dense layer whose weight is an embedding's: it has the embedding's update, `x (E + s (B A)ᵀ)ᵀ`. */
export class LoraTiedHead extends LoraLayer<Linear> {
  /** The embedding's matrices. They stand in the tree there, so not here too. */
  private readonly leaders: Record<string, LoraEmbedding> = {}

  /** Lets an adapter have the embedding's update. */
  follow(name: string, leader: LoraEmbedding): void {
    this.settings[name] = leader.settings[name]
    this.leaders[name] = leader
  }

  protected override createMatrices(): void {}

  override scaleOf(name: string) {
    return this.leaders[name].scaleOf(name)
  }

  override deleteAdapter(name: string): void {
    super.deleteAdapter(name)
    delete this.leaders[name]
  }

  protected override adapt(adapters: readonly string[], x: Tensor): Tensor {
    let result: Tensor = this.base_layer.forward(x)
    for (const name of adapters) {
      const { a, b } = this.leaders[name].matricesOf(name)
      const inner = mul(linear(x, b, undefined, true), this.scaleOf(name))
      result = add(result, linear(inner, a, undefined, true))
    }
    return result
  }

  override mergedParameters(adapters: readonly string[]): Record<string, Tensor> {
    const own = adapters.filter(name => name in this.settings)
    return own.length ? this.leaders[own[0]].mergedParameters(own) : {}
  }

  /** The matrices as PEFT saves them for a dense layer: those of the embedding, turned and exchanged. */
  savedMatrices(name: string): { a: Parameter; b: Parameter } {
    const { a, b } = this.leaders[name].matricesOf(name)
    return { a: turned(b), b: turned(a) }
  }
}

function turned(parameter: Parameter): Parameter {
  const [rows, columns] = parameter.shape
  return Parameter.computed(
    [columns, rows],
    async () => transposed(matrix(rows, columns, await parameter.read())).data,
    { requiresGrad: false },
  )
}

/** A module of the tree whose weight is an embedding's. */
interface TiedHead {
  path: string
  embedding: string
}

/** The dense layers whose weight is that of an embedding, by their paths. */
export function tiedHeads({ tree }: Pick<ModelFacts, 'tree'>): TiedHead[] {
  const modules = [...baseModules(tree)].map(({ path, module }) => ({ path, module: unwrapped(module) }))
  const embeddings = modules.filter(({ module }) => module instanceof Embedding)
  return modules.flatMap(({ path, module }) => {
    const embedding = embeddings.find(other => (other.module as Embedding).weight === (module as Linear).weight)
    return module instanceof Linear && embedding ? [{ path, embedding: embedding.path }] : []
  })
}

/** What of the targets is left to the embedding: heads that are tied follow it. */
export function withoutTiedHeads(config: LoraConfig, model: ModelFacts, named: readonly string[]) {
  const heads = config.ensureWeightTying ? tiedHeads(model) : []
  const isTied = new Set(heads.map(({ path }) => path))
  const leaders = heads.flatMap(({ path, embedding }) => (named.includes(path) ? [embedding] : []))
  const kept = named.filter(path => !isTied.has(path))
  return [...kept, ...leaders.filter(path => !kept.includes(path))]
}

/** Lets the heads that are tied to adapted embeddings follow them. */
export function tieHeads({ adapterName, config, model, layers, state }: AdapterContext<LoraConfig>): void {
  if (!config.ensureWeightTying) return
  for (const { path, embedding } of tiedHeads(model)) {
    const leader = layers.get(embedding)
    const lora = leader && tunerAt(leader, LoraEmbedding)
    if (!lora) continue
    const { at, module } = [...baseModules(model.tree)].find(base => base.path === path)!
    let head = tunerAt(module, LoraTiedHead)
    if (!head) {
      head = new LoraTiedHead(module as Linear, state)
      model.tree.setSubmodule(at, head)
    }
    head.follow(adapterName, lora)
  }
}

/** Lets modules that are tied to one which the adapter trains as a whole have the same trained copy. */
export function tieSavedModules({ adapterName, config, model, state }: AdapterContext<LoraConfig>): void {
  if (!config.ensureWeightTying) return
  const { tree } = model
  for (const { path, embedding } of tiedHeads(model)) {
    const places = [embedding, path].map(name => [...baseModules(tree)].find(base => base.path === name)!)
    const hasCopy = ({ module }: (typeof places)[number]) =>
      module instanceof ModulesToSaveWrapper && module.modules_to_save.has(adapterName)
    if (!places.some(hasCopy)) continue
    const [leader, follower] = places.map(place => {
      if (hasCopy(place)) return place.module as ModulesToSaveWrapper
      const wrapper = new ModulesToSaveWrapper(place.module, state)
      tree.setSubmodule(place.at, wrapper)
      wrapper.addAdapter(adapterName)
      return wrapper
    })
    const copies = [leader, follower].map(wrapper => wrapper.modules_to_save.get(adapterName) as Linear)
    copies[1].weight = copies[0].weight
  }
}
