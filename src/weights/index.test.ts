/** @file What a browser may import: the pure modules reach no Node module through their static imports. */
import { readFileSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, it } from 'vitest'

const here = dirname(fileURLToPath(import.meta.url))

function staticImports(file: string, seen = new Set<string>()): Set<string> {
  const text = readFileSync(file, 'utf8')
  for (const [, target] of text.matchAll(/^(?:import|export)\s(?!type\s)[^;'"]*from '([^']+)'/gm)) {
    const name = target.startsWith('.') ? resolve(dirname(file), target) : target
    if (seen.has(name)) continue
    seen.add(name)
    if (target.startsWith('.')) staticImports(name, seen)
  }
  return seen
}

it.each(['parse.ts', 'serialize.ts', 'cast.ts', 'dtype.ts', 'header.ts', 'source.ts'])('%s is free of Node', module => {
  const imports = [...staticImports(resolve(here, module))]
  expect(imports.filter(name => !name.startsWith('/'))).toEqual([])
})

it('notices Node where it is used', () => {
  expect([...staticImports(resolve(here, 'checkpoint.ts'))]).toContain('node:fs/promises')
})
