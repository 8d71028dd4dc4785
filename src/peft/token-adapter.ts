/** @file Single tokens that adapters train: rows of an embedding, and of the heads tied to it, replaced by trained ones. */
import {
  cast,
  embeddingLookup,
  gather,
  greater,
  maximum,
  reshape,
  scatterAddRows,
  sub,
  type Tensor,
  toTensor,
  unsqueeze,
  where,
} from '../graph/index.ts'
import { Embedding, Linear, Module, Parameter, ParameterDict } from '../nn/index.ts'
import type { Random } from '../util/random.ts'
import { readSourceFloat32 } from '../weights/index.ts'
import { baseModules, unwrapped } from './adapted-tree.ts'
import { type AdapterState, ParameterTunerLayer, tunerAt } from './tuner-layer.ts'

/** Whether a module holds a vector for each token: an embedding, or a head over the vocabulary. */
export function isTokenTable(module: Module): module is Embedding | Linear {
  return module instanceof Embedding || module instanceof Linear
}

/** What {@link TokenLayer.addAdapter} is given. */
export interface TokenOptions {
  /** The rows that train. */
  tokens: readonly number[]
  /** Draws the first values; without it they are the base's, so that nothing changes at first. */
  random?: Random
}

/**
 * An {@link Embedding} or a {@link Linear} of which adapters have rows of their own. The trained rows take the place of
 * the base's (they are not added to them), in look-ups as in products; a bias stays.
 */
export abstract class TokenLayer extends ParameterTunerLayer<Embedding | Linear> {
  /** The rows of each adapter, by its name. */
  readonly tokens: Record<string, readonly number[]> = {}

  /** The trained rows, `[tokens, width]` for each adapter. */
  abstract get rows(): ParameterDict

  /**
   * Gives an adapter its rows.
   *
   * @throws for an index that is no row of the table, and for one that is named twice
   */
  addAdapter(name: string, { tokens, random }: TokenOptions): void {
    const { weight } = this.original
    const [count, width] = weight.shape
    checkTokens(tokens, count)
    this.tokens[name] = [...tokens]
    const shape = [tokens.length, width]
    const drawn = () => Float32Array.from({ length: tokens.length * width }, () => random!.normal())
    const isKnown = random !== undefined || weight.isLoaded
    const rows = isKnown
      ? Parameter.from(random ? drawn() : rowsOf(weight.data, tokens, width), shape)
      : Parameter.computed(shape, () => readRows(weight, tokens))
    this.rows.set(name, rows)
  }

  /** Lets an adapter have the same rows here as in `leader`: what is tied stays tied. */
  follow(name: string, leader: TokenLayer): void {
    this.tokens[name] = leader.tokens[name]
    this.rows.set(name, leader.rows.get(name)!)
  }

  override adapterNames(): string[] {
    return this.rows.keys()
  }

  override deleteAdapter(name: string): void {
    delete this.tokens[name]
    this.rows.delete(name)
  }

  protected override adapt(adapters: readonly string[], ...inputs: unknown[]): unknown {
    const { base_layer } = this
    // A plain look-up needs the rows of its own tokens only, never the table with all replacements.
    if (base_layer.constructor !== Embedding) return super.adapt(adapters, ...inputs)
    this.refuseOverlap(adapters)
    const [ids] = inputs as [Tensor]
    let result: Tensor = base_layer.forward(ids)
    for (const name of adapters) result = this.lookUp(name, ids, result)
    return result
  }

  /** `others`, but for the tokens of an adapter its rows. */
  private lookUp(name: string, ids: Tensor, others: Tensor): Tensor {
    const { graph } = ids
    const tokens = this.tokens[name]
    const { paddingIndex, numEmbeddings } = this.original as Embedding
    const numbers = graph.constant(
      tokens.map((_, i) => i + 1),
      'float32',
    )
    // For each row of the table the number of the trained row that replaces it, 0 for none.
    const numberOf = scatterAddRows(graph.constant(tokens, 'int64'), numbers, numEmbeddings)
    const number = gather(numberOf, ids)
    const padding = paddingIndex === undefined ? -1 : tokens.indexOf(paddingIndex)
    const at = cast(maximum(sub(number, 1), 0), 'int64')
    const rows = embeddingLookup(this.rows.get(name)!, at, padding < 0 ? undefined : padding)
    return where(greater(unsqueeze(number, [-1]), 0), rows, others)
  }

  override mergedParameters(adapters: readonly string[]): Record<string, Tensor> {
    const own = adapters.filter(name => name in this.tokens)
    if (own.length === 0) return {}
    this.refuseOverlap(own)
    const { weight } = this.original
    const count = weight.shape[0]
    let merged: Tensor | Parameter = weight
    for (const name of own) {
      const rows = reshape(this.rows.get(name)!, this.rows.get(name)!.shape)
      const { graph } = rows
      const tokens = graph.constant(this.tokens[name], 'int64')
      const ones = graph.constant(
        this.tokens[name].map(() => 1),
        'float32',
      )
      const isOwn = greater(unsqueeze(scatterAddRows(tokens, ones, count), [1]), 0)
      merged = where(isOwn, scatterAddRows(tokens, rows, count), toTensor(graph, merged))
    }
    return { weight: merged as Tensor }
  }

