/** @file Image files as data: decoding, folders and tables, features. */
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import sharp from 'sharp'
import { describe, expect, it, vi } from 'vitest'
import { temporaryFolder } from '../../test/temporary.ts'
import { ByteStore } from './byte-store.ts'
import { decodeImage, ImageProcessor, loadImageDataset, prepareImages, type RgbImage } from './index.ts'

/** Four pixels, two by two: red, green / blue, grey. */
const PIXELS = Uint8Array.of(250, 10, 20, 30, 240, 40, 5, 15, 230, 128, 128, 128)
const picture = () => sharp(PIXELS, { raw: { width: 2, height: 2, channels: 3 } })
const processor = new ImageProcessor({ size: { height: 2, width: 2 }, rescaleFactor: 1 / 255 })
const image: RgbImage = { width: 2, height: 2, data: PIXELS }

describe('decodeImage', () => {
  it('gives the pixels of files, whatever holds them', async () => {
    for (const bytes of [
      await picture().png().toBuffer(),
      await picture().webp({ lossless: true }).toBuffer(),
      await picture().tiff({ compression: 'lzw' }).toBuffer(),
    ]) {
      expect(await decodeImage(bytes)).toMatchObject({ width: 2, height: 2 })
      expect([...(await decodeImage(bytes)).data]).toEqual([...PIXELS])
    }
  })

  it('turns images as their EXIF orientation says', async () => {
    // 6: the top of what was seen is at the right of what is stored.
    const turned = await picture().png().withMetadata({ orientation: 6 }).toBuffer()
    const { data } = await decodeImage(turned)
    const corner = (i: number) => [...PIXELS.subarray(3 * i, 3 * i + 3)]
    expect([...data]).toEqual([corner(2), corner(0), corner(3), corner(1)].flat())
  })

  it('makes three channels of eight bits of grey, alpha, palettes, 16 bits and CMYK', async () => {
    const grey = await sharp(Uint8Array.of(7, 200), { raw: { width: 2, height: 1, channels: 1 } })
      .toColourspace('b-w')
      .png()
      .toBuffer()
    expect([...(await decodeImage(grey)).data]).toEqual([7, 7, 7, 200, 200, 200])
    const clear = Uint8Array.of(9, 8, 7, 0, 60, 50, 40, 128)
    const alpha = await sharp(clear, { raw: { width: 2, height: 1, channels: 4 } })
      .png()
      .toBuffer()
    expect([...(await decodeImage(alpha)).data]).toEqual([9, 8, 7, 60, 50, 40])
    const palette = await picture().png({ palette: true }).toBuffer()
    expect((await decodeImage(palette)).data).toHaveLength(12)
    const deep = Uint16Array.of(0x1234, 0x8000, 0xffff)
    const sixteen = await sharp(deep, { raw: { width: 1, height: 1, channels: 3, depth: 'ushort' } as never })
      .toColourspace('rgb16')
      .png()
      .toBuffer()
    expect([...(await decodeImage(sixteen)).data]).toEqual([0x12, 0x80, 0xff])
    const cmyk = await picture().resize(16, 16).toColourspace('cmyk').jpeg().toBuffer()
    expect((await decodeImage(cmyk)).data).toHaveLength(16 * 16 * 3)
  })

  it('names the file that is not there or not whole', async () => {
    const folder = await temporaryFolder({ 'text.png': 'hello' })
    const whole = await picture().resize(64, 64).jpeg().toBuffer()
    await writeFile(join(folder, 'cut.jpg'), whole.subarray(0, whole.length / 2))
    await expect(decodeImage(join(folder, 'cut.jpg'))).rejects.toThrow(/Could not decode .*cut\.jpg.*replace/)
    await expect(decodeImage(join(folder, 'text.png'))).rejects.toThrow(/Could not decode .*text\.png.*JPEG/)
    await expect(decodeImage(join(folder, 'gone.png'))).rejects.toThrow(/gone\.png: there is no such file/)
  })
})

