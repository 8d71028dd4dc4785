/** @file The body of POST /v1/completions. */
import { z } from 'zod'
import type { Tokenizer } from '../data/index.ts'
import type { RowRequest, ServedModel, TextBackend } from './backend.ts'
import { badRequest } from './errors.ts'
import { type OtherFields, readFields } from './fields.ts'
import { answerLength, checkText, IGNORED_FIELDS, rowSettings, SAMPLING_FIELDS } from './sampling-fields.ts'

/** What OpenAI takes where a request does not say it. */
const DEFAULT_MAX_TOKENS = 16

const tokens = z.array(z.int({ error: 'expected a token' }).min(0, { error: 'expected a token' }))

const SCHEMA = z.object({
  ...SAMPLING_FIELDS,
  prompt: z.union([z.string(), z.array(z.string()), tokens, z.array(tokens)], {
    error: 'expected a text, a list of texts, a list of tokens, or a list of such lists',
  }),
  echo: z.boolean({ error: 'expected true or false' }).optional(),
  logprobs: z
    .int({ error: 'expected a whole number' })
    .min(0, { error: 'expected 0 to 5' })
    .max(5, { error: 'expected 0 to 5' })
    .optional(),
})

const OTHERS: OtherFields = { ignored: IGNORED_FIELDS, unsupported: { best_of: [1], suffix: [''] } }

/** Completions that were asked for. */
export interface CompletionRequest {
  model: ServedModel
  /** The answers to the first prompt, then those to the second, and so on. */
  rows: RowRequest[]
  promptTokens: number
  /** The text in front of each row's answer: its prompt, or nothing. */
  echoes: string[]
  stream: boolean
  includeUsage: boolean
}

/**
 * Reads the body of a request.
 *
 * @throws ApiError 400 for anything that is wrong, 404 for an unknown model
 */
export function readCompletionRequest(
  body: unknown,
  backend: TextBackend,
  modelOf: (id: string) => ServedModel,
): CompletionRequest {
  const fields = readFields(body, SCHEMA, OTHERS)
  const model = modelOf(fields.model)
  const { n = 1, echo = false, logprobs, max_tokens = DEFAULT_MAX_TOKENS } = fields
  if (echo && logprobs !== undefined) {
    throw badRequest("'logprobs' together with 'echo' is not supported by this server: prompts are not rated.", 'echo')
  }
  const prompts = readPrompts(fields.prompt, model, backend)
  const rows = prompts.flatMap(({ ids }) => {
    const settings = { ...rowSettings(fields, backend, answerLength(ids, max_tokens, model, backend)), logprobs }
    return Array.from({ length: n }, (_, choice) => ({ model: model.id, prompt: ids, settings, choice }))
  })
  return {
    model,
    rows,
    promptTokens: prompts.reduce((sum, { ids }) => sum + ids.length, 0),
    echoes: prompts.flatMap(({ text }) => Array<string>(n).fill(echo ? text() : '')),
    stream: fields.stream ?? false,
    includeUsage: fields.stream_options?.include_usage ?? false,
  }
}

function readPrompts(given: z.infer<typeof SCHEMA>['prompt'], model: ServedModel, backend: TextBackend) {
  const { tokenizer } = backend
  const single = typeof given === 'string' || typeof given[0] === 'number'
  const list = (single ? [given] : given) as readonly (string | number[])[]
  if (list.length === 0) throw badRequest("Invalid 'prompt': the list is empty.", 'prompt', 'invalid_value')
  return list.map(prompt => {
    if (typeof prompt === 'string') {
      checkText(prompt, model, backend)
      return { ids: encode(prompt, tokenizer), text: () => prompt }
    }
    return { ids: prompt, text: () => tokenizer.decode(prompt) }
  })
}

/** As training writes texts: a beginning-of-text token where the tokenizer has one, and no end. */
function encode(text: string, tokenizer: Tokenizer): number[] {
  const { before } = tokenizer.surroundingTokens()
  return [...before, ...tokenizer.encode(text, { addSpecialTokens: false }).inputIds]
}
