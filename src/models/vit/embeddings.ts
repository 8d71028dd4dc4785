/** @file From images to tokens: patches by a strided convolution, a token for the whole image, learned positions. */
import { add, concat, type Dim, expand, linear, reshape, slice, type Tensor, transpose } from '../../graph/index.ts'
import { Dropout, Module, normalInit, Parameter, zerosInit } from '../../nn/index.ts'
import type { PatchFields } from '../config/vision.ts'
import type { PretrainedConfig } from '../config.ts'

/** What the embeddings read of a configuration. */
export interface PatchConfig extends PatchFields, Pick<PretrainedConfig, 'label'> {
  readonly hidden_size: number
  readonly hidden_dropout_prob: number
  readonly initializer_range: number
}

/**
 * A convolution whose stride is the size of its kernel, so that each patch is one row of a matrix product. Its
 * parameters are those of a convolution.
 */
export class PatchProjection extends Module {
  /** `[hidden, channels, height, width]` */
  weight: Parameter
  /** `[hidden]` */
  bias: Parameter | undefined

  constructor(
    { hidden_size, num_channels, patch_size, initializer_range }: Omit<PatchConfig, 'hidden_dropout_prob'>,
    options: { bias?: boolean } = {},
  ) {
    super()
    this.weight = new Parameter([hidden_size, num_channels, ...patch_size], { init: normalInit(initializer_range) })
    this.bias = options.bias === false ? undefined : new Parameter([hidden_size], { init: zerosInit })
  }

  /** @param pixels `[batch, channels, height, width]` @returns `[batch, patches, hidden]` */
  forward(pixels: Tensor): Tensor {
    const [batch, channels, height, width] = pixels.shape as [Dim, number, number, number]
    const [, , rows, columns] = this.weight.shape
    const [down, across] = [Math.floor(height / rows), Math.floor(width / columns)]
    // What is left at the edges is not seen, as by a convolution.
    const seen = slice(slice(pixels, 2, 0, down * rows), 3, 0, across * columns)
    const cut = transpose(reshape(seen, [batch, channels, down, rows, across, columns]), [0, 2, 4, 1, 3, 5])
    const patches = reshape(cut, [batch, down * across, channels * rows * columns])
    return linear(patches, reshape(this.weight.trace(pixels.graph), [this.weight.shape[0], -1]), this.bias)
  }
}

/** How many patches an image has. */
export function patchCount({ image_size, patch_size }: Pick<PatchFields, 'image_size' | 'patch_size'>): number {
  return image_size.reduce((product, length, i) => product * Math.floor(length / patch_size[i]), 1)
}

/** Refuses images of another size than the model was made for. */
export function checkImageSize(
  pixels: Tensor,
  { image_size, label, num_channels }: Pick<PatchConfig, 'image_size' | 'label' | 'num_channels'>,
): void {
  const expected = [num_channels, ...image_size]
  if (pixels.shape.slice(1).join() === expected.join()) return
  throw new Error(
    `forward: pixel_values have shape [${pixels.shape.join(', ')}], ${label} was made for ` +
      `[batch, ${expected.join(', ')}]; resize the images to ${image_size.join(' x ')}`,
  )
}

/** Images as rows of patches. */
export class PatchEmbeddings extends Module {
  readonly config: PatchConfig
  projection: PatchProjection

  constructor(config: PatchConfig) {
    super()
    this.config = config
    this.projection = new PatchProjection(config)
  }

  /** How many patches an image has. */
  get count(): number {
    return patchCount(this.config)
  }

  /** @param pixels `[batch, channels, height, width]` @returns `[batch, patches, hidden]` */
  forward(pixels: Tensor): Tensor {
    checkImageSize(pixels, this.config)
    return this.projection.forward(pixels)
  }
}

/** The first layer of a vision transformer. */
export class ViTEmbeddings extends Module {
  cls_token: Parameter
  position_embeddings: Parameter
  patch_embeddings: PatchEmbeddings
  dropout: Dropout

  constructor(config: PatchConfig) {
    super()
    const init = normalInit(config.initializer_range)
    this.patch_embeddings = new PatchEmbeddings(config)
    this.cls_token = new Parameter([1, 1, config.hidden_size], { init })
    this.position_embeddings = new Parameter([1, this.patch_embeddings.count + 1, config.hidden_size], { init })
    this.dropout = new Dropout(config.hidden_dropout_prob)
  }

  /** @param pixels `[batch, channels, height, width]` @returns `[batch, 1 + patches, hidden]` */
  forward(pixels: Tensor): Tensor {
    const patches = this.patch_embeddings.forward(pixels)
    const [batch, , width] = patches.shape
    const first = expand(this.cls_token.trace(pixels.graph), [batch, 1, width])
    return this.dropout.forward(add(concat([first, patches], 1), this.position_embeddings))
  }
}
