/** @file Reverse-mode automatic differentiation of graphs. */
export { gradients } from './gradients.ts'
export { recomputeCheap } from './recompute.ts'
export { defineGradient, differentiableOperators, type GradientRule, type RuleContext, sumToShape } from './rule.ts'
