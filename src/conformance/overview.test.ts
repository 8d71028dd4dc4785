/** @file docs/methods.md is what the registry says. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { repositoryRoot } from '../../test/shared.ts'
import { methodsDocument } from './overview.ts'

it('docs/methods.md is what the registry says (npm run docs writes it), closed forms equal to the counts', () => {
  expect(readFileSync(join(repositoryRoot, 'docs/methods.md'), 'utf8')).toBe(methodsDocument())
})
