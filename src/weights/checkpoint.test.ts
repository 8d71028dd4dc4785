/** @file Checkpoints: one file or shards; broken indices, missing shards and pickles are explained. */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { Checkpoint } from './checkpoint.ts'
import { saveFile } from './save.ts'

let folder: string

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'peft-ts-checkpoint-'))
})
afterEach(() => rm(folder, { recursive: true, force: true }))

const FIRST = 'model-00001-of-00002.safetensors'
const SECOND = 'model-00002-of-00002.safetensors'

const write = (file: string, tensors: Record<string, number>) =>
  saveFile(
    join(folder, file),
    Object.entries(tensors).map(([name, value]) => ({ name, dtype: 'F32', shape: [], bytes: Float32Array.of(value) })),
    { format: 'pt' },
  )

const writeIndex = (index: unknown) =>
  writeFile(
    join(folder, 'model.safetensors.index.json'),
    typeof index === 'string' ? index : JSON.stringify({ metadata: { total_size: 12 }, weight_map: index }),
  )

async function writeShards(): Promise<void> {
  await write(FIRST, { a: 1, b: 2 })
  await write(SECOND, { c: 3 })
  await writeIndex({ a: FIRST, b: FIRST, c: SECOND })
}

describe('a single file', () => {
  it('is read under its base name', async () => {
    await write('model.safetensors', { a: 1 })
    await write('adapter_model.safetensors', { b: 2 })
    await using model = await Checkpoint.open(folder)
    await using adapter = await Checkpoint.open(folder, { baseName: 'adapter_model' })
    expect([model.names, adapter.names]).toEqual([['a'], ['b']])
    expect([...(await adapter.readFloat32('b'))]).toEqual([2])
  })

  it('wins over an index', async () => {
    await writeShards()
    await write('model.safetensors', { single: 1 })
    await using checkpoint = await Checkpoint.open(folder)
    expect(checkpoint.names).toEqual(['single'])
  })
})

describe('shards', () => {
  it('are read as one', async () => {
    await writeShards()
    const checkpoint = await Checkpoint.open(folder)
    expect(checkpoint.names).toEqual(['a', 'b', 'c'])
    expect(checkpoint.metadata?.format).toBe('pt')
    expect(checkpoint.paths).toHaveLength(2)
    expect([...(await checkpoint.readFloat32('c'))]).toEqual([3])
    expect(checkpoint.info('c').path).toMatch(/00002-of-00002/)
    expect(checkpoint.source('c')).toMatchObject({ kind: 'file', dtype: 'F32', shape: [], byteLength: 4 })
    expect([...(await checkpoint.read('a', { begin: 2, end: 4 }))]).toEqual([0x80, 0x3f])
    expect([checkpoint.has('a'), checkpoint.has('d')]).toEqual([true, false])
    expect(() => checkpoint.info('cc')).toThrow(/no such tensor, expected one of the 3.*Did you mean "c"/)
    await checkpoint.close()
    await expect(checkpoint.read('a')).rejects.toThrow('closed')
  })

  it('offer tensors that the index forgot', async () => {
    await writeShards()
    await writeIndex({ a: FIRST, c: SECOND })
    await using checkpoint = await Checkpoint.open(folder)
    expect(checkpoint.names).toEqual(['a', 'b', 'c'])
  })

  it('that both hold a tensor: the index decides, and without it nothing does', async () => {
    await write(FIRST, { a: 1, b: 2 })
    await write(SECOND, { a: 10, c: 3 })
    await writeIndex({ a: SECOND, b: FIRST, c: SECOND })
    await using checkpoint = await Checkpoint.open(folder)
    expect([...(await checkpoint.readFloat32('a'))]).toEqual([10])
    await writeIndex({ b: FIRST, c: SECOND })
    await expect(Checkpoint.open(folder)).rejects.toThrow('tensor "a": is in two shards and not in weight_map')
  })

  it('that are missing are named', async () => {
    await writeShards()
    await rm(join(folder, SECOND))
    await expect(Checkpoint.open(folder)).rejects.toThrow(`1 of 2 shards are missing: ${SECOND}`)
  })

  it('without a tensor that the index expects there are refused, saying where it is', async () => {
    await writeShards()
    await writeIndex({ a: SECOND, b: FIRST, c: SECOND })
    await expect(Checkpoint.open(folder)).rejects.toThrow(`tensor "a": weight_map expects it in ${SECOND}`)
    await expect(Checkpoint.open(folder)).rejects.toThrow(`It is in ${FIRST}.`)
    await writeIndex({ a: FIRST, x: FIRST })
    await expect(Checkpoint.open(folder)).rejects.toThrow('It is in no shard.')
  })

  it('that are damaged are named', async () => {
    await writeShards()
    await writeFile(join(folder, SECOND), 'oops')
    await expect(Checkpoint.open(folder)).rejects.toThrow(new RegExp(`${SECOND}: got 4 bytes`))
  })
})

