/** @file For tests: a tiny chat model with adapters, served on a free port. */
import { AutoTokenizer, type Tokenizer } from '../../data/index.ts'
import { tinyLlamaFolder } from '../../data/testing/fixtures.ts'
import '../../generation/index.ts'
import { AutoConfig, AutoModelForCausalLM, type PreTrainedModel } from '../../models/index.ts'
import { type AnyPeftConfig, LoraConfig, PeftModel } from '../../peft/index.ts'
import { addDrawn } from '../../peft/testing/life.ts'
import { type ModelBackend, type ModelBackendOptions, openBackend } from '../model-backend.ts'
import { type RunningServer, type ServeOptions, serve } from '../server.ts'

/** A tiny Llama with random weights, always the same, and a tokenizer for it. */
export async function tinyChat(overrides: object = {}): Promise<{ base: PreTrainedModel; tokenizer: Tokenizer }> {
  const tokenizer = await AutoTokenizer.fromPretrained(tinyLlamaFolder)
  const config = AutoConfig.fromJSON({
    ...{ model_type: 'llama', vocab_size: tokenizer.vocabSize, hidden_size: 32, intermediate_size: 48 },
    ...{ num_hidden_layers: 2, num_attention_heads: 4, num_key_value_heads: 2, max_position_embeddings: 256 },
    // Large, so that the most likely tokens vary.
    ...{ initializer_range: 0.3, tie_word_embeddings: false },
    ...{ eos_token_id: tokenizer.eosTokenId, bos_token_id: tokenizer.bosTokenId, pad_token_id: null },
    ...overrides,
  })
  const base = AutoModelForCausalLM.fromConfig(config)
  base.initialize(1)
  return { base, tokenizer }
}

/** Adapters called `lora0`, `lora1`, …, whose answers differ. */
export function withLoras(base: PreTrainedModel, count: number): PeftModel<PreTrainedModel> {
  const peft = new PeftModel(base)
  for (let i = 0; i < count; i++) {
    const config = new LoraConfig({ r: 2 + (i % 3), targetModules: ['q_proj', 'v_proj', 'down_proj'] })
    addDrawn(peft as unknown as PeftModel, `lora${i}`, config as AnyPeftConfig, i)
  }
  return peft
}

/** A tiny model that is served. */
export interface TinyServer extends AsyncDisposable {
  peft: PeftModel<PreTrainedModel>
  tokenizer: Tokenizer
  backend: ModelBackend
  server: RunningServer
  url: string
  /** Sends JSON. */
  post(path: string, body: unknown, init?: RequestInit): Promise<Response>
}

/** Options of {@link tinyServer}. */
export interface TinyServerOptions extends Partial<ModelBackendOptions>, ServeOptions {
  /** How many LoRA adapters it has (2). */
  loras?: number
  /** Adds others. */
  prepare?: (peft: PeftModel<PreTrainedModel>) => void
}

/** Serves a tiny model called `tiny` with some LoRA adapters. */
export async function tinyServer(options: TinyServerOptions = {}): Promise<TinyServer> {
  const { loras = 2, prepare, ...rest } = options
  const { base, tokenizer } = await tinyChat()
  const peft = withLoras(base, loras)
  prepare?.(peft)
  const backend = await openBackend(peft, tokenizer, { id: 'tiny', ...rest })
  const server = await serve(backend, { port: 0, ...rest })
  return {
    ...{ peft, tokenizer, backend, server, url: server.url },
    post: (path, body, init = {}) =>
      fetch(server.url + path, {
        method: 'POST',
        body: typeof body === 'string' ? body : JSON.stringify(body),
        ...init,
        headers: { 'content-type': 'application/json', ...init.headers },
      }),
    [Symbol.asyncDispose]: () => server.close(),
  }
}

/** The JSON of a response. */
// biome-ignore lint/suspicious/noExplicitAny: tests say what they expect of it
export function jsonOf(response: Response): Promise<any> {
  return response.json()
}

/** The objects of a stream of server-sent events; the last is `[DONE]` where the stream ended well. */
export async function readEvents(response: Response): Promise<(Record<string, unknown> | '[DONE]')[]> {
  const text = await response.text()
  return text
    .split('\n\n')
    .filter(part => part !== '')
    .map(part => part.replace(/^data: /, ''))
    .map(data => (data === '[DONE]' ? data : JSON.parse(data)))
}

/** The text of a streamed chat. Throws where the stream did not end well. */
export async function textOf(response: Response): Promise<string> {
  const events = await readEvents(response)
  if (response.status !== 200 || events.at(-1) !== '[DONE]') {
    throw new Error(`${response.status}: ${JSON.stringify(events.at(-1))}`)
  }
  const chunks = events.slice(0, -1) as { choices: { delta: { content?: string } }[] }[]
  return chunks.map(({ choices }) => choices[0].delta.content ?? '').join('')
}

/** A chat that is asked for. */
export interface AskedChat {
  model: string
  messages: { role: string; content: string }[]
  max_tokens: number
  temperature: number
  top_p?: number
  seed?: number
  frequency_penalty?: number
}

/** Chats of different lengths with all of `models`; every second is drawn by a seed, some with a penalty. */
export function mixedChats(count: number, models: readonly string[], most: number): AskedChat[] {
  return Array.from({ length: count }, (_, i) => ({
    model: models[i % models.length],
    messages: [{ role: 'user', content: `${'hello you '.repeat((i * 7) % 11)}${i}` }],
    max_tokens: 4 + ((i * 13) % (most - 3)),
    ...(i % 2 ? { temperature: 1.1, seed: i, top_p: 0.9, frequency_penalty: (i % 4) / 4 } : { temperature: 0 }),
  }))
}

/** What `generate` writes for a chat with its adapter, alone; other names stand for the base. */
export async function writtenAlone({ peft, tokenizer }: TinyServer, chat: AskedChat): Promise<string> {
  const { model, messages, max_tokens: maxNewTokens, temperature, top_p: topP, seed } = chat
  const ids = tokenizer.applyChatTemplate(messages, { addGenerationPrompt: true })
  const drawn = { doSample: true, temperature, topP, topK: 0, seed, frequencyPenalty: chat.frequency_penalty }
  const generate = () => peft.generate(ids, { maxNewTokens, ...(temperature > 0 && drawn) })
  const isAdapter = peft.adapterNames().includes(model)
  if (isAdapter) peft.setAdapter(model)
  const { newTokens } = await (isAdapter ? generate() : peft.disableAdapter(generate))
  return tokenizer.decode(newTokens[0], { skipSpecialTokens: true })
}
