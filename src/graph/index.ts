/** @file Symbolic tensors, the operators on them, and their translation to ONNX. */
export * from './dim.ts'
export * from './dtype.ts'
export * from './graph.ts'
export type { IntegerProducts } from './lowering/integer-products.ts'
export { executionOrder, type MemoryPlan, planMemory } from './lowering/memory.ts'
export { type LoweredModel, type LoweringOptions, lowerToOnnx, type RandomInput } from './lowering/model.ts'
export * from './operators/convolution.ts'
export * from './operators/elementwise.ts'
export * from './operators/indexing.ts'
export * from './operators/loss.ts'
export * from './operators/matmul.ts'
export * from './operators/normalization.ts'
export * from './operators/padding.ts'
export * from './operators/quantized.ts'
export * from './operators/random.ts'
export * from './operators/ranking.ts'
export * from './operators/reduce.ts'
export * from './operators/rotary.ts'
export * from './operators/rows.ts'
export * from './operators/scan.ts'
export * from './operators/shape.ts'
export {
  type FrozenPrefix,
  type FrozenPrefixOptions,
  findFrozenPrefix,
  replaceTensors,
} from './passes/frozen-prefix.ts'
export { pushSlices } from './passes/push-slices.ts'
export { type RewriteRule, type Rewritten, reachableNodes, rewrite } from './passes/rewrite.ts'
