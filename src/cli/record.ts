/** @file `peft_ts.json`: what an adapter's own files do not say and a later command needs, such as the names of classes. */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { EMBEDDING_LOSSES } from '../embeddings/loss-names.ts'
import { writeFileAtomic } from '../util/files.ts'

/** The file; Python's PEFT and Transformers leave it alone. */
export const RECORD_FILE = 'peft_ts.json'

const schema = z.object({
  task: z.enum([
    'SEQ_CLS',
    'CAUSAL_LM',
    'SEQ_2_SEQ_LM',
    'TOKEN_CLS',
    'QUESTION_ANS',
    'IMAGE_CLS',
    'FEATURE_EXTRACTION',
  ]),
  base_model: z.string(),
  method: z.string(),
  labels: z.array(z.string()).nullable(),
  columns: z.record(z.string(), z.string()),
  format: z.string().nullable(),
  max_length: z.number().int().positive().nullable(),
  speech: z
    .object({ language: z.string().nullable(), task: z.enum(['transcribe', 'translate']).nullable() })
    .optional(),
  /** What embeddings were trained by. */
  loss: z.enum(EMBEDDING_LOSSES).optional(),
})

/** How a model or an adapter was trained. */
export type TrainingRecord = z.infer<typeof schema>

/** Writes the record beside what was trained. */
export async function writeRecord(folder: string, record: TrainingRecord): Promise<void> {
  await writeFileAtomic(join(folder, RECORD_FILE), `${JSON.stringify(record, undefined, 2)}\n`)
}

/** The record in a folder; undefined where there is none. Throws where there is one that cannot be read. */
export async function readRecord(folder: string): Promise<TrainingRecord | undefined> {
  const path = join(folder, RECORD_FILE)
  let text: string
  try {
    text = await readFile(path, 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
  try {
    return schema.parse(JSON.parse(text))
  } catch (cause) {
    const reason = cause instanceof z.ZodError ? z.prettifyError(cause) : (cause as Error).message
    throw new Error(`${path} cannot be read: ${reason}. Repair it, or remove it and give --labels and --columns.`, {
      cause,
    })
  }
}
