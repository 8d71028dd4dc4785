/** @file Tests of the import rule between layers, on small trees of their own. */
import { spawnSync } from 'node:child_process'
import { resolve } from 'node:path'
import { describe, expect, it } from 'vitest'
import { repositoryRoot } from '../test/shared.ts'
import { temporaryFolder } from '../test/temporary.ts'
import { checkLayers, LAYERS } from './check-layers.mjs'

async function check(files: Record<string, string>) {
  return checkLayers(await temporaryFolder(files)).violations
}

describe('imports between layers', () => {
  it('may run downward, within a layer, to util and to packages', async () => {
    const violations = await check({
      'package.json': '{ "name": "peft-ts" }',
      'src/index.ts': `export * from './peft/index.ts'`,
      'src/util/files.ts': `import { open } from 'node:fs/promises'\nexport { open }`,
      'src/nn/linear.ts': `export class Linear {}`,
      'src/peft/index.ts': `import { Linear } from '../nn/linear.ts'\nimport './lora.ts'\nexport { Linear }`,
      'src/peft/lora.ts': `import '../util/files.ts'\nimport 'zod'\nimport manifest from '../../package.json'`,
      'src/cli/main.ts': `import '../peft/index.ts'\nimport '../index.ts'`,
    })
    expect(violations).toEqual([])
  })

  it.each([
    ['static', `import { x } from '../models/x.ts'`],
    ['type', `import type { X } from '../models/x.ts'`],
    ['re-exporting', `export * from '../models/x.ts'`],
    ['type re-exporting', `export type { X } from '../models/x.ts'`],
    ['dynamic', `export const x = () => import('../models/x.ts')`],
    ['inline type', `export const x: import('../models/x.ts').X = 1`],
    ['worker', `export const x = new URL('../models/x.ts', import.meta.url)`],
  ])('may not run upward: %s', async (_, line) => {
    const violations = await check({ 'src/models/x.ts': 'export type X = number', 'src/nn/a.ts': `\n${line}\n` })
    expect(violations).toHaveLength(1)
    expect(violations[0]).toMatchObject({
      file: 'src/nn/a.ts',
      line: 2,
      allowed: 'nn may import: graph, weights, quantization, util',
    })
    expect(violations[0].what).toContain('nn imports models: src/models/x.ts')
  })

  it('are read from the JSDoc of plain JavaScript too', async () => {
    const violations = await check({
      'src/models/x.ts': 'export type X = number',
      'src/nn/a.js': `/** @type {import('../models/x.ts').X} */\nexport const x = 1`,
      'src/nn/b.js': `/** @import { X } from '../models/x.ts' */\nexport const x = 1`,
    })
    expect(violations.map(({ file, line }) => [file, line])).toEqual([
      ['src/nn/a.js', 1],
      ['src/nn/b.js', 1],
    ])
  })

  it('are free in tests, which nothing but a test may import', async () => {
    const violations = await check({
      'src/cli/main.ts': '',
      'src/nn/a.test.ts': `import '../cli/main.ts'`,
      'src/nn/testing/fixtures.ts': `import '../../cli/main.ts'\nimport '../../../test/shared.ts'`,
      'src/nn/b.ts': `import './testing/fixtures.ts'`,
    })
    expect(violations.map(({ file, what }) => [file, what])).toEqual([
      ['src/nn/b.ts', 'imports a test file, src/nn/testing/fixtures.ts (import)'],
    ])
  })

  it.each([
    ['util importing a layer', 'src/util/a.ts', `import '../onnx/x.ts'`, 'util imports onnx'],
    ['a layer importing the front door', 'src/nn/a.ts', `import '../index.ts'`, 'nn imports the front door'],
    ['the package by its own name', 'src/nn/a.ts', `import 'peft-ts/onnx'`, 'imports its own package by name'],
    ['a file outside src', 'src/nn/a.ts', `import '../../scripts/x.mjs'`, 'leaves src/'],
    ['a path without its extension', 'src/nn/a.ts', `import '../onnx/x'`, 'no file of that exact name'],
  ])('%s is refused', async (_, file, line, message) => {
    const violations = await check({
      'package.json': '{ "name": "peft-ts" }',
      'src/index.ts': '',
      'src/onnx/x.ts': '',
      [file]: line,
    })
    expect(violations.map(({ what }) => what)).toEqual([expect.stringContaining(message)])
  })

  it('need a layer: unknown folders and loose files are refused', async () => {
    const violations = await check({ 'src/loose.ts': '', 'src/unknown/a.ts': '' })
    expect(violations.map(({ file, what }) => [file, what])).toEqual([
      ['src/loose.ts', 'stands outside every layer'],
      ['src/unknown/a.ts', '"unknown" is not a layer'],
    ])
  })
})

describe('import cycles', () => {
  it('are reported once, with every file and line', async () => {
    const violations = await check({
      'src/nn/a.ts': `import './b.ts'`,
      'src/nn/b.ts': `\nexport * from './c.ts'`,
      'src/nn/c.ts': `export const a = () => import('./a.ts')`,
      'src/nn/entry.ts': `import './a.ts'`,
    })
    expect(violations.map(({ what }) => what)).toEqual([
      'import cycle: src/nn/a.ts:1 -> src/nn/b.ts:2 -> src/nn/c.ts:1 -> src/nn/a.ts',
    ])
  })

  it('are reported for two circles apart', async () => {
    const violations = await check({
      'src/nn/a.ts': `import './b.ts'`,
      'src/nn/b.ts': `import './a.ts'`,
      'src/onnx/a.ts': `import './a.ts'`,
    })
    expect(violations.map(({ file }) => file)).toEqual(['src/nn/a.ts', 'src/onnx/a.ts'])
  })

  it('are no error when a type-only import closes them', async () => {
    const violations = await check({
      'src/nn/a.ts': `import './b.ts'`,
      'src/nn/b.ts': `import type { A } from './a.ts'\nexport type { B } from './a.ts'`,
    })
    expect(violations).toEqual([])
  })
})

describe('the table of layers', () => {
  it('has no circle in itself', () => {
    const below = (layer: string, seen: string[]): void => {
      expect(seen).not.toContain(layer)
      for (const next of LAYERS[layer] ?? []) below(next, [...seen, layer])
    }
    for (const layer of Object.keys(LAYERS)) below(layer, [])
  })
})

describe('the command', () => {
  const script = resolve(repositoryRoot, 'scripts/check-layers.mjs')

  it('prints place, rule and way out, and exits with 1 when the rule is broken', async () => {
    const root = await temporaryFolder({ 'src/nn/a.ts': `import '../cli/main.ts'`, 'src/cli/main.ts': '' })
    const { status, stderr, stdout } = spawnSync(process.execPath, [script, root], { encoding: 'utf8' })
    expect(status).toBe(1)
    expect(stderr).toContain('src/nn/a.ts:1  nn imports cli: src/cli/main.ts (import)')
    expect(stderr).toContain('allowed: nn may import: graph, weights, quantization, util')
    expect(stderr).toContain('way out: ')
    expect(stdout).toBe('layers: 2 files, 1 imports, 1 violations\n')
  })

  it('exits with 0 when all is well', async () => {
    const root = await temporaryFolder({ 'src/nn/a.ts': '' })
    expect(spawnSync(process.execPath, [script, root]).status).toBe(0)
  })
})
