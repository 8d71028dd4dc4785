/** @file From a graph to an ONNX model: composites expanded, dead nodes gone, nodes in the order that saves memory. */
import type { OnnxDType, OnnxModel, OnnxValueInfo } from '../../onnx/index.ts'
import type { Shape } from '../dim.ts'
import { defineOperator, type Tensor, type Weight } from '../graph.ts'
import { type DerivedLength, derivedLength } from '../operators/rows.ts'
import { expandComposites } from '../passes/expand-composites.ts'
import { flattenRows } from '../passes/flatten-rows.ts'
import { reachableNodes } from '../passes/rewrite.ts'
import { splitVectors } from '../passes/split-vectors.ts'
import { Emitter } from './emitter.ts'
import type { IntegerProducts } from './integer-products.ts'
import { type Lowering, lowerNode } from './operators.ts'
import { dequantized, isQuantized, KeptMatrices } from './quantized.ts'
import { RuntimeShapes } from './shapes.ts'

defineOperator('ScatterND', ([data]) => [data])

/** A dropout mask that the runtime draws before each run. */
export interface RandomInput {
  name: string
  shape: Shape
  /** The probability of keeping an element; those kept are scaled by `1 / keep`. */
  keep: number
  /** Which call of a random operator this is; with the seed of the run it decides the numbers. */
  site: number
}

/** A weight under its name in a model. */
export interface PlacedWeight {
  name: string
  weight: Weight
  /** How the model reads its bytes, from `offset` on, where that is not the weight's own type and shape. */
  view?: { dtype: OnnxDType; dims: readonly number[]; offset: number }
}

/** A model ready for an engine, with what it expects from outside. */
export interface LoweredModel {
  /** The model; the tensors of `weights` are missing from its initializers and are to be added under the same names. */
  model: OnnxModel
  inputs: { name: string; dtype: Tensor['dtype']; shape: Shape }[]
  outputs: { name: string; dtype: Tensor['dtype']; shape: Shape }[]
  weights: PlacedWeight[]
  random: RandomInput[]
  /** Lengths that the model works out while it runs, in an order in which each knows those before it. */
  derived: DerivedLength[]
}

/** What to emit for. */
export interface LoweringOptions {
  /** The kernels at hand: those of ONNX Runtime's CPU provider, or only standard ones. */
  target?: 'cpu' | 'standard'
  /**
   * How products with weights of quantised whole numbers are computed: on the packed values, with activations rounded to
   * 8 bits (false, the default), or on dequantised ones, exactly (true). Tables are always exact.
   */
  dequantize?: boolean
  /** Which products with weights held turned round are computed in 8-bit arithmetic, whatever `dequantize` says: none. */
  products?: IntegerProducts
  /**
   * Whether every byte of a quantised matrix is mapped once: what the engine maps in two forms counts twice as resident.
   * Products with tables then dequantise in both directions alike, where the forward kernel would be faster (false).
   */
  mapOnce?: boolean
}

