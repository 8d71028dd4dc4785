/** @file How adapters of AdapterHub's LoRA family work together on one dense layer. */
import { add, concat, expand, mul, type Operand, slice, type Tensor } from '../../../graph/index.ts'
import type { Composer } from '../../composition.ts'
import type { HubLoraAdapter } from './adapter.ts'

/** What runs through a composition. */
export interface DenseFlow {
  /** What enters the layer. */
  input: Tensor
  /** What the layer gives without adapters. */
  base: Tensor
  /** What it gives with those so far. */
  result: Tensor
  /** The update of those so far; none before the first. */
  update?: Tensor
  /** The adapter that the update came from last, and `mixed` where rows with updates of both modes were joined. */
  last?: HubLoraAdapter | 'mixed'
}

/**
 * The blocks of a composition as AdapterHub computes them: an adapter in a stack takes the update of the one before it in
 * the place of the layer's input, and only the last update joins the layer's result.
 *
 * @param adapterOf an adapter by its name
 * @param weight the layer's weight before all adapters
 */
export function denseComposer(adapterOf: (name: string) => HubLoraAdapter, weight: () => Operand): Composer<DenseFlow> {
  const withUpdate = (flow: DenseFlow, adapter: HubLoraAdapter, update: Tensor): DenseFlow => {
    return { ...flow, update, last: adapter, result: adapter.join(flow.base, update, weight) }
  }
  return {
    name: 'ADAPTERHUB_LORA adapters',
    blocks: ['stack', 'batchSplit', 'parallel', 'average'],
    apply: (name, flow) => {
      const adapter = adapterOf(name)
      if (flow.last) requireReadable(name, adapter, flow)
      return withUpdate(flow, adapter, adapter.update(flow.input, flow.update))
    },
    size: ({ base }, axis) => base.shape[axis],
    slice: (flow, axis, start, end) => {
      const part = (x: Tensor) => slice(x, axis, start, end)
      const { update } = flow
      return {
        ...flow,
        input: part(flow.input),
        base: part(flow.base),
        result: part(flow.result),
        // The factors of (IA)³ are the same for all rows.
        ...(update && { update: update.shape[axis] === flow.base.shape[axis] ? part(update) : update }),
      }
    },
    join: (flows, axis) => {
      const of = (read: (flow: DenseFlow) => Tensor) => concat(flows.map(read), axis)
      const joined = {
        input: of(({ input }) => input),
        base: of(({ base }) => base),
        result: of(({ result }) => result),
      }
      if (modesOf(flows).length > 1) return { ...joined, last: 'mixed' }
      const update = of(({ base, update: own }) => {
        const shape = own!.shape.map((dim, i) => (i === axis ? base.shape[i] : dim))
        return expand(own!, shape)
      })
      return { ...joined, update, last: flows.at(-1)!.last }
    },
    average: (flows, weights) => {
      const { last } = flows.at(-1)!
      if (modesOf(flows).length > 1 || last === undefined || last === 'mixed') {
        throw new Error(
          'average: of adapters that add to the layer’s result and of adapters that scale it ((IA)³) there is no mean; average those of one compositionMode',
        )
      }
      const terms = flows.map(({ update }, i) => mul(update!, weights[i] / flows.length))
      return withUpdate(
        flows[0],
        last,
        terms.reduce((sum, term) => add(sum, term)),
      )
    },
  }
}

/** How the updates of several flows join the result. */
function modesOf(flows: readonly DenseFlow[]): string[] {
  return [...new Set(flows.map(({ last }) => (last instanceof Object ? last.config.compositionMode : 'mixed')))]
}

/** Refuses an adapter that cannot read the update before it. */
function requireReadable(name: string, { config, blocks }: HubLoraAdapter, { input, last }: DenseFlow): void {
  const { compositionMode: mode } = config
  if (last === 'mixed' || last!.config.compositionMode !== mode) {
    throw new Error(
      `stack: "${name}" (compositionMode "${mode}") cannot read the update of an adapter that joins the layer in another way; stack those of one compositionMode, or make both active with setAdapter([...])`,
    )
  }
  const outputs = blocks.count * blocks.width
  const inputs = input.shape.at(-1)!
  if (mode === 'scale' || inputs === outputs) return
  throw new Error(
    `stack: "${name}" reads the update of the adapter before it, and a layer of ${inputs} inputs and ${outputs} outputs has updates of another width than inputs; stack adapters on square layers, or make both active with setAdapter([...]), which adds them up`,
  )
}
