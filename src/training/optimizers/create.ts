/** @file The optimizer that training arguments describe. */
import type { Module, ParameterVector } from '../../nn/index.ts'
import type { TrainingArguments } from '../arguments.ts'
import { decayRule } from '../weight-decay.ts'
import { AdamW } from './adamw.ts'
import type { Optimizer } from './optimizer.ts'
import { SGD } from './sgd.ts'

/** Makes the optimizer `args.optim` for the parameters of `vector`; biases and norms of `module` do not decay. */
export function createOptimizer(args: TrainingArguments, vector: ParameterVector, module: Module): Optimizer {
  const options = { lr: args.learningRate, weightDecay: args.weightDecay, decays: decayRule(module) }
  if (args.optim === 'sgd') return new SGD(vector, { ...options, momentum: args.momentum, nesterov: args.nesterov })
  const { adamBeta1, adamBeta2, adamEpsilon } = args
  return new AdamW(vector, { ...options, betas: [adamBeta1, adamBeta2], eps: adamEpsilon })
}
