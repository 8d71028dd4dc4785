/** @file The text of assets/run.schema.json: the tables of the command line, with the docstrings of the sources. */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { createProgram } from '../src/cli/program.ts'
import { type JsonSchema, runSchema } from '../src/cli/run-file/schema.ts'

const root = fileURLToPath(new URL('..', import.meta.url))

/** An option as its source declares it. */
interface Declared {
  description: string
  /** Its type in TypeScript. */
  type: string
}

/** The schema as it is written to the file. */
export function runSchemaText(): string {
  const unused = () => {
    throw new Error('No command is run here')
  }
  const terminal = { stdin: process.stdin, stderr: process.stderr, takeInterrupts: () => () => {} }
  const program = createProgram({ output: unused, signal: undefined, terminal })
  const train = program.commands.find(command => command.name() === 'train')!
  const training = declaredIn('src/training/arguments.ts')
  const methods = methodOptions()
  const schema = runSchema(train, {
    training: name => training.get(name)!.description,
    method: (peftType, option) => {
      const declared = methods.get(peftType)?.get(option)
      return declared ? { description: declared.description, schema: schemaOf(declared.type) } : {}
    },
  })
  return `${JSON.stringify(schema, undefined, 2)}\n`
}

/** The options of every method, by its type in PEFT. */
function methodOptions(): Map<string, Map<string, Declared>> {
  const found = new Map<string, Map<string, Declared>>()
  const shared = declaredIn('src/peft/method.ts')
  for (const folder of readdirSync(join(root, 'src/peft/methods'), { withFileTypes: true })) {
    if (!folder.isDirectory()) continue
    const path = `src/peft/methods/${folder.name}/config.ts`
    const source = sourceOf(path)
    for (const [, type] of source.matchAll(/readonly peftType = '(\w+)'/g)) {
      found.set(type, new Map([...shared, ...declaredIn(path)]))
    }
  }
  return found
}

function sourceOf(path: string): string {
  try {
    return readFileSync(join(root, path), 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return ''
    throw error
  }
}

/** Properties with a docstring in a source file. */
function declaredIn(path: string): Map<string, Declared> {
  const pattern = /\/\*\*((?:(?!\*\/)[\s\S])*)\*\/\s+(?:readonly )?(\w+)\??: ([^\n]*)/g
  return new Map(
    [...sourceOf(path).matchAll(pattern)].map(([, comment, name, type]) => {
      const text = comment.replace(/^\s*\* ?/gm, ' ').replace(/\{@link (\w+)\}/g, '$1')
      return [name, { description: text.replace(/\s+/g, ' ').trim(), type }]
    }),
  )
}

/** What a type of TypeScript takes; empty where it is another than these. */
function schemaOf(type: string): JsonSchema {
  const parts = type.split(' | ').map(part => part.replace(/^readonly (\w+)\[\]$/, '$1[]'))
  const known: Record<string, JsonSchema> = {
    number: { type: 'number' },
    string: { type: 'string' },
    boolean: { type: 'boolean' },
    null: { type: 'null' },
    'string[]': { type: 'array', items: { type: 'string' } },
    'number[]': { type: 'array', items: { type: 'number' } },
    'Readonly<Record<string, number>>': { type: 'object', additionalProperties: { type: 'number' } },
  }
  const schemas = parts.map(part => (/^'.*'$/.test(part) ? { const: part.slice(1, -1) } : known[part]))
  if (schemas.some(schema => schema === undefined)) return {}
  if (schemas.every(schema => 'const' in schema!))
    return { enum: schemas.map(schema => (schema as { const: string }).const) }
  return schemas.length === 1 ? schemas[0]! : { anyOf: schemas }
}
