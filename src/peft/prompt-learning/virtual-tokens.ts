/** @file The table of virtual tokens, with layers over it or alone. */
import { graphOf, type Tensor } from '../../graph/index.ts'
import { Embedding, Module } from '../../nn/index.ts'
import type { Random } from '../../util/random.ts'

/**
 * What gives the values of virtual tokens. While they are learnt there may be layers over the table (PEFT's
 * reparameterisation); in PEFT's file stands what these compute, and who reads that has a table alone.
 */
export abstract class VirtualTokens extends Module {
  embedding: Embedding
  /** Whether the table itself holds the result. */
  isPlain: boolean
  /** The shape of the result. */
  readonly resultShape: readonly [tokens: number, width: number]

  constructor(resultShape: readonly [number, number]) {
    super()
    this.resultShape = resultShape
    this.isPlain = true
    this.embedding = new Embedding(...resultShape)
  }

  /** Puts the layers over a table of their own. All parameters are without values then. */
  protected abstract addLayers(): void
  /** Takes the layers away. */
  protected abstract removeLayers(): void
  /** What the layers make of the table, `[tokens, width]`. */
  protected abstract encode(table: Tensor): Tensor

  /** Makes it a table with layers, or a table alone, of which the values are drawn. */
  become(form: 'plain' | 'layered', random: (name: string) => Random): void {
    this.isPlain = form === 'plain'
    this.removeLayers()
    this.embedding = new Embedding(...this.resultShape)
    if (form === 'layered') this.addLayers()
    this.draw(random)
  }

  /** Gives values to the parameters that have none. */
  draw(random: (name: string) => Random): void {
    for (const [name, parameter] of this.namedParameters()) {
      if (!parameter.hasValue) parameter.data = parameter.init!(random(name), parameter.shape)
    }
  }

  /** The values of the virtual tokens, `[tokens, width]`. */
  forward(): Tensor {
    const table = this.embedding.weight.trace(graphOf([]))
    return this.isPlain ? table : this.encode(table)
  }
}
