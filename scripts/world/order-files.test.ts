/** @file assets/orders is what the generators write. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { repositoryRoot } from '../../test/shared.ts'
import { orderFiles } from './order-files.ts'

it('assets/orders is what the generators write (npx tsx scripts/write-orders.ts)', () => {
  for (const [name, text] of Object.entries(orderFiles())) {
    expect(readFileSync(join(repositoryRoot, 'assets/orders', name), 'utf8')).toBe(text)
  }
})
