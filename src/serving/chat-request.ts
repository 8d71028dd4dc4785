/** @file The body of POST /v1/chat/completions. */
import { z } from 'zod'
import type { ChatMessage } from '../data/index.ts'
import type { RowRequest, ServedModel, TextBackend } from './backend.ts'
import { badRequest } from './errors.ts'
import { type OtherFields, readFields } from './fields.ts'
import { answerLength, checkText, IGNORED_FIELDS, rowSettings, SAMPLING_FIELDS } from './sampling-fields.ts'
import { writesToolCalls } from './tool-calls.ts'

const ROLES = ['system', 'developer', 'user', 'assistant', 'tool'] as const

const flag = z.boolean({ error: 'expected true or false' })

const SCHEMA = z.object({
  ...SAMPLING_FIELDS,
  messages: z
    .array(z.unknown(), { error: 'expected a list of messages' })
    .min(1, { error: 'expected at least one message' }),
  max_completion_tokens: SAMPLING_FIELDS.max_tokens,
  logprobs: flag.optional(),
  top_logprobs: z
    .int({ error: 'expected a whole number' })
    .min(0, { error: 'expected 0 to 20' })
    .max(20, { error: 'expected 0 to 20' })
    .optional(),
  tools: z
    .array(
      z.object(
        {
          type: z.literal('function', { error: 'expected "function"' }),
          function: z.looseObject(
            { name: z.string({ error: 'expected the name of the function' }) },
            { error: 'expected a function with a name' },
          ),
        },
        { error: 'expected { type: "function", function }' },
      ),
      { error: 'expected a list of tools' },
    )
    .optional(),
  tool_choice: z
    .enum(['auto', 'none'], { error: 'expected "auto" or "none": what a model calls cannot be forced by this server' })
    .optional(),
  response_format: z
    .object(
      { type: z.literal('text', { error: 'expected "text": this server does not constrain what a model writes' }) },
      { error: 'expected { type: "text" }' },
    )
    .optional(),
  chat_template_kwargs: z
    .record(z.string(), z.unknown(), { error: 'expected an object of variables for the template' })
    .optional(),
})

const OTHERS: OtherFields = {
  ignored: IGNORED_FIELDS,
  unsupported: {
    ...{ audio: [], functions: [[]], function_call: ['none'], modalities: [['text']], parallel_tool_calls: [true] },
    ...{ prediction: [], reasoning_effort: [], verbosity: [], web_search_options: [], moderation: [] },
  },
}

const MESSAGE = z.object({
  role: z.enum(ROLES, { error: `expected ${ROLES.join(', ')}` }),
  content: z
    .union(
      [
        z.string(),
        z.array(
          z.object(
            {
              type: z.literal('text', { error: 'expected "text": this server reads only text' }),
              text: z.string({ error: 'expected a text' }),
            },
            { error: 'expected a part such as { type: "text", text }' },
          ),
        ),
      ],
      { error: 'expected a text or a list of parts' },
    )
    .optional(),
  name: z.string({ error: 'expected a name' }).optional(),
  tool_call_id: z.string({ error: 'expected the id of a call' }).optional(),
  reasoning_content: z.string({ error: 'expected a text' }).optional(),
  tool_calls: z
    .array(
      z.object({
        id: z.string({ error: 'expected an id' }).optional(),
        type: z.literal('function', { error: 'expected "function"' }),
        function: z.object({
          name: z.string({ error: 'expected the name of the function' }),
          arguments: z.string({ error: 'expected the arguments as a JSON text' }),
        }),
      }),
      { error: 'expected a list of calls' },
    )
    .optional(),
})

const OTHERS_OF_MESSAGE: OtherFields = {
  ignored: ['refusal', 'annotations'],
  unsupported: { audio: [], function_call: [] },
}

/** A chat that was asked for. */
export interface ChatRequest {
  model: ServedModel
  rows: RowRequest[]
  promptTokens: number
  stream: boolean
  includeUsage: boolean
  /** Whether calls of tools are looked for in the answers. */
  findsToolCalls: boolean
}

/**
 * Reads the body of a request.
 *
 * @throws ApiError 400 for anything that is wrong, 404 for an unknown model
 */
export function readChatRequest(
  body: unknown,
  backend: TextBackend,
  modelOf: (id: string) => ServedModel,
): ChatRequest {
  const fields = readFields(body, SCHEMA, OTHERS)
  const model = modelOf(fields.model)
  const { logprobs = false, top_logprobs: topLogprobs, max_tokens, max_completion_tokens } = fields
  if (topLogprobs !== undefined && !logprobs) {
    throw badRequest("'top_logprobs' belongs to 'logprobs': true.", 'top_logprobs')
  }
  const messages = fields.messages.map(readMessage)
  const tools = fields.tool_choice === 'none' ? undefined : fields.tools
  const text = applyTemplate(backend, messages, tools, fields.chat_template_kwargs)
  checkText(text, model, backend)
  const prompt = backend.tokenizer.encode(text, { addSpecialTokens: false }).inputIds
  const length = answerLength(prompt, max_completion_tokens ?? max_tokens ?? Number.POSITIVE_INFINITY, model, backend)
  const settings = rowSettings(fields, backend, length)
  if (logprobs) settings.logprobs = topLogprobs ?? 0
  return {
    model,
    promptTokens: prompt.length,
    rows: Array.from({ length: fields.n ?? 1 }, (_, choice) => ({ model: model.id, prompt, settings, choice })),
    stream: fields.stream ?? false,
    includeUsage: fields.stream_options?.include_usage ?? false,
    findsToolCalls: Boolean(tools?.length) && writesToolCalls(backend.tokenizer.templateSource({ tools })),
  }
}

function readMessage(value: unknown, index: number): ChatMessage {
  const where = `messages[${index}]`
  const { content, role, tool_calls, ...others } = readFields(value, MESSAGE, OTHERS_OF_MESSAGE, `${where}.`)
  if (content === undefined && !(role === 'assistant' && tool_calls?.length)) {
    throw badRequest(`Invalid '${where}': it has no content.`, `${where}.content`, 'invalid_value')
  }
  const text = typeof content === 'string' ? content : (content ?? []).map(part => part.text).join('')
  const calls = tool_calls?.map((call, i) => {
    const { name, arguments: json } = call.function
    return { ...call, function: { name, arguments: readArguments(json, `${where}.tool_calls[${i}]`) } }
  })
  return { ...others, role: role === 'developer' ? 'system' : role, content: text, ...(calls && { tool_calls: calls }) }
}

/** Templates write arguments as JSON themselves. */
function readArguments(json: string, where: string): unknown {
  try {
    return JSON.parse(json)
  } catch {
    const name = `${where}.function.arguments`
    throw badRequest(
      `Invalid '${name}': expected JSON, got ${JSON.stringify(json.slice(0, 60))}.`,
      name,
      'invalid_value',
    )
  }
}

function applyTemplate(
  { tokenizer }: TextBackend,
  messages: ChatMessage[],
  tools: unknown[] | undefined,
  variables: Record<string, unknown> | undefined,
): string {
  try {
    return tokenizer.applyChatTemplate(messages, { addGenerationPrompt: true, tools, variables, tokenize: false })
  } catch (error) {
    // Templates refuse conversations that the model was not made for, such as two turns of one role.
    throw badRequest((error as Error).message, 'messages', 'chat_template_error')
  }
}
