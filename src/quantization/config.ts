/** @file What is to be quantised, and how. */
import { didYouMean } from '../util/nearest.ts'
import { hasCodebook, isHalf, type QuantizationScheme } from './layout.ts'

/** How the weights of one kind of layers are quantised. */
export interface WeightQuantization {
  readonly scheme: QuantizationScheme
  /** How many values share a scale; smaller blocks are taken where rows ask for it, and schemes of 16 bits have none. */
  readonly blockSize: number
  readonly symmetric: boolean
  readonly perRow?: boolean
  /** Whether values are held twice more for products in 8-bit arithmetic; see `QuantizedLayout`. */
  readonly turned?: boolean
  readonly doubleQuant?: boolean
}

/** How a model is quantised while it is loaded. */
export interface QuantizationConfig {
  /** The weights of dense layers within the base model. */
  readonly linear: WeightQuantization
  /** The embedding of tokens and the output layer, which often share a matrix; undefined leaves them in float32. */
  readonly embeddings: WeightQuantization | undefined
  /** Names of modules that stay as they are: whole paths or parts of them (`lm_head`, `model.layers.0`, `q_proj`). */
  readonly skipModules: readonly string[]
}

/** Names of the simple ways to quantise. */
export const QUANTIZE_NAMES = ['int8', 'int8-channel', 'int4', 'nf4', 'fp4', 'bfloat16', 'float16'] as const

/**
 * A name of {@link QUANTIZE_NAMES}. `int8-channel` has one scale for each output in place of one for 32 values, and whole
 * numbers up to 63, which is somewhat less exact, and lets training multiply in 8-bit arithmetic: see
 * `quantizedProducts`. `bfloat16` and `float16` hold the numbers in 16 bits and compute in float32: of a checkpoint in that
 * type nothing is lost, and its matrices are read from its own file.
 */
export type QuantizeName = (typeof QUANTIZE_NAMES)[number]

/** Options of `quantize`. */
export interface QuantizeOptions {
  scheme: QuantizeName
  /** How many values share a scale: 32 by default, 64 for nf4 and fp4. */
  blockSize?: number
  /** For int4: whether blocks have no zero point of their own (false: a block's range is used whole). */
  symmetric?: boolean
  /** Whether the embedding of tokens and the output layer are quantised too, to 8 bits (true). */
  embeddings?: boolean
  skipModules?: readonly string[]
}

/** The configuration that a name or options stand for. Throws for a name that is not known. */
export function quantizationOf(given: QuantizeName | QuantizeOptions): QuantizationConfig {
  const options = typeof given === 'string' ? { scheme: given } : given
  const { scheme, symmetric = scheme !== 'int4', embeddings = true, skipModules = [] } = options
  if (!QUANTIZE_NAMES.includes(scheme)) {
    throw new Error(
      `quantize is "${scheme}", expected one of ${QUANTIZE_NAMES.join(', ')}.${didYouMean(String(scheme), QUANTIZE_NAMES)}`,
    )
  }
  const embedded = { scheme: 'int8', blockSize: 32, symmetric: true } as const
  if (scheme === 'int8-channel') {
    if (options.blockSize !== undefined) {
      throw new Error(
        `quantize: blockSize is ${options.blockSize}, and int8-channel has one scale for each output; take int8, or leave blockSize out`,
      )
    }
    return {
      linear: { scheme: 'int8', blockSize: 128, symmetric: true, perRow: true, turned: true },
      embeddings: embeddings ? embedded : undefined,
      skipModules,
    }
  }
  if (isHalf(scheme)) {
    if (options.blockSize !== undefined)
      throw new Error(`quantize: blockSize is ${options.blockSize}, and ${scheme} has no blocks; leave it out`)
    const half = { scheme, blockSize: 1, symmetric: true }
    return { linear: half, embeddings: embeddings ? half : undefined, skipModules }
  }
  const blockSize = options.blockSize ?? (hasCodebook(scheme) ? 64 : 32)
  if (!Number.isInteger(Math.log2(blockSize)) || blockSize < 16 || blockSize > 256) {
    throw new Error(`quantize: blockSize is ${blockSize}, expected 16, 32, 64, 128 or 256`)
  }
  return {
    linear: { scheme, blockSize, symmetric: scheme === 'int4' ? symmetric : true },
    embeddings: embeddings ? { ...embedded, blockSize: Math.min(32, blockSize) } : undefined,
    skipModules,
  }
}

/** Options of {@link BitsAndBytesConfig}, as Transformers has them. */
export interface BitsAndBytesOptions {
  loadIn8bit?: boolean
  loadIn4bit?: boolean
  /** Modules that are left as they are. */
  llmInt8SkipModules?: readonly string[]
  /** `fp4` (default) or `nf4`. */
  bnb4bitQuantType?: 'fp4' | 'nf4'
  /** Whether the scales are quantised too. They are rounded as bitsandbytes rounds them, and held in float32. */
  bnb4bitUseDoubleQuant?: boolean
  /** Taken so that configurations can be carried over: everything is computed in float32. */
  bnb4bitComputeDtype?: 'float32' | 'float16' | 'bfloat16'
}

const QUANT_TYPES = ['fp4', 'nf4'] as const

/**
 * bitsandbytes' quantisation of dense layers: 4-bit tables in blocks of 64 (QLoRA), or 8 bits with a scale a row. The
 * output layer and the embeddings stay in float32, as in Transformers. In 8 bits all features are treated alike: there
 * is no second product for outliers (`llm_int8_threshold`), because activations are not quantised in training.
 *
 * @example
 * new BitsAndBytesConfig({ loadIn4bit: true, bnb4bitQuantType: 'nf4', bnb4bitUseDoubleQuant: true })
 */
export class BitsAndBytesConfig implements QuantizationConfig {
  readonly linear: WeightQuantization
  readonly embeddings = undefined
  readonly skipModules: readonly string[]

  constructor(options: BitsAndBytesOptions) {
    const { loadIn4bit = false, loadIn8bit = false, bnb4bitQuantType = 'fp4', bnb4bitUseDoubleQuant = false } = options
    if (loadIn4bit === loadIn8bit) {
      throw new Error(`BitsAndBytesConfig: loadIn4bit and loadIn8bit are both ${loadIn4bit}; set one of them to true`)
    }
    if (!QUANT_TYPES.includes(bnb4bitQuantType)) {
      throw new Error(
        `BitsAndBytesConfig: bnb4bitQuantType is "${bnb4bitQuantType}", expected fp4 or nf4.${didYouMean(String(bnb4bitQuantType), QUANT_TYPES)}`,
      )
    }
    this.skipModules = options.llmInt8SkipModules ?? []
    this.linear = loadIn4bit
      ? { scheme: bnb4bitQuantType, blockSize: 64, symmetric: true, doubleQuant: bnb4bitUseDoubleQuant }
      : { scheme: 'int8', blockSize: 128, symmetric: true, perRow: true }
  }
}