/** Translates the computation of `outputs` into an ONNX model. */
export function lowerToOnnx(outputs: Readonly<Record<string, Tensor>>, options: LoweringOptions = {}): LoweredModel {
  const names = Object.keys(outputs)
  if (names.length === 0) throw new Error('There is nothing to compute: no outputs were asked for')
  const expanded = splitVectors(flattenRows(expandComposites(names.map(name => outputs[name])).outputs).outputs)
  const nodes = reachableNodes(expanded.outputs)
  const inputs = nodes.filter(node => node.op === 'Input').map(node => node.outputs[0])
  const declared = outputs[names[0]].graph.inputs
  const emitter = new Emitter([...declared.keys(), ...names])
  const used = new Set<Tensor>(expanded.outputs)
  // Who reads a quantised matrix writes what it reads of its parts.
  for (const node of nodes) if (node.op !== 'Dequantize') for (const input of node.inputs) used.add(input)
  const weights: LoweredModel['weights'] = []
  const views = new Map<string, string>()
  const lowering: Lowering = {
    emitter,
    shapes: new RuntimeShapes(emitter, inputs, declared),
    cpu: (options.target ?? 'cpu') === 'cpu',
    dequantize: options.dequantize ?? false,
    products: options.products ?? 'exact',
    mapOnce: options.mapOnce ?? false,
    isUsed: tensor => used.has(tensor),
    kept: new KeptMatrices(nodes, options),
    weightView: (tensor, dtype, dims, offset = 0) => {
      const key = `${tensor.node.id} ${dtype} ${dims} ${offset}`
      const known = views.get(key)
      if (known) return known
      const weight = tensor.node.attributes.weight as Weight
      const name = emitter.claimName(weight.name)
      weights.push({ name, weight, view: { dtype, dims, offset } })
      views.set(key, name)
      return name
    },
  }
  const random: RandomInput[] = []
  const derived = new Map<string, DerivedLength>()
  for (const node of nodes) {
    const [output] = node.outputs
    if (node.op === 'Input') {
      emitter.setName(output, node.attributes.name as string)
    } else if (node.op === 'Constant') {
      const { values, dtype, shape } = node.attributes as never
      emitter.setName(output, emitter.constant(values, dtype, shape))
    } else if (node.op === 'Weight') {
      if (!used.has(output)) continue
      const weight = node.attributes.weight as Weight
      const name = emitter.claimName(weight.name)
      weights.push({ name, weight })
      emitter.setName(output, name)
    } else if (node.op === 'DropoutMask') {
      const { shape, keep, site } = node.attributes as unknown as RandomInput
      const name = emitter.freshName('random')
      random.push({ name, shape, keep, site })
      emitter.setName(output, name)
    } else if (node.op !== 'Dequantize') {
      lowerNode(node, lowering)
      const length = derivedLength(node)
      if (length && !derived.has(length.name)) derived.set(length.name, length)
      for (const value of node.outputs) if (used.has(value)) emitter.types.set(emitter.nameOf(value), value)
    }
  }
  for (const input of inputs) {
    const name = emitter.nameOf(input)
    if (names.includes(name)) throw new Error(`"${name}" is the name of an input and of an output; rename the output`)
  }
  expanded.outputs.forEach((tensor, i) => {
    emitter.nodes.push({
      op: 'Identity',
      domain: '',
      name: `output.${names[i]}`,
      inputs: [isQuantized(tensor) ? dequantized(tensor, lowering) : emitter.nameOf(tensor)],
      outputs: [names[i]],
      attributes: {},
    })
  })
  const info = (name: string, { dtype, shape }: { dtype: Tensor['dtype']; shape: Shape }): OnnxValueInfo => ({
    name,
    dtype,
    dims: shape,
  })
  const described = (name: string, tensor: Tensor) => ({ name, dtype: tensor.dtype, shape: tensor.shape })
  const lowered = {
    inputs: inputs.map(tensor => described(emitter.nameOf(tensor), tensor)),
    outputs: names.map((name, i) => described(name, expanded.outputs[i])),
  }
  const known = new Set([...lowered.inputs, ...lowered.outputs, ...weights, ...random].map(({ name }) => name))
  for (const { name } of emitter.initializers) known.add(name)
  return {
    ...lowered,
    weights,
    random,
    derived: [...derived.values()],
    model: {
      irVersion: 10,
      producer: 'peft-ts',
      // 4-bit types came with version 21.
      opsets: { '': weights.some(({ view }) => view?.dtype === 'uint4') ? 21 : 20, [MICROSOFT_DOMAIN]: 1 },
      graph: {
        name: 'graph',
        // ONNX Runtime walks from the outputs and takes the producer with the highest index first. Written in reverse,
        // every node runs as late as its first reader allows, in the order of creation: values live shortest that way.
        nodes: emitter.nodes.reverse(),
        initializers: emitter.initializers,
        inputs: [
          ...lowered.inputs.map(input => info(input.name, input)),
          ...random.map(({ name, shape }) => info(name, { dtype: 'float32', shape })),
        ],
        outputs: lowered.outputs.map(output => info(output.name, output)),
        valueInfo: [...emitter.types].filter(([name]) => !known.has(name)).map(([name, type]) => info(name, type)),
      },
    },
  }
}

const MICROSOFT_DOMAIN = 'com.microsoft'
