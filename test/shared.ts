/** @file Where tests find reference results: the shared folder beside the repository, else the copy kept in the project. */
import { existsSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'

const testFolder = dirname(fileURLToPath(import.meta.url))

/** The root of the repository. */
export const repositoryRoot: string = resolve(testFolder, '..')

/** The kinds of reference cases; each is a folder of the oracle. */
export type OracleKind = 'models' | 'adapters' | 'adapterhub' | 'diffusers'

/** The absolute path of `../shared/<parts>` (a folder or a file) beside the repository; undefined where it is not there. */
export function sharedFolder(...parts: string[]): string | undefined {
  return existing(resolve(repositoryRoot, '../shared', ...parts))
}

/**
 * The folder of one reference case: `../shared/oracle/<kind>/<name>`, else the copy in `test/oracle/<kind>/<name>`,
 * else undefined.
 */
export function oracleCase(kind: OracleKind, name: string): string | undefined {
  return sharedFolder('oracle', kind, name) ?? existing(join(testFolder, 'oracle', kind, name))
}

/**
 * The name of a test that cannot always run: `name`, with the reason after `#skip:` where there is one. `npm test`
 * prints the reason of every skipped test and fails on a skipped test that gives none.
 *
 * @example
 * const folder = oracleCase('models', 'bert-seqcls')
 * describe.skipIf(!folder)(skippable('oracle: bert-seqcls', !folder && 'no copy of the oracle here'), () => { ... })
 */
export function skippable(name: string, reason: string | false | undefined): string {
  return reason ? `${name} #skip: ${reason}` : name
}

function existing(path: string): string | undefined {
  return existsSync(path) ? path : undefined
}
