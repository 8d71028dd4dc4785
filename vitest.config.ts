/** @file The tests: beside the code, in test/ and in scripts/; `*.slow.test.ts` only under `--mode slow`. */
import { availableParallelism } from 'node:os'
import { configDefaults, defineConfig } from 'vitest/config'
import { packageMap } from './scripts/package-map.mjs'

const SLOW = '**/*.slow.test.ts'

export default defineConfig(({ mode }) => {
  const slow = mode === 'slow'
  return {
    resolve: {
      alias: packageMap().map(({ name, source }) => ({ find: new RegExp(`^${name}$`), replacement: source })),
    },
    test: {
      environment: 'node',
      pool: 'forks',
      maxWorkers: availableParallelism(),
      include: slow ? [SLOW] : ['src/**/*.test.ts', 'test/**/*.test.ts', 'scripts/**/*.test.ts', 'bench/**/*.test.ts'],
      exclude: slow ? configDefaults.exclude : [...configDefaults.exclude, SLOW],
      testTimeout: slow ? 600_000 : 30_000,
      hookTimeout: slow ? 600_000 : 60_000,
    },
  }
})