describe('a hostile index', () => {
  it.each([
    '../outside.safetensors',
    '/etc/model.safetensors',
    'sub/model.safetensors',
    '..\\outside.safetensors',
    'C:model.safetensors',
    'model.json',
    '..',
    '',
  ])('naming %j as a shard is refused', async name => {
    await writeShards()
    await writeIndex({ a: name })
    await expect(Checkpoint.open(folder)).rejects.toThrow(/tensor "a": weight_map names .*in the same folder/)
  })

  it.each([
    ['{"weight_map": ', 'the index is not valid JSON'],
    ['{"weight_map": {"a": "x.safetensors", "a": "y.safetensors"}}', 'duplicate key "a"'],
    ['[]', 'got no weight_map'],
    ['{"metadata": {}}', 'got no weight_map'],
    ['{"weight_map": {}}', 'got no weight_map'],
    ['{"weight_map": {"a": 1}}', 'tensor "a": weight_map does not give a file name'],
    ['{"weight_map": {"a": "pytorch_model.bin"}}', 'names "pytorch_model.bin", a pickle'],
  ])('%s', async (text, message) => {
    await writeIndex(text)
    await expect(Checkpoint.open(folder)).rejects.toThrow(message)
  })
})

describe('a folder without safetensors', () => {
  it('lists what it holds and the nearest name', async () => {
    await writeFile(join(folder, 'config.json'), '{}')
    await write('adapter_model.safetensors', { a: 1 })
    await expect(Checkpoint.open(folder)).rejects.toThrow(
      /neither model.safetensors nor model.safetensors.index.json.*holds: adapter_model.safetensors, config.json\. Did you mean "adapter_model.safetensors"/,
    )
  })

  it('that is empty, missing or a file says so', async () => {
    await expect(Checkpoint.open(folder)).rejects.toThrow('is empty')
    await expect(Checkpoint.open(join(folder, 'none'))).rejects.toThrow('no such folder')
    await mkdir(join(folder, 'llama-3'))
    await expect(Checkpoint.open(join(folder, 'lama-3'))).rejects.toThrow('Did you mean "llama-3"?')
    await writeFile(join(folder, 'file'), '')
    await expect(Checkpoint.open(join(folder, 'file'))).rejects.toThrow('is a file, expected a folder')
  })

  it.each(['pytorch_model.bin', 'model.pt', 'model.ckpt', 'weights.pth'])(
    'but %s is refused, with a way out',
    async name => {
      await writeFile(join(folder, name), 'PK')
      const error = Checkpoint.open(folder)
      await expect(error).rejects.toThrow(/is a pickle, which is refused because loading one runs the code inside it/)
      await expect(error).rejects.toThrow(`torch.load("${name}"`)
      await expect(error).rejects.toThrow('"model.safetensors", metadata={"format": "pt"}')
    },
  )

  it('but sharded pickles is refused, with the way through Transformers', async () => {
    for (const name of ['pytorch_model-00001-of-00002.bin', 'pytorch_model-00002-of-00002.bin', 'training_args.bin']) {
      await writeFile(join(folder, name), 'PK')
    }
    await expect(Checkpoint.open(folder)).rejects.toThrow(
      /only pickles \(pytorch_model-00001-of-00002.bin, pytorch_model-00002-of-00002.bin\).*save_pretrained/,
    )
  })
})
