/** @file Preparing images, against Pillow and Transformers. */
import { describe, expect, it } from 'vitest'
import { temporaryFolder } from '../../test/temporary.ts'
import { ImageProcessor, RESAMPLING, type RgbImage, resizeImage } from './index.ts'

const image: RgbImage = {
  height: 5,
  width: 7,
  data: Uint8Array.from({ length: 5 * 7 * 3 }, (_, i) => {
    const [y, x, channel] = [Math.floor(i / 21), Math.floor(i / 3) % 7, i % 3]
    return (y * 37 + x * 61 + channel * 90 + x * y * 11) % 256
  }),
}

/** Made with Pillow 13: this image as 2 x 3 pixels, and 12 bytes of it as 9 x 8. */
const PILLOW: Record<keyof typeof RESAMPLING, { smaller: number[]; larger: number[] }> = {
  lanczos: {
    smaller: [86, 145, 148, 175, 113, 148, 139, 146, 149, 157, 151, 117, 145, 136, 148, 123, 167, 166],
    larger: [44, 180, 92, 47, 133, 41, 231, 65, 226, 188, 160, 230],
  },
  bilinear: {
    smaller: [96, 146, 145, 165, 114, 150, 139, 147, 146, 152, 147, 123, 143, 139, 144, 125, 163, 164],
    larger: [73, 161, 107, 85, 141, 87, 177, 89, 179, 189, 133, 223],
  },
  bicubic: {
    smaller: [89, 146, 148, 172, 111, 149, 139, 146, 146, 156, 149, 120, 142, 138, 145, 123, 165, 165],
    larger: [51, 172, 95, 66, 141, 62, 200, 70, 196, 199, 150, 238],
  },
  box: {
    smaller: [73, 163, 168, 168, 115, 149, 135, 139, 144, 180, 142, 104, 130, 134, 139, 101, 191, 153],
    larger: [26, 207, 41, 131, 207, 41, 131, 56, 146, 236, 161, 251],
  },
}

describe('resizeImage', () => {
  it.each(Object.entries(RESAMPLING))('gives the bytes that Pillow gives: %s', (name, resample) => {
    const { smaller, larger } = PILLOW[name as keyof typeof RESAMPLING]
    expect([...resizeImage(image, 2, 3, resample).data]).toEqual(smaller)
    expect([...resizeImage(image, 9, 8, resample).data.subarray(200, 212)]).toEqual(larger)
  })

  it('leaves an image of the right size as it is', () => {
    expect(resizeImage(image, 5, 7, RESAMPLING.bicubic).data).toEqual(image.data)
  })

  it('refuses filters that are not computed and sizes that are none', () => {
    expect(() => resizeImage(image, 5, 5, 0)).toThrow(/resample is 0, expected one of 1 \(lanczos\), 2 \(bilinear\)/)
    expect(() => resizeImage(image, 5, 2.5, 2)).toThrow(/5 x 2.5/)
  })
})

const CLIP = {
  do_center_crop: true,
  size: { shortest_edge: 4 },
  crop_size: { height: 4, width: 3 },
  resample: 3,
  image_mean: [0.48145466, 0.4578275, 0.40821073],
  image_std: [0.26862954, 0.26130258, 0.27577711],
}
const VIT = { size: { height: 3, width: 2 }, resample: 2, image_mean: [0.5, 0.5, 0.5], image_std: [0.5, 0.5, 0.5] }

describe('ImageProcessor', () => {
  // Both made with transformers 5.23, `CLIPImageProcessorPil` and `ViTImageProcessorPil`.
  it('resizes the shorter side and crops, as for CLIP', () => {
    const { pixel_values } = ImageProcessor.fromJSON(CLIP).process(image)
    expect(pixel_values.dims).toEqual([1, 3, 4, 3])
    const expected = [-0.27403, 0.12013, 0.48509, -0.0262, 0.06384, 0.09821, 0.92297, 1.09361]
    for (const [i, value] of expected.entries()) expect(pixel_values.data[5 * i]).toBeCloseTo(value, 5)
  })

  it('resizes both sides, as for ViT', () => {
    const { pixel_values } = ImageProcessor.fromJSON(VIT).process([image, image])
    expect(pixel_values.dims).toEqual([2, 3, 3, 2])
    const expected = [
      ...[-0.12157, 0.16078, 0.10588, 0.16863, 0.22353, -0.05882, -0.04314, -0.00392, 0.16863, 0.15294, 0.06667],
      ...[0.23922, 0.10588, 0.12157, 0.16078, 0.27059, -0.07451, 0.2],
    ]
    for (const [i, value] of [...expected, ...expected].entries()) expect(pixel_values.data[i]).toBeCloseTo(value, 5)
  })

  it('does only what it is told', () => {
    const { pixel_values } = ImageProcessor.fromJSON({
      do_resize: false,
      do_normalize: false,
      do_rescale: false,
    }).process(image)
    expect(pixel_values.dims).toEqual([1, 3, 5, 7])
    expect([...pixel_values.data.subarray(35, 38)]).toEqual([image.data[1], image.data[4], image.data[7]])
  })

  it('reads one number as the shorter side where images are cropped then, else as both', () => {
    const [shorter, both] = [true, false].map(do_center_crop =>
      ImageProcessor.fromJSON({ ...CLIP, do_center_crop, size: 4, crop_size: 3 }),
    )
    expect(shorter.options).toMatchObject({ size: { shortestEdge: 4 }, cropSize: { height: 3, width: 3 } })
    expect(both.options).toMatchObject({ size: { height: 4, width: 4 }, cropSize: undefined })
  })

  it('is made as the files say, the older and the newer one', async () => {
    const older = await temporaryFolder({ 'preprocessor_config.json': JSON.stringify(VIT) })
    const newer = await temporaryFolder({ 'processor_config.json': JSON.stringify({ image_processor: VIT }) })
    for (const folder of [older, newer]) {
      expect((await ImageProcessor.fromPretrained(folder)).options.size).toEqual(VIT.size)
    }
    await expect(ImageProcessor.fromPretrained(await temporaryFolder())).rejects.toThrow(/no preprocessor_config/)
  })

  it('refuses what does not fit, naming image and key', () => {
    const plain = new ImageProcessor({})
    expect(() => plain.process({ height: 2, width: 2, data: new Uint8Array(16) })).toThrow(/16 bytes.*= 12.*alpha/)
    expect(() => plain.process([])).toThrow(/got none/)
    expect(() => plain.process([image, resizeImage(image, 5, 5, 2)])).toThrow(/image 1 as 5 x 5/)
    expect(() => new ImageProcessor({ cropSize: { height: 9, width: 2 } }).process(image)).toThrow(
      /5 x 7, the crop 9 x 2/,
    )
    expect(() => ImageProcessor.fromJSON({ ...VIT, image_std: [1] })).toThrow(/"image_std" is \[1\], expected three/)
    expect(() => ImageProcessor.fromJSON({ ...VIT, size: { longest_edge: 9 } })).toThrow(/"size" is {"longest_edge":9}/)
  })
})
