/** @file Adapters that train chosen entries of a model's own parameters. */
export { empiricalFisher, type FisherOptions } from './fisher.ts'
export { SparseLayer } from './layer.ts'
export {
  chooseByFisher,
  type MaskBudget,
  reserveEntries,
  SPARSE_FILES,
  type SparseConfig,
  trainAllEntries,
  wrapSparse,
} from './method.ts'
export { allocate, largestEntries, type MaskScope } from './selection.ts'
export { type SparseTargetOptions, sparseSizes } from './targets.ts'
