/** @file Files on disk: opened by their header, read tensor by tensor, damaged and missing ones explained. */
import { mkdtemp, realpath, rm, symlink, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { SafetensorsFile } from './file.ts'
import { buildFile } from './fixtures/build.ts'
import { saveFile } from './save.ts'
import { readSource, readSourceFloat32 } from './source.ts'

let folder: string
let path: string

beforeEach(async () => {
  folder = await realpath(await mkdtemp(join(tmpdir(), 'peft-ts-file-')))
  path = join(folder, 'model.safetensors')
})
afterEach(() => rm(folder, { recursive: true, force: true }))

const save = () =>
  saveFile(
    path,
    [
      { name: 'layer.weight', dtype: 'F32', shape: [2, 2], bytes: Float32Array.of(1, 2, 3, 4) },
      { name: 'half', dtype: 'F16', shape: [2], bytes: Uint16Array.of(0x3c00, 0xc000) },
      { name: 'empty', dtype: 'F32', shape: [0], bytes: new Uint8Array(0) },
    ],
    { format: 'pt' },
  )

describe('reading', () => {
  it('gives names in the order of the file, metadata, and tensors one by one', async () => {
    await save()
    await using file = await SafetensorsFile.open(path)
    expect(file.names).toEqual(['empty', 'layer.weight', 'half'])
    expect(file.metadata?.format).toBe('pt')
    expect([file.has('half'), file.has('toString')]).toEqual([true, false])
    expect([...(await file.readFloat32('layer.weight'))]).toEqual([1, 2, 3, 4])
    expect([...(await file.readFloat32('half'))]).toEqual([1, -2])
    expect([...(await file.read('half'))]).toEqual([0x00, 0x3c, 0x00, 0xc0])
    expect(await file.read('empty')).toHaveLength(0)
  })

  it('tells the place of a tensor on disk, with links resolved', async () => {
    await save()
    const link = join(folder, 'link.safetensors')
    await symlink(path, link)
    await using file = await SafetensorsFile.open(link)
    const info = file.info('half')
    expect(info).toMatchObject({ name: 'half', dtype: 'F16', shape: [2], path, byteLength: 4 })
    expect(file.paths).toEqual([path])
    expect([...(await readSource(file.source('half')))]).toEqual([0x00, 0x3c, 0x00, 0xc0])
  })

  it('reads part of a tensor, and refuses a range outside it', async () => {
    await save()
    await using file = await SafetensorsFile.open(path)
    expect([...(await file.read('half', { begin: 1, end: 3 }))]).toEqual([0x3c, 0x00])
    await expect(file.read('half', { begin: 2, end: 5 })).rejects.toThrow(
      'got the range [2, 5), expected one within its 4',
    )
    await expect(file.read('half', { begin: 3, end: 2 })).rejects.toThrow('got the range [3, 2)')
  })

  it('names the nearest tensors for a mistyped name', async () => {
    await save()
    await using file = await SafetensorsFile.open(path)
    expect(() => file.info('layer.weigth')).toThrow(
      /tensor "layer.weigth": no such tensor.*Did you mean "layer.weight"/,
    )
  })

  it('keeps the old content readable while the path is replaced', async () => {
    await save()
    await using file = await SafetensorsFile.open(path)
    await saveFile(path, [])
    expect([...(await file.readFloat32('layer.weight'))]).toEqual([1, 2, 3, 4])
  })

  it('refuses to read after it was closed, but still gives sources', async () => {
    await save()
    const file = await SafetensorsFile.open(path)
    await file.close()
    await file.close()
    await expect(file.read('half')).rejects.toThrow('the file was closed')
    expect([...(await readSourceFloat32(file.source('half')))]).toEqual([1, -2])
  })
})

describe('sources', () => {
  it('in memory give their own bytes', async () => {
    const bytes = Uint8Array.of(0x80, 0x3f)
    const source = { kind: 'memory', dtype: 'BF16', shape: [1], bytes } as const
    expect(await readSource(source)).toBe(bytes)
    expect([...(await readSourceFloat32(source))]).toEqual([1])
  })

  it('in files that are gone or cut off say so', async () => {
    const source = { kind: 'file', dtype: 'U8', shape: [9], path, offset: 0, byteLength: 9 } as const
    await expect(readSource(source)).rejects.toThrow(`${path}: cannot be opened any more`)
    await writeFile(path, 'short')
    await expect(readSource(source)).rejects.toThrow('got 5 bytes from position 0 on, expected 9')
  })
})

describe('what cannot be opened', () => {
  it('a missing file: says what is in the folder and which name is near', async () => {
    await save()
    const error = SafetensorsFile.open(join(folder, 'modle.safetensors'))
    await expect(error).rejects.toThrow(/no such file.*holds: model.safetensors\. Did you mean "model.safetensors"/)
    await expect(SafetensorsFile.open(join(folder, 'none', 'x.safetensors'))).rejects.toThrow('There is no folder')
  })

  it('a folder', async () => {
    await expect(SafetensorsFile.open(folder)).rejects.toThrow('is not a file')
  })

  it('a truncated file, at any length', async () => {
    await save()
    const size = (await SafetensorsFile.open(path).then(async file => {
      await file.close()
      return file.info('half').offset + file.info('half').byteLength
    })) as number
    for (const length of [size - 1, size - 21, 100, 9, 7, 0]) {
      await truncate(path, length)
      await expect(SafetensorsFile.open(path), `${length} bytes`).rejects.toThrow(/cut off/)
    }
  })

  it('a file that is cut off while it is open', async () => {
    await save()
    await using file = await SafetensorsFile.open(path)
    await truncate(path, file.info('half').offset + 1)
    await expect(file.read('half')).rejects.toThrow(/got 1 bytes .*expected 4: the file became shorter/)
  })

  it('pickles, by name or by content, with the reason and the way out', async () => {
    const pickle = join(folder, 'pytorch_model.bin')
    await writeFile(pickle, 'PK\x03\x04 and more')
    await expect(SafetensorsFile.open(pickle)).rejects.toThrow(/is a pickle, which is refused because loading one runs/)
    await expect(SafetensorsFile.open(pickle)).rejects.toThrow(/python -c '.*torch.load\("pytorch_model.bin"/)
    await writeFile(path, 'PK\x03\x04 and more')
    await expect(SafetensorsFile.open(path)).rejects.toThrow(/is a pickle/)
  })

  it('a pointer of Git LFS', async () => {
    await writeFile(path, 'version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n')
    await expect(SafetensorsFile.open(path)).rejects.toThrow('git lfs pull')
  })

  it('a hostile header', async () => {
    await writeFile(path, buildFile({ w: { dtype: 'U8', shape: [2], data_offsets: [0, 1] } }, [1]))
    await expect(SafetensorsFile.open(path)).rejects.toThrow(`${path}: tensor "w": got 1 bytes, expected 2`)
  })
})

describe('saving', () => {
  it('leaves the old file whole when a tensor fails', async () => {
    await save()
    const broken = { name: 'w', dtype: 'U8', shape: [2], read: () => Uint8Array.of(1) } as const
    await expect(saveFile(path, [broken])).rejects.toThrow(/tensor "w": got 1 bytes, expected 2.*Nothing was changed/)
    await using file = await SafetensorsFile.open(path)
    expect(file.names).toContain('layer.weight')
  })
})