  /** Two adapters cannot both have the last word on a token. */
  private refuseOverlap(adapters: readonly string[]): void {
    const owner = new Map<number, string>()
    for (const name of adapters) {
      for (const token of this.tokens[name]) {
        const other = owner.get(token)
        if (other !== undefined) {
          throw new Error(
            `The adapters "${other}" and "${name}" both train the token ${token}, so they cannot be active together; activate one of them, or train different tokens`,
          )
        }
        owner.set(token, name)
      }
    }
  }
}

function checkTokens(tokens: readonly number[], count: number): void {
  const seen = new Set<number>()
  for (const token of tokens) {
    if (!(Number.isInteger(token) && token >= 0 && token < count)) {
      throw new Error(
        `The token ${token} cannot be trained: the table has the rows 0 to ${count - 1}. Add new tokens to the tokenizer and to the model first, or take the index that the tokenizer gives.`,
      )
    }
    if (seen.has(token)) throw new Error(`The token ${token} is named twice; name each token to train once`)
    seen.add(token)
  }
}

function rowsOf(table: Float32Array, tokens: readonly number[], width: number): Float32Array {
  const rows = new Float32Array(tokens.length * width)
  for (const [i, token] of tokens.entries()) rows.set(table.subarray(token * width, (token + 1) * width), i * width)
  return rows
}

/** Some rows of a table; only they are read where it lies in a file. */
export async function readRows(weight: Parameter, tokens: readonly number[]): Promise<Float32Array> {
  const [count, width] = weight.shape
  const source = weight.isPending || weight.quantized ? undefined : weight.source
  if (source?.kind !== 'file') return rowsOf(await weight.read(), tokens, width)
  const rows = new Float32Array(tokens.length * width)
  const byteLength = source.byteLength / count
  for (const [i, token] of tokens.entries()) {
    const offset = source.offset + token * byteLength
    rows.set(await readSourceFloat32({ ...source, shape: [1, width], offset, byteLength }), i * width)
  }
  return rows
}

/** How a {@link TokenLayer} of one kind is made. */
type TokenLayerClass<L extends TokenLayer> = new (base: Embedding | Linear, state: AdapterState) => L

/** A tree with an adapter that is being put on it. */
interface TokenPlace {
  tree: Module
  adapterName: string
  state: AdapterState
}

/**
 * Lets every table that is tied to an embedding among `layers` have the adapter's rows too; those that are not wrapped
 * yet are wrapped. A head that is trained without its embedding stays alone.
 */
export function tieTokens<L extends TokenLayer>(
  type: TokenLayerClass<L>,
  layers: Iterable<TokenLayer>,
  { tree, adapterName, state }: TokenPlace,
): void {
  for (const leader of layers) {
    if (!(leader.original instanceof Embedding)) continue
    for (const { at, module } of [...baseModules(tree)]) {
      const table = unwrapped(module)
      if (!isTokenTable(table) || table.weight !== leader.original.weight) continue
      let layer = tunerAt(module, type)
      if ((layer as TokenLayer | undefined) === leader) continue
      if (!layer) {
        layer = new type(module as Embedding, state)
        tree.setSubmodule(at, layer)
      }
      layer.follow(adapterName, leader)
    }
  }
}

/** Holds the trained rows of a {@link TokenAdapterLayer}, under PEFT's name. */
export class TokenAdapter extends Module {
  /** `[tokens, width]` for each adapter. */
  trainable_tokens_delta = new ParameterDict()

  forward(): never {
    throw new Error('A TokenAdapter only holds rows; call the layer that it belongs to')
  }
}

/**
 * Trained tokens beside a method's own layers, with PEFT's names
 * (`embed_tokens.token_adapter.trainable_tokens_delta.default`).
 */
export class TokenAdapterLayer extends TokenLayer {
  token_adapter = new TokenAdapter()

  override get rows(): ParameterDict {
    return this.token_adapter.trainable_tokens_delta
  }
}

/**
 * Puts trained tokens on the table at `path` of the base model and on all that is tied to it; for methods that train
 * tokens beside their own layers, from their `attached`.
 *
 * @throws when there is no table of tokens at `path`
 */
export function attachTokens(path: string, options: TokenOptions & TokenPlace): TokenAdapterLayer {
  const { tree, adapterName, state } = options
  const place = [...baseModules(tree)].find(base => base.path === path)
  if (!place || !isTokenTable(unwrapped(place.module))) {
    throw new Error(
      `Tokens of "${path}" cannot be trained: ${place ? `it is a ${unwrapped(place.module).constructor.name}` : 'there is no such module'}; name an embedding, or a dense layer over the vocabulary`,
    )
  }
  let layer = tunerAt(place.module, TokenAdapterLayer)
  if (!layer) {
    layer = new TokenAdapterLayer(place.module as Embedding, state)
    tree.setSubmodule(place.at, layer)
  }
  layer.addAdapter(adapterName, options)
  tieTokens(TokenAdapterLayer, [layer], options)
  return layer
}

/** The parameters of a state dict, those that stand under several keys only under their first, as PEFT saves token adapters. */
export function withoutTies(own: ReadonlyMap<string, Parameter>): Map<string, Parameter> {
  const seen = new Set<Parameter>()
  return new Map([...own].filter(([, parameter]) => !seen.has(parameter) && seen.add(parameter)))
}
