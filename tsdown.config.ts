/** @file The build: dist/ mirrors src/ file by file, as ES modules with their types; nothing is bundled. */
import { resolve } from 'node:path'
import { defineConfig } from 'tsdown'
import { packageMap } from './scripts/package-map.mjs'

const entries = packageMap()
for (const { name, exists } of entries) {
  if (!exists) console.warn(`${name}: package.json names it, but its source is not there; it is left out of the build.`)
}

export default defineConfig({
  // Plain .js files under src/ are loaded by address (`new Worker(new URL('./worker.js', import.meta.url))`), which no
  // import shows, so they are entries of their own and land beside the module that loads them.
  entry: [
    ...entries.filter(({ exists }) => exists).map(({ source }) => source),
    'src/**/*.js',
    '!src/**/*.test.js',
    '!src/monitoring/page/**',
  ],
  // What a browser reads is no module of the package: it is copied as it is.
  copy: [{ from: 'src/monitoring/page/*.{html,css,js}', to: 'dist/monitoring/page' }],
  format: 'esm',
  platform: 'node',
  target: 'node20',
  unbundle: true,
  fixedExtension: false,
  skipNodeModulesBundle: true,
  // Modules that register themselves have no export that anybody uses; tree shaking would drop them.
  treeshake: false,
  outputOptions: { preserveModulesRoot: resolve('src') },
  dts: true,
  sourcemap: true,
  clean: true,
  failOnWarn: false,
})
