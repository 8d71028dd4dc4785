/** @file Calling the command line in tests: in this process, with everything it writes kept. */
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { AutoTokenizer } from '../../data/index.ts'
import { tinyBertFolder, tinyLlamaFolder } from '../../data/testing/fixtures.ts'
import {
  AutoConfig,
  AutoModel,
  AutoModelForCausalLM,
  AutoModelForSeq2SeqLM,
  AutoModelForSequenceClassification,
  type PreTrainedModel,
} from '../../models/index.ts'
import { type RunContext, run } from '../run.ts'

/** One event of `--json`. */
export type Event = { event: string } & Record<string, unknown>

/** What a call did. */
export interface CallResult {
  code: number
  stdout: string
  stderr: string
  /** The lines of stdout as JSON; throws where one is not. */
  events(): Event[]
  /** The event that `--json` ends with. */
  result(): Event
}

/** What a call may be given. */
export interface CallOptions extends Partial<Pick<RunContext, 'signal' | 'env' | 'takeInterrupts'>> {
  /** What is typed: a text, or texts that come one after the other. */
  stdin?: string | AsyncIterable<string>
  isTTY?: boolean
  /** Called with each text that is written to stderr. */
  onStderr?: (text: string) => void
  onStdout?: (text: string) => void
}

/** Calls `peft` with the words after its name. */
export async function peft(argv: readonly string[], options: CallOptions = {}): Promise<CallResult> {
  const written = { stdout: '', stderr: '' }
  const stream = (name: 'stdout' | 'stderr', told?: (text: string) => void) => ({
    isTTY: options.isTTY ?? false,
    columns: 120,
    write(text: string) {
      written[name] += text
      told?.(text)
      return true
    },
  })
  const code = await run(argv, {
    stdout: stream('stdout', options.onStdout),
    stderr: stream('stderr', options.onStderr),
    stdin:
      options.stdin === undefined
        ? undefined
        : Readable.from(typeof options.stdin === 'string' ? [options.stdin] : options.stdin),
    signal: options.signal,
    takeInterrupts: options.takeInterrupts,
    env: options.env ?? {},
  })
  const events = () =>
    written.stdout
      .split('\n')
      .filter(line => line !== '')
      .map(line => JSON.parse(line) as Event)
  return { code, ...written, events, result: () => events().at(-1)! }
}

/** Writes a tiny BERT with its tokenizer: a base model, so that a classifier on it begins with a new head. */
export async function saveTinyBert(parent: string, { head }: { head?: readonly string[] } = {}): Promise<string> {
  const tokenizer = await AutoTokenizer.fromPretrained(tinyBertFolder)
  const config = AutoConfig.fromJSON({
    model_type: 'bert',
    vocab_size: tokenizer.vocabSize,
    hidden_size: 32,
    num_hidden_layers: 2,
    num_attention_heads: 2,
    intermediate_size: 48,
    max_position_embeddings: 32,
    initializer_range: 0.2,
    hidden_dropout_prob: 0,
    attention_probs_dropout_prob: 0,
  })
  const model = head
    ? AutoModelForSequenceClassification.fromConfig(config.with({ id2label: head }))
    : AutoModel.fromConfig(config)
  return save(join(parent, 'tiny-bert'), model, tinyBertFolder)
}

/** Writes a tiny Llama with its tokenizer. */
export async function saveTinyLlama(parent: string): Promise<string> {
  const tokenizer = await AutoTokenizer.fromPretrained(tinyLlamaFolder)
  const config = AutoConfig.fromJSON({
    model_type: 'llama',
    architectures: ['LlamaForCausalLM'],
    vocab_size: tokenizer.vocabSize,
    hidden_size: 32,
    intermediate_size: 48,
    num_hidden_layers: 2,
    num_attention_heads: 2,
    num_key_value_heads: 1,
    max_position_embeddings: 128,
    // Wide enough that the frozen output layer can be as sure of a token as the test asks.
    initializer_range: 0.5,
    bos_token_id: tokenizer.bosTokenId,
    eos_token_id: tokenizer.eosTokenId,
  })
  return save(join(parent, 'tiny-llama'), AutoModelForCausalLM.fromConfig(config), tinyLlamaFolder)
}

/** Writes a tiny T5 with the tokenizer of the tiny BERT. */
export async function saveTinyT5(parent: string): Promise<string> {
  const tokenizer = await AutoTokenizer.fromPretrained(tinyBertFolder)
  const config = AutoConfig.fromJSON({
    ...{ model_type: 't5', architectures: ['T5ForConditionalGeneration'], vocab_size: tokenizer.vocabSize },
    ...{ d_model: 32, d_kv: 8, d_ff: 48, num_layers: 1, num_decoder_layers: 1, num_heads: 4, dropout_rate: 0 },
    ...{ pad_token_id: 0, decoder_start_token_id: 0, eos_token_id: tokenizer.sepTokenId, tie_word_embeddings: false },
    // Wide enough that the frozen output layer can be as sure of a token as the test asks.
    initializer_factor: 2,
  })
  return save(join(parent, 'tiny-t5'), AutoModelForSeq2SeqLM.fromConfig(config), tinyBertFolder)
}

async function save(folder: string, model: PreTrainedModel, tokenizerFolder: string): Promise<string> {
  await mkdir(folder, { recursive: true })
  model.initialize(1)
  await model.savePretrained(folder)
  await (await AutoTokenizer.fromPretrained(tokenizerFolder)).savePretrained(folder)
  return folder
}

/** Reviews of which one word decides the class: learnt in a few steps. */
export function reviews(count: number, labels: readonly [string, string] = ['bad', 'good']): string {
  const rows = Array.from({ length: count }, (_, i) => {
    const words = i % 2 ? ['good', 'great'] : ['bad', 'dull']
    return `the film was ${words[Math.floor(i / 2) % 2]}\t${labels[i % 2]}`
  })
  return `sentence\tlabel\n${rows.join('\n')}\n`
}
