/** @file Reverse-mode automatic differentiation of graphs. */
export { gradients } from './gradients.ts'
export { type LossPartsOptions, lossInParts } from './loss-in-parts.ts'
export { type Recomputed, recomputeCheap, recomputeSegments } from './recompute.ts'
export { defineGradient, differentiableOperators, type GradientRule, type RuleContext, sumToShape } from './rule.ts'
