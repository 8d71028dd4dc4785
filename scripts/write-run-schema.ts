/** @file Writes assets/run.schema.json, which editors read for run files. */
import { writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { runSchemaText } from './run-schema.ts'

writeFileSync(fileURLToPath(new URL('../assets/run.schema.json', import.meta.url)), runSchemaText())
