/** @file Adapters that took something out of the base, as plain LoRA on the base as it is. */
import { Parameter } from '../../../nn/index.ts'
import type { PeftMethod } from '../../method.ts'
import { tunerAt } from '../../tuner-layer.ts'
import type { LoraConfig } from './config.ts'
import { LoraLinear } from './linear.ts'

type ToPlain = NonNullable<PeftMethod<LoraConfig>['toPlain']>

/**
 * `W - s B₀A₀ + s B A = W + s [B | -B₀] [A | A₀]`: LoRA of twice the rank, and of twice the alpha so that the scale stays.
 *
 * @param initial the tensors of the adapter before training; by default what was taken out is worked out again
 * @throws for LoftQ, whose base is another, and where a tensor is missing or of another shape
 */
export const toPlainLora: ToPlain = ({ adapterName, config, layers }, own, initial) => {
  const state = new Map(own)
  if (config.initLoraWeights === 'loftq') {
    throw new Error(
      'An adapter of LoftQ works on a weight of few bits; on the weight itself no LoRA of small rank does the same. Save it as it is.',
    )
  }
  const isTaken = typeof config.initLoraWeights === 'string' && /^(pissa|olora)/.test(config.initLoraWeights)
  if (!isTaken && !initial) return { config, state }
  for (const [path, layer] of layers) {
    const lora = tunerAt(layer, LoraLinear)
    if (!lora) {
      if (isTaken) doublePlainly(state, path)
      continue
    }
    const keys = ['lora_A', 'lora_B'].map(name => `base_model.model.${path}.${name}.weight`)
    const [a, b] = keys.map(key => own.get(key)!)
    const removed = lora.beginning(adapterName)?.removed
    const read = (i: number, parameter: Parameter | undefined, like: Parameter) => async () =>
      initial ? initialTensor(initial, keys[i], like) : await parameter!.read()
    state.set(keys[0], below(a, read(0, removed?.a, a)))
    state.set(keys[1], beside(b, read(1, removed?.b, b)))
  }
  return { config: doubled(config), state }
}

function initialTensor(initial: ReadonlyMap<string, Float32Array>, key: string, like: Parameter): Float32Array {
  const data = initial.get(key)
  if (data?.length === like.size) return data
  throw new Error(
    `The initial adapter ${data ? `has ${data.length} values in "${key}", expected ${like.size}` : `lacks "${key}"`}; give the folder of the adapter as it was saved before training`,
  )
}

/** Layers whose init took nothing out keep their effect: zeros fill the second half of the rank. */
function doublePlainly(state: Map<string, Parameter>, path: string): void {
  const factors: [suffix: string, join: typeof below][] = [
    ['lora_A.weight', below],
    ['lora_embedding_A', below],
    ['lora_B.weight', beside],
    ['lora_embedding_B', beside],
  ]
  for (const [suffix, join] of factors) {
    const key = `base_model.model.${path}.${suffix}`
    const parameter = state.get(key)
    if (parameter)
      state.set(
        key,
        join(parameter, async () => new Float32Array(parameter.size)),
      )
  }
}

/** `[A | A₀]`: more rows. */
function below(a: Parameter, other: () => Promise<Float32Array>): Parameter {
  const [rank, ...inputs] = a.shape
  return Parameter.computed([2 * rank, ...inputs], async () => {
    const result = new Float32Array(2 * a.size)
    result.set(await a.read())
    result.set(await other(), a.size)
    return result
  })
}

/** `[B | -B₀]`: more columns. */
function beside(b: Parameter, other: () => Promise<Float32Array>): Parameter {
  const [outputs, rank] = b.shape
  return Parameter.computed([outputs, 2 * rank], async () => {
    const [values, initial] = [await b.read(), await other()]
    const result = new Float32Array(2 * b.size)
    for (let i = 0; i < outputs; i++) {
      result.set(values.subarray(i * rank, (i + 1) * rank), 2 * i * rank)
      for (let j = 0; j < rank; j++) result[(2 * i + 1) * rank + j] = -initial[i * rank + j]
    }
    return result
  })
}

function doubled(config: LoraConfig): LoraConfig {
  const times = (factor: number, pattern: Readonly<Record<string, number>>) =>
    Object.fromEntries(Object.entries(pattern).map(([key, value]) => [key, value * factor]))
  const factor = config.useRslora ? Math.SQRT2 : 2
  return config.with({
    r: 2 * config.r,
    rankPattern: times(2, config.rankPattern),
    loraAlpha: factor * config.loraAlpha,
    alphaPattern: times(factor, config.alphaPattern),
    initLoraWeights: true,
  })
}
