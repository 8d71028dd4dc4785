/** @file Tests of the test helpers: the shared folder and the oracle cases. */
import { existsSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { describe, expect, it } from 'vitest'
import { oracleCase, repositoryRoot, sharedFolder, skippable } from './shared.ts'

const oracle = resolve(repositoryRoot, '../shared/oracle')

describe('sharedFolder', () => {
  it('is undefined for what is not there', () => {
    expect(sharedFolder('no-such-folder', 'x')).toBeUndefined()
  })

  it('is the absolute path beside the repository where it is there', () => {
    expect(sharedFolder('oracle')).toBe(existsSync(oracle) ? oracle : undefined)
  })
})

describe('oracleCase', () => {
  it('is undefined for an unknown case', () => {
    expect(oracleCase('models', 'no-such-model')).toBeUndefined()
  })

  it('prefers the shared folder and falls back on the copy in the project', () => {
    const shared = join(oracle, 'models', 'bert-seqcls')
    const copy = join(repositoryRoot, 'test/oracle/models/bert-seqcls')
    const expected = [shared, copy].find(existsSync)
    expect(oracleCase('models', 'bert-seqcls')).toBe(expected)
  })
})

describe('skippable', () => {
  it('appends the reason where there is one', () => {
    expect(skippable('oracle: x', 'no copy here')).toBe('oracle: x #skip: no copy here')
    expect(skippable('oracle: x', false)).toBe('oracle: x')
  })
})
