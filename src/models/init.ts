/** @file Initialisers that Transformers' models share. */
import { type Initializer, Linear, normalInit, zerosInit } from '../nn/index.ts'

/** A dense layer with Transformers' first values: normal weights, zero bias. */
export function createLinear(input: number, output: number, initializerRange: number, bias = true): Linear {
  return new Linear(input, output, { bias, init: normalInit(initializerRange), biasInit: zerosInit })
}

/** Normal rows of an embedding; the row of the padding token is zero. */
export function embeddingInit(initializerRange: number, paddingIndex: number | null = null): Initializer {
  return (random, shape) => {
    const values = normalInit(initializerRange)(random, shape)
    if (paddingIndex !== null && paddingIndex >= 0 && paddingIndex < shape[0]) {
      values.fill(0, paddingIndex * shape[1], (paddingIndex + 1) * shape[1])
    }
    return values
  }
}