describe('without the decoder', () => {
  it('says how to install it, and reads pixels all the same', async () => {
    vi.resetModules()
    vi.doMock('sharp', () => {
      throw new Error("Cannot find package 'sharp'")
    })
    try {
      const fresh = await import('./image-features.ts')
      const rows = [{ image: 'a.png', label: 'a' }]
      await expect(fresh.prepareImages(rows, processor)).rejects.toThrow(/package "sharp".*npm install sharp/)
      expect((await fresh.prepareImages([{ image, label: 'a' }], processor)).features).toHaveLength(1)
    } finally {
      vi.doUnmock('sharp')
      vi.resetModules()
    }
  })
})

describe('loadImageDataset', () => {
  const tree = (...names: string[]) => temporaryFolder(Object.fromEntries(names.map(name => [name, 'x'])))

  it('takes a folder a class, each in turn, and tells of other files', async () => {
    const folder = await tree('dog/a.jpg', 'dog/deep/b.PNG', 'cat/c.webp', 'cat/.DS_Store', 'cat/notes.txt')
    await mkdir(join(folder, 'empty'))
    const { rows, notes } = await loadImageDataset(folder)
    expect([...rows]).toEqual([
      { image: join(folder, 'cat/c.webp'), label: 'cat' },
      { image: join(folder, 'dog/a.jpg'), label: 'dog' },
      { image: join(folder, 'dog/deep/b.PNG'), label: 'dog' },
    ])
    expect(notes).toEqual([
      expect.stringMatching(/left 1 file that is no image: .*notes\.txt/),
      expect.stringMatching(/"empty"/),
    ])
    expect((await loadImageDataset(folder, { limit: 2 })).rows.column('label')).toEqual(['cat', 'dog'])
    expect((await loadImageDataset(folder, { hasTargets: false })).rows.columns).toEqual(['image'])
  })

  it('takes the part of a folder with parts that is asked for', async () => {
    const folder = await tree('train/a/1.png', 'train/b/2.png', 'test/a/3.png', 'test/b/4.png')
    const train = await loadImageDataset(folder)
    const held = await loadImageDataset(folder, { part: 'evaluation' })
    expect([train.rows.length, train.notes]).toEqual([2, [expect.stringContaining('read the part "train"')]])
    expect(held.rows.column('image')).toEqual([join(folder, 'test/a/3.png'), join(folder, 'test/b/4.png')])
  })

  it("reads tables, Hugging Face's metadata.csv among them, with paths beside the table", async () => {
    const folder = await temporaryFolder({
      'data/metadata.csv': 'file_name,label\nx.png,one\nsub/y.png,two\n',
      'table.jsonl': '{"image":{"path":"data/x.png"},"kind":3}\n',
    })
    const { rows, columns } = await loadImageDataset(join(folder, 'data'))
    expect(rows.at(1)).toEqual({ image: join(folder, 'data/sub/y.png'), label: 'two' })
    expect(columns).toEqual({ image: 'file_name', label: 'label' })
    const named = await loadImageDataset(join(folder, 'table.jsonl'), { columns: { label: 'kind' } })
    expect(named.rows.at(0)).toEqual({ image: join(folder, 'data/x.png'), label: 3 })
    const usualColumns = { image: 'image', label: 'kind' }
    expect((await loadImageDataset(join(folder, 'table.jsonl'), { usualColumns })).columns).toEqual(usualColumns)
    expect((await loadImageDataset(join(folder, 'data'), { usualColumns })).columns).toEqual(columns)
  })

  it('refuses what says nothing of classes, and rows without files', async () => {
    await expect(loadImageDataset(await tree('a.png'))).rejects.toThrow(
      /Nothing says the label of 1 images.*metadata\.csv/,
    )
    await expect(loadImageDataset(await tree('a.png', 'b/c.png'))).rejects.toThrow(/a\.png, lie beside the folders/)
    await expect(loadImageDataset(await tree('b/c.bmp'))).rejects.toThrow(
      /Found no image.*1 file of other kinds: .*c\.bmp/,
    )
    const empty = await temporaryFolder({ 't.csv': 'image,label\n,a\n', 'u.csv': 'image,label\nhttps://x/y.png,a\n' })
    await expect(loadImageDataset(join(empty, 't.csv'))).rejects.toThrow(/Row 0 of .*t\.csv.*path of an image/)
    await expect(loadImageDataset(join(empty, 'u.csv'))).rejects.toThrow(/address on the network/)
    await expect(loadImageDataset(join(empty, 'no'))).rejects.toThrow(/no such file or folder/)
  })
})

