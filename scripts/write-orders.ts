/** @file Writes assets/orders: what the embedded base learns in the demo and in comparisons, and old questions. */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { orderFiles } from './world/order-files.ts'

const folder = join(fileURLToPath(new URL('..', import.meta.url)), 'assets/orders')
mkdirSync(folder, { recursive: true })
for (const [name, text] of Object.entries(orderFiles())) writeFileSync(join(folder, name), text)
