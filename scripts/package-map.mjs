/** @file Which source file stands behind each name that the package exports. */
import { existsSync, readFileSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'

const ownRoot = resolve(dirname(fileURLToPath(import.meta.url)), '..')

/**
 * Reads `exports` and `bin` of package.json, and finds the source of each `dist/` file (`dist/a/b.js` is `src/a/b.ts`).
 * @param {string} [root] the folder of package.json
 * @returns {{ name: string, source: string, exists: boolean }[]} name: what a user writes (`peft-ts/nn`), or `bin:peft`;
 *   source: absolute path
 */
export function packageMap(root = ownRoot) {
  const { name, exports, bin = {} } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
  /** @type {[string, string][]} */
  const built = Object.entries(exports).flatMap(([path, target]) =>
    typeof target === 'object' ? [[path.replace('.', name), target.default]] : [],
  )
  for (const [command, path] of Object.entries(bin)) built.push([`bin:${command}`, path])
  return built.map(([exported, path]) => {
    const source = join(root, path.replace(/^\.\/dist\//, 'src/').replace(/\.js$/, '.ts'))
    return { name: exported, source, exists: existsSync(source) }
  })
}
