/** @file Tests of the map from exported names to sources. */
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { temporaryFolder } from '../test/temporary.ts'
import { packageMap } from './package-map.mjs'

it('finds the source of each export and command, and says which are missing', async () => {
  const manifest = {
    name: 'pkg',
    bin: { tool: './dist/cli/main.js' },
    exports: {
      '.': { types: './dist/index.d.ts', default: './dist/index.js' },
      './safetensors': { types: './dist/weights/index.d.ts', default: './dist/weights/index.js' },
      './package.json': './package.json',
    },
  }
  const root = await temporaryFolder({ 'package.json': JSON.stringify(manifest), 'src/index.ts': '' })
  expect(packageMap(root)).toEqual([
    { name: 'pkg', source: join(root, 'src/index.ts'), exists: true },
    { name: 'pkg/safetensors', source: join(root, 'src/weights/index.ts'), exists: false },
    { name: 'bin:tool', source: join(root, 'src/cli/main.ts'), exists: false },
  ])
})
