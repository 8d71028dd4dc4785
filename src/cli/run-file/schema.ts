/** @file The JSON schema of run files, from the tables that the command line itself reads. */

import type { Command } from 'commander'
import { camelCase } from '../../util/spelling.ts'
import { methodOptionNames } from '../assignments.ts'
import { namedMethods } from '../methods.ts'
import { methodNames } from '../tuning.ts'
import { type RunKey, runKeys, type Section, sentence } from './keys.ts'

/** A JSON schema. */
export type JsonSchema = Readonly<Record<string, unknown>>

/** What the sources say about options, for those who read the file in an editor. */
export interface Documentation {
  /** The description of a training option. */
  training(name: string): string
  /** The description and the schema of an option of a method (`LORA`, `loraAlpha`), as far as they are known. */
  method(peftType: string, option: string): { description?: string; schema?: JsonSchema }
}

/** The schema of run files. */
export function runSchema(train: Command, documentation: Documentation): JsonSchema {
  const keys = runKeys(train)
  const property = (key: RunKey) => {
    const { name, schema, initial, description = documentation.training(name) } = key
    return [name, { description: sentence(description), ...schema, ...(initial !== undefined && { default: initial }) }]
  }
  const properties = (section: Section) =>
    Object.fromEntries(keys.filter(key => key.section === section).map(property)) as Record<string, JsonSchema>
  const part = (section: Section, description: string): JsonSchema => ({
    description,
    type: ['object', 'null'],
    properties: properties(section),
    additionalProperties: false,
  })
  const { train: trainPath } = properties('data')
  return {
    $schema: 'https://json-schema.org/draft/2020-12/schema',
    title: 'A run of peft train',
    description: 'Everything that a training is made of. Relative paths are relative to the folder of the file.',
    type: 'object',
    properties: {
      ...properties('run'),
      method: { $ref: '#/$defs/method' },
      data: { anyOf: [{ $ref: '#/$defs/data' }, trainPath] },
      training: { $ref: '#/$defs/training' },
      versions: {
        description: 'What the run was made with, in files that were saved with an adapter.',
        type: 'object',
        additionalProperties: { type: 'string' },
      },
    },
    additionalProperties: false,
    $defs: {
      data: part('data', 'What is trained and evaluated on; a path alone is the training data.'),
      training: part('training', 'How the training goes: TrainingArguments.'),
      method: {
        description: 'What is trained: the name of a method, or its name and options as in its configuration.',
        anyOf: [
          { enum: methodNames() },
          ...methodNames().map(name => ({ $ref: `#/$defs/method.${name}` })),
          { type: 'null' },
        ],
      },
      ...Object.fromEntries(methodNames().map(name => [`method.${name}`, methodSchema(name, documentation)] as const)),
    },
  }
}

function methodSchema(name: string, documentation: Documentation): JsonSchema {
  const method = namedMethods().get(name)
  const options = methodOptionNames(name).map(option => {
    const { description, schema } = documentation.method(method!.peftType, camelCase(option))
    return [camelCase(option), { ...(description && { description }), ...schema, default: method!.options[option] }]
  })
  return {
    ...(method && { description: method.title }),
    type: 'object',
    properties: { name: { const: name }, ...Object.fromEntries(options) },
    // A method without a name is LoRA.
    ...(name !== 'lora' && { required: ['name'] }),
    additionalProperties: false,
  }
}
