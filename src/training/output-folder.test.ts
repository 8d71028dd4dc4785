/** @file Tests of the output folder. */
import { mkdir, readdir, readFile, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { temporaryFolder } from '../../test/temporary.ts'
import { SafetensorsFile, saveFile } from '../weights/index.ts'
import { OutputFolder } from './output-folder.ts'
import { BagClassifier } from './testing/models.ts'

const options = (overwrite = false) => ({ overwrite, model: new BagClassifier() })
const saves = (text: string) => (folder: string) => writeFile(join(folder, 'adapter_config.json'), text)

describe('OutputFolder', () => {
  it('writes a folder that was not there, with its parents', async () => {
    const folder = join(await temporaryFolder(), 'a/b')
    await (await OutputFolder.claim(folder, options())).write(saves('{}'))
    expect(await readdir(folder)).toEqual(['adapter_config.json'])
    expect(await readdir(join(folder, '..'))).toEqual(['b'])
  })

  it('writes an empty folder', async () => {
    const folder = join(await temporaryFolder(), 'a')
    await mkdir(folder)
    await (await OutputFolder.claim(folder, options())).write(saves('{}'))
    expect(await readdir(folder)).toEqual(['adapter_config.json'])
  })

  it('replaces what it wrote before as a whole', async () => {
    const folder = join(await temporaryFolder(), 'a')
    const output = await OutputFolder.claim(folder, options())
    await output.write(path => writeFile(join(path, 'old.json'), ''))
    await output.write(saves('new'))
    expect(await readdir(folder)).toEqual(['adapter_config.json'])
    expect(await readdir(join(folder, '..'))).toEqual(['a'])
  })

  it('leaves nothing of a save that fails, and keeps what was there', async () => {
    const folder = join(await temporaryFolder(), 'a')
    const output = await OutputFolder.claim(folder, options())
    const fails = async (path: string) => {
      await saves('half')(path)
      throw new Error('No space left on device.')
    }
    await expect(output.write(fails)).rejects.toThrow(/Could not save to .*No space left.*unchanged/)
    expect(await readdir(join(folder, '..'))).toEqual([])
    await output.write(saves('whole'))
    await expect(output.write(fails)).rejects.toThrow(/No space left/)
    expect(await readFile(join(folder, 'adapter_config.json'), 'utf8')).toBe('whole')
    expect(await readdir(join(folder, '..'))).toEqual(['a'])
  })

  it('refuses a folder that is not empty', async () => {
    const folder = await temporaryFolder({ 'adapter_config.json': '{}' })
    await expect(OutputFolder.claim(folder, options())).rejects.toThrow(/not empty.*overwriteOutputDir/)
  })

  it('replaces a saved model when it may', async () => {
    const folder = join(await temporaryFolder({ 'a/adapter_config.json': '{}', 'a/README.md': '' }), 'a')
    await (await OutputFolder.claim(folder, options(true))).write(saves('new'))
    expect(await readdir(folder)).toEqual(['adapter_config.json'])
  })

  it('puts in order what a killed process left: half-written files go, a model that is whole arrives', async () => {
    const folder = await temporaryFolder({
      '.metrics.jsonl.0123456789ab.tmp': 'half',
      '.model.0123456789ab.tmp/adapter_config.json': 'half',
      '.checkpoint-3.0123456789ab.old/checkpoint.json': 'half',
      '.model.ready/adapter_config.json': 'new',
      '.model.ready/.outdated': '["old.json"]',
      'old.json': '',
      'adapter_config.json': 'old',
    })
    const lock = await (await OutputFolder.claim(folder, options(true))).begin()
    await lock.release()
    expect(await readdir(folder)).toEqual(['adapter_config.json'])
    expect(await readFile(join(folder, 'adapter_config.json'), 'utf8')).toBe('new')
  })

  it('writes through a link', async () => {
    const root = await temporaryFolder({ 'a/adapter_config.json': '{}' })
    await symlink(join(root, 'a'), join(root, 'link'))
    await (await OutputFolder.claim(join(root, 'link'), options(true))).write(saves('new'))
    expect(await readFile(join(root, 'a/adapter_config.json'), 'utf8')).toBe('new')
  })

  it.each<[string, Record<string, string>, RegExp]>([
    ['a folder without a model', { 'package.json': '{}', 'README.md': '' }, /holds no saved model/],
    ['a folder with more than a model', { 'adapter_config.json': '{}', 'thesis.tex': '' }, /also holds "thesis.tex"/],
    ['a repository', { 'adapter_config.json': '{}', '.git/HEAD': '' }, /also holds ".git"/],
  ])('never replaces %s', async (_, files, message) => {
    const folder = await temporaryFolder(files)
    await expect(OutputFolder.claim(folder, options(true))).rejects.toThrow(message)
  })

  it('never replaces the model that is being trained', async () => {
    const folder = await temporaryFolder({ 'config.json': '{}' })
    const path = join(folder, 'model.safetensors')
    const model = new BagClassifier()
    const { weight } = model.classifier
    await saveFile(
      path,
      [{ name: 'w', dtype: 'F32', shape: weight.shape, read: async () => new Float32Array(weight.size) }],
      {},
    )
    await using file = await SafetensorsFile.open(path)
    weight.source = file.source('w')
    await expect(OutputFolder.claim(folder, { overwrite: true, model })).rejects.toThrow(/was loaded from it/)
  })

  it('refuses a file', async () => {
    const folder = await temporaryFolder({ a: '' })
    await expect(OutputFolder.claim(join(folder, 'a'), options(true))).rejects.toThrow(/it is a file/)
  })
})