describe('prepareImages', () => {
  it('takes pixels, bytes and paths, and keeps bytes', async () => {
    const png = await picture().png().toBuffer()
    const folder = await temporaryFolder({ 'a.png': png })
    const source = [
      { image, label: 'b' },
      { image: png, label: 'a' },
      { image: join(folder, 'a.png'), label: 'b' },
    ]
    const { features, labels, bad } = await prepareImages(source, processor)
    expect([labels, bad]).toEqual([['a', 'b'], []])
    expect(features.map(feature => feature.labels)).toEqual([1, 0, 1])
    for (const feature of features) expect([...feature.image.read()]).toEqual([...PIXELS])
  })

  it('names all that cannot be read, or leaves it out', async () => {
    const source = [image, 'gone.png', image, 7].map((value, i) => ({ image: value, label: `${i % 2}` }))
    await expect(prepareImages(source, processor)).rejects.toThrow(
      /2 of 4 images cannot be used: row 1: .*gone\.png.*row 3: .*is 7; expected the path.*skipBad: true/,
    )
    const { features, rows, bad } = await prepareImages(source, processor, { skipBad: true })
    expect([features.length, rows, bad.map(({ name }) => name)]).toEqual([2, [0, 2], ['gone.png', 'row 3']])
    const none = source.filter(({ label }) => label === '1')
    await expect(prepareImages(none, processor, { skipBad: true })).rejects.toThrow(/2 of 2 images cannot be used/)
  })

  it('refuses labels that are not known, before anything is decoded', async () => {
    const source = [{ image: 'gone.png', label: 'c' }]
    await expect(prepareImages(source, processor, { labels: ['a', 'b'] })).rejects.toThrow(/Row 0: the label "c"/)
    const { features } = await prepareImages([{ image }], processor, { hasTargets: false })
    expect(features[0]).not.toHaveProperty('labels')
  })

  it('stops when it is told to', async () => {
    const stopped = prepareImages([{ image, label: 'a' }], processor, {
      signal: AbortSignal.abort(new Error('enough')),
    })
    await expect(stopped).rejects.toThrow('enough')
  })
})

describe('ByteStore', () => {
  it('gives back what was put in, from memory and from its file, of which no name is left', async () => {
    const store = await ByteStore.create(10)
    const arrays = [3, 6, 8, 1, 20].map(length => Uint8Array.from({ length }, (_, i) => i * length))
    const read = arrays.map(array => store.put(array))
    expect(store.fileBytes).toBe(28)
    for (const [i, array] of arrays.entries()) expect([...read[i]()]).toEqual([...array])
  })
})

it('reads are as Pillow reads: JPEG too', async () => {
  // Quality 90, written by Pillow 13; the pixels that its convert('RGB') gives.
  const jpeg = await readFile(new URL('./testing/pillow.jpg', import.meta.url))
  const { data, width, height } = await decodeImage(jpeg)
  const expected = JSON.parse(await readFile(new URL('./testing/pillow.json', import.meta.url), 'utf8'))
  expect({ width, height, data: [...data] }).toEqual(expected)
})
