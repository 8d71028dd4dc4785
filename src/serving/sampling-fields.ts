/** @file The fields that chat and completions share: how tokens are chosen, and what is told of them. */
import { z } from 'zod'
import type { RowSettings, ServedModel, TextBackend } from './backend.ts'
import { type ApiError, badRequest } from './errors.ts'

/** The most answers to one prompt. */
const MOST_CHOICES = 128

const whole = (least: number, most?: number) => {
  const expected = most === undefined ? `expected a whole number from ${least} on` : `expected ${least} to ${most}`
  const number = z.int({ error: `expected a whole number` }).min(least, { error: expected })
  return most === undefined ? number : number.max(most, { error: expected })
}

const between = (least: number, most: number) => {
  const error = `expected a number from ${least} to ${most}`
  return z.number({ error }).min(least, { error }).max(most, { error })
}

const flag = z.boolean({ error: 'expected true or false' })

/** `top_k`, `min_p` and `repetition_penalty` are extensions, named as in other servers. */
export const SAMPLING_FIELDS = {
  model: z.string({ error: 'expected the id of a model; GET /v1/models lists them' }),
  max_tokens: whole(1).optional(),
  n: whole(1, MOST_CHOICES).optional(),
  temperature: between(0, 2).optional(),
  top_p: between(0, 1).optional(),
  top_k: whole(-1).optional(),
  min_p: between(0, 1).optional(),
  repetition_penalty: z
    .number({ error: 'expected a number' })
    .positive({ error: 'expected a number above 0' })
    .optional(),
  presence_penalty: between(-2, 2).optional(),
  frequency_penalty: between(-2, 2).optional(),
  logit_bias: z
    .record(z.string(), between(-100, 100), { error: 'expected an object of tokens and numbers' })
    .optional(),
  seed: z.int({ error: 'expected a whole number' }).optional(),
  stop: z
    .union(
      [
        z.string().min(1, { error: 'expected a text of at least one character' }),
        z
          .array(z.string({ error: 'expected a text' }).min(1, { error: 'expected a text of at least one character' }))
          .max(4, { error: 'expected at most 4 texts' }),
      ],
      { error: 'expected a text or a list of texts' },
    )
    .optional(),
  stream: flag.optional(),
  stream_options: z
    .strictObject(
      { include_usage: flag.optional(), include_obfuscation: flag.optional() },
      { error: 'expected an object with include_usage' },
    )
    .optional(),
}

/** What was read of {@link SAMPLING_FIELDS}. */
export type SamplingFields = z.infer<z.ZodObject<typeof SAMPLING_FIELDS>>

/** Fields that change nothing of an answer. */
export const IGNORED_FIELDS = [
  ...['user', 'metadata', 'store', 'service_tier', 'safety_identifier'],
  ...['prompt_cache_key', 'prompt_cache_retention'],
] as const

/**
 * How the tokens of a request are chosen.
 *
 * @param defaults where neither the request nor the model's authors say it
 * @throws ApiError 400 for what does not fit the vocabulary, or together
 */
export function rowSettings(
  fields: SamplingFields,
  backend: Pick<TextBackend, 'defaults' | 'vocabSize'>,
  maxNewTokens: number,
): RowSettings {
  const { defaults } = backend
  const topK = fields.top_k ?? defaults.topK ?? 0
  if (fields.stream_options && !fields.stream) {
    throw badRequest("'stream_options' belongs to 'stream': true. Leave it out.", 'stream_options')
  }
  return {
    maxNewTokens,
    temperature: fields.temperature ?? defaults.temperature ?? 1,
    topP: fields.top_p ?? defaults.topP ?? 1,
    topK: Math.max(topK, 0),
    minP: fields.min_p ?? defaults.minP ?? 0,
    repetitionPenalty: fields.repetition_penalty ?? defaults.repetitionPenalty ?? 1,
    presencePenalty: fields.presence_penalty ?? 0,
    frequencyPenalty: fields.frequency_penalty ?? 0,
    logitBias: logitBias(fields.logit_bias ?? {}, backend.vocabSize),
    seed: fields.seed ?? crypto.getRandomValues(new Uint32Array(1))[0],
    stop: typeof fields.stop === 'string' ? [fields.stop] : (fields.stop ?? []),
  }
}

/**
 * How many tokens an answer may have: as asked for, but never more than there are positions.
 *
 * @throws ApiError 400 where the prompt alone has too many, or a token that the model does not know
 */
export function answerLength(
  prompt: readonly number[],
  asked: number,
  { contextLength }: ServedModel,
  { vocabSize }: Pick<TextBackend, 'vocabSize'>,
): number {
  // The engine would fail for every row of the batch.
  const strange = prompt.find(token => token >= vocabSize)
  if (strange !== undefined) {
    throw badRequest(
      `Invalid prompt: ${strange} is no token of the vocabulary, expected 0 to ${vocabSize - 1}.`,
      'prompt',
      'invalid_value',
    )
  }
  if (prompt.length === 0) {
    throw badRequest('The prompt has no tokens; it needs at least one.', 'prompt')
  }
  if (prompt.length <= contextLength) return Math.min(asked, contextLength - prompt.length + 1)
  throw tooLong(String(prompt.length), contextLength)
}

/**
 * Refuses a text that is too long whatever its tokens are: to find them would keep all others waiting.
 *
 * @throws ApiError 400
 */
export function checkText(
  text: string,
  { contextLength }: ServedModel,
  { longestToken }: Pick<TextBackend, 'longestToken'>,
): void {
  const least = Math.ceil(text.length / longestToken)
  if (least > contextLength) throw tooLong(`at least ${least}`, contextLength)
}

function tooLong(count: string, contextLength: number): ApiError {
  return badRequest(
    `This model's maximum context length is ${contextLength} tokens. However, your prompt resulted in ${count} tokens. Please reduce the length of the prompt.`,
    undefined,
    'context_length_exceeded',
  )
}

function logitBias(given: Readonly<Record<string, number>>, vocabSize: number): Map<number, number> {
  return new Map(
    Object.entries(given).map(([key, bias]) => {
      const token = Number(key)
      if (/^\d+$/.test(key) && token < vocabSize) return [token, bias]
      throw badRequest(
        `Invalid 'logit_bias': "${key}" is no token of the vocabulary, expected 0 to ${vocabSize - 1}.`,
        'logit_bias',
        'invalid_value',
      )
    }),
  )
}
