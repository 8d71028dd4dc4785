/** @file Writes docs/methods.md from the registry of methods. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { methodsDocument } from '../src/conformance/overview.ts'

writeFileSync(join(fileURLToPath(new URL('..', import.meta.url)), 'docs/methods.md'), methodsDocument())
