/** @file Writes what is written from the sources: docs/methods.md from the registry of methods, and the schema of run files. */
import './write-run-schema.ts'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { methodsDocument } from '../src/conformance/overview.ts'

writeFileSync(join(fileURLToPath(new URL('..', import.meta.url)), 'docs/methods.md'), methodsDocument())
