/** @file How many parameters a LoRA adapter trains, from the shapes of what it works on. */
import { Conv1D, type Convolution, Embedding, Linear, type Module, type Parameter } from '../../../nn/index.ts'
import type { PeftMethod } from '../../method.ts'
import type { LoraConfig } from './config.ts'
import { targetedParameters } from './parameters.ts'
import { loraSettings } from './settings.ts'
import { tokenTables } from './tokens.ts'

/** The sizes of A and B on one module, and its outputs. */
function sizes(module: Module, rank: number): { a: number; b: number; outputs: number } {
  if (module instanceof Linear || module instanceof Conv1D) {
    const { inFeatures, outFeatures } = module
    return { a: rank * inFeatures, b: rank * outFeatures, outputs: outFeatures }
  }
  if (module instanceof Embedding) {
    const { numEmbeddings, embeddingDim } = module
    return { a: rank * numEmbeddings, b: rank * embeddingDim, outputs: embeddingDim }
  }
  const { inChannels, outChannels, kernelSize, groups } = module as Convolution
  const window = kernelSize.reduce((a, b) => a * b, 1)
  return { a: rank * inChannels * window, b: (rank / groups) * outChannels, outputs: outChannels }
}

/** `r (in + out)` for each module, `r experts (in + out)` for each parameter, and what further options add. */
export const countParameters: PeftMethod<LoraConfig>['about']['count'] = (config, targets, model) => {
  let total = 0
  for (const [path, module] of targets) {
    const parameters = targetedParameters(config, path, module)
    for (const name of parameters) {
      const { shape } = (module as unknown as Record<string, Parameter>)[name]
      const { rank } = loraSettings(config, `${path}.${name}`)
      total += rank * (shape.length === 3 ? shape[0] : 1) * (shape.at(-1)! + shape.at(-2)!)
    }
    if (parameters.length) continue
    const { rank, useDora } = loraSettings(config, path)
    const { a, b, outputs } = sizes(module, rank)
    total += config.initLoraWeights === 'mica' ? a : a + b
    total += (useDora ? outputs : 0) + (config.loraBias ? outputs : 0)
  }
  for (const { path, tokens } of tokenTables(config, model)) {
    total += tokens.length * (model.base.getSubmodule(path) as Embedding).weight.shape[1]
  }
  return total
}
