/** @file Options that several commands have, and what reads their values. */
import { type Command, InvalidArgumentError, Option } from 'commander'
import { EMBEDDING_LOSSES } from '../embeddings/loss-names.ts'
import { QUANTIZE_NAMES } from '../quantization/config.ts'
import { CACHE_ACTIVATIONS, NON_FINITE_POLICIES, SPIKE_POLICIES } from '../training/arguments.ts'
import { SCHEDULER_TYPES } from '../training/schedules.ts'
import { didYouMean } from '../util/nearest.ts'
import { fits, type ValueKind, type ValueSchema } from '../util/value-schema.ts'
import { TASKS } from './task-names.ts'

/** Reads the text of an option, and knows what the same option takes as a value in a file. */
export interface OptionParser<T> extends ValueKind {
  (text: string): T
}

function parser<T>(expected: string, schema: ValueSchema, read: (text: string) => T): OptionParser<T> {
  return Object.assign((text: string) => read(text), { expected, schema })
}

/** A whole number from `least` on, up to `most` where that is given. */
export function integer(least: number, most?: number): OptionParser<number> {
  const schema: ValueSchema = { type: 'integer', minimum: least, ...(most !== undefined && { maximum: most }) }
  return numeric(`a whole number from ${least} ${most === undefined ? 'on' : `to ${most}`}`, schema)
}

/** The highest port. */
export const HIGHEST_PORT = 65_535

/** Bounds of {@link number}. */
interface Bounds {
  least?: number
  /** The value must be above this. */
  above?: number
  most?: number
}

/** A number within bounds. */
export function number({ least: minimum, above: exclusiveMinimum, most: maximum }: Bounds): OptionParser<number> {
  const bounds = [
    minimum !== undefined && `from ${minimum}`,
    exclusiveMinimum !== undefined && `above ${exclusiveMinimum}`,
    maximum !== undefined && `up to ${maximum}`,
  ].filter(Boolean)
  const schema: ValueSchema = {
    type: 'number',
    ...(minimum !== undefined && { minimum }),
    ...(exclusiveMinimum !== undefined && { exclusiveMinimum }),
    ...(maximum !== undefined && { maximum }),
  }
  return numeric(`a number ${bounds.join(' ')}`, schema)
}

function numeric(expected: string, schema: ValueSchema): OptionParser<number> {
  return parser(expected, schema, text => {
    const value = Number(text)
    if (text.trim() !== '' && fits(value, schema)) return value
    throw new InvalidArgumentError(`Expected ${expected}.`)
  })
}

/** One of `values`; a mistyped one is answered with the nearest. */
export function oneOf(flags: string, description: string, values: readonly string[]): Option {
  const expected = `one of ${values.join(', ')}`
  const read = parser(expected, { enum: values }, text => {
    if (values.includes(text)) return text
    throw new InvalidArgumentError(`Expected ${expected}.${didYouMean(text, values)}`)
  })
  return new Option(flags, `${description} (${values.join(', ')})`).argParser(read)
}

const CACHE_VALUES = [...CACHE_ACTIVATIONS, false]

/** Where activations are kept, or false. */
const cacheActivations = parser(`one of ${CACHE_VALUES.join(', ')}`, { enum: CACHE_VALUES }, text => {
  const value = text === 'false' ? false : CACHE_ACTIVATIONS.find(where => where === text)
  if (value !== undefined) return value
  throw new InvalidArgumentError(
    `Expected one of ${CACHE_VALUES.join(', ')}.${didYouMean(text, CACHE_VALUES.map(String))}`,
  )
})

const NAMES: ValueSchema = { type: 'array', items: { type: 'string', minLength: 1 }, minItems: 1, uniqueItems: true }

/** Names, separated by commas. */
export const names = parser('a list of texts, none of them twice', NAMES, text => {
  const list = text.split(',').map(name => name.trim())
  if (list.some(name => name === '')) throw new InvalidArgumentError('Expected names separated by commas.')
  if (new Set(list).size < list.length) throw new InvalidArgumentError('A name was given twice.')
  return list
})

const PAIRS: ValueSchema = { type: 'object', additionalProperties: { type: 'string', minLength: 1 } }

/** `role=column` pairs, separated by commas. */
export const columnPairs = parser('a column for each role, such as { text: sentence, label: class }', PAIRS, text => {
  const pairs = text.split(',').map(pair => pair.split('='))
  if (pairs.some(pair => pair.length !== 2 || pair.some(part => part.trim() === ''))) {
    throw new InvalidArgumentError('Expected role=column pairs separated by commas, such as text=sentence,label=class.')
  }
  return Object.fromEntries(pairs.map(([role, column]) => [role.trim(), column.trim()]))
})

/** What an option takes as a value in a file: a text where it says nothing else. */
export function optionKind(option: Option): ValueKind {
  if (!option.required && !option.optional) return { schema: { type: 'boolean' }, expected: 'true or false' }
  const read = option.parseArg as Partial<ValueKind> | undefined
  if (read?.schema && read.expected) return { schema: read.schema, expected: read.expected }
  return { schema: { type: 'string', minLength: 1 }, expected: 'a text' }
}

/** Gathers an option that may be given several times. */
export function collect(text: string, before: string[] = []): string[] {
  return [...before, text]
}

/** The heading in `--help` of the options on data; in run files they are the section `data`. */
export const DATA_GROUP = 'Data:'

/** Which model. */
export function withModel(command: Command, { adapter }: { adapter: 'none' | 'optional' | 'required' }): Command {
  command.requiredOption('--model <model>', 'a model folder or hub id')
  if (adapter === 'optional') command.option('--adapter <adapter>', 'an adapter folder or hub id')
  if (adapter === 'required') return command.requiredOption('--adapter <adapter>', 'an adapter folder or hub id')
  return withQuantization(command)
}

/** How the base model is held in memory. A merged model is written in float32, so merging has no such option. */
export function withQuantization(command: Command): Command {
  return command.addOption(
    oneOf('--quantize <scheme>', 'hold the weights of the base model in 16, 8 or 4 bits', QUANTIZE_NAMES),
  )
}

/** How data files are read. */
export function withData(command: Command, { task }: { task: 'classifier' | 'any' }): Command {
  command
    .option('--columns <role=column,…>', 'which columns to read, such as text=sentence,label=class', columnPairs)
    .option('--no-header', 'the first line of a csv or tsv file is data; columns are called 0, 1, …')
    .option('--limit <n>', 'read only the first rows of --data', integer(1))
    .option('--max-length <tokens>', 'the longest example; by default what model and tokenizer allow', integer(1))
    .addOption(
      oneOf('--overlong <what>', 'what to do with longer examples', ['error', 'skip', 'truncate']).default('error'),
    )
    .option('--labels <a,b,…>', 'the names of the classes in order', names)
  if (task === 'any') {
    const formats = ['prompt-completion', 'messages', 'conversations', 'alpaca', 'text']
    command.addOption(oneOf('--format <format>', 'how the rows of a language model are read', formats))
  }
  return command
}

/** How images and recordings are read. */
export function withMedia(command: Command): Command {
  return command
    .option('--skip-bad', 'leave out images and recordings that cannot be read, and name them', false)
    .option('--language <name>', 'the language that is spoken, for models that hear several, such as en or german')
    .addOption(oneOf('--speech-task <task>', 'what a model of speech writes', ['transcribe', 'translate']))
}

/** Whether what the fast mode repacks is kept on disk, for commands that can keep it. */
export function withKeptPacking(command: Command, { isDefault }: { isDefault: boolean }): Command {
  const what = 'in the fast mode, keep repacked weights on disk and map them: quick starts, less memory, disk space'
  return isDefault
    ? command.option('--no-keep-packed', 'repack weights anew at each start, and keep nothing of them on disk')
    : command.option('--keep-packed', what, false)
}

/** How the engine runs. */
export function withEngine(command: Command, batchSize?: number): Command {
  if (batchSize !== undefined) command.option('--batch-size <n>', 'examples at a time', integer(1), batchSize)
  return command
    .option('--seed <n>', 'decides everything random', integer(0), 42)
    .addOption(oneOf('--mode <mode>', 'spend memory for speed, or not', ['fast', 'small']).default('fast'))
    .option('--threads <n>', 'threads; by default one a processor', integer(1))
}

/** The task, one of those that can be trained unless `tasks` names others. */
export function withTask(
  command: Command,
  { required, tasks = TASKS }: { required: boolean; tasks?: readonly string[] },
): Command {
  const option = oneOf('--task <task>', 'what the model is for', tasks)
  return command.addOption(required ? option.makeOptionMandatory() : option)
}

/** What embeddings are trained by. */
export function withEmbeddingLoss(command: Command): Command {
  const what = '--task embedding: what is learnt; by default what the columns fit: pairs the first, scores cosent'
  return command.addOption(oneOf('--loss <name>', what, EMBEDDING_LOSSES))
}

/** The method and its options. */
export function withMethod(command: Command): Command {
  return command
    .option('--method <method>', 'what is trained: lora, full (every weight), head (the classifier alone)', 'lora')
    .option('--set <key=value>', "an option of the method by PEFT's name, such as r=8; may be repeated", collect, [])
}

/** How a training goes. */
export function withTraining(command: Command): Command {
  return command
    .option('--epochs <n>', 'passes over the data', number({ above: 0 }), 3)
    .option('--max-steps <n>', 'optimizer steps, in place of --epochs', integer(1))
    .option('--gradient-accumulation <n>', 'batches that make one step', integer(1), 1)
    .option(
      '--learning-rate <rate>',
      'the highest rate; by default 2e-4 (full: 5e-5, head: 1e-3)',
      number({ above: 0 }),
    )
    .addOption(oneOf('--scheduler <name>', 'how the rate changes', SCHEDULER_TYPES).default('linear'))
    .option('--warmup-ratio <share>', 'the share of steps in which the rate rises', number({ least: 0, most: 1 }), 0)
    .option('--weight-decay <rate>', 'weight decay, without biases and norms', number({ least: 0 }), 0)
    .option('--max-grad-norm <norm>', 'the largest norm of the gradient; 0 for no limit', number({ least: 0 }), 1)
    .addOption(oneOf('--optimizer <name>', 'the optimizer', ['adamw', 'sgd']).default('adamw'))
    .option('--momentum <share>', 'the momentum of sgd', number({ least: 0, most: 0.9999 }), 0)
    .addOption(
      oneOf(
        '--quantized-products <how>',
        'with a base in int8-channel: products exactly or in 8-bit arithmetic; auto measures once what is faster',
        ['auto', 'exact', 'int8', 'int8-gradients'],
      ).default('auto'),
    )
    .option('--gradient-checkpointing', 'compute layers twice and keep less: far less memory, a third more time', false)
    .option('--no-group-by-length', 'batches of texts of any length; by default of similar ones, which saves padding')
    .option('--no-packing', 'a row for each text; by default texts of a batch share rows where that saves padding')
    .addOption(
      new Option(
        '--cache-activations <where>',
        'what frozen layers below all that trains compute is kept and not computed again: auto (where that pays), ' +
          'memory, disk, false (never)',
      )
        .argParser(cacheActivations)
        .default('auto'),
    )
    .option('--logging-steps <n>', 'steps between two reports; by default about twenty reports', integer(1))
    .addOption(
      oneOf('--save-strategy <when>', 'when to write a checkpoint to resume from; end: only when paused', [
        'steps',
        'epoch',
        'end',
      ]).default('steps'),
    )
    .option('--save-steps <n>', 'steps between two checkpoints; by default 500', integer(1))
    .option('--save-total-limit <n>', 'how many checkpoints are kept; by default 2', integer(1))
    .option('--resume', 'go on from the last checkpoint in --output, as if there had been no interruption', false)
    .addOption(
      oneOf('--on-non-finite <what>', 'what to do about a loss or gradient that is NaN or infinite', [
        ...NON_FINITE_POLICIES,
      ]).default('stop'),
    )
    .addOption(
      oneOf('--on-spike <what>', 'what to do about a loss far above the last ones', [...SPIKE_POLICIES]).default(
        'ignore',
      ),
    )
    .option('--spike-factor <x>', 'how many times their median is far; by default 3', number({ above: 1 }))
    .option('--max-bad-steps <n>', 'bad steps in a row after which the training ends', integer(1), 10)
}

/** How a training is seen. */
export function withMonitoring(command: Command): Command {
  return command
    .option('--no-metrics', 'do not record the training in metrics.jsonl in --output')
    .option('--no-tensorboard', "do not write TensorBoard's event files to --output")
    .option('--ui', 'show the training on a live page on this machine', false)
    .option('--ui-port <n>', "the live page's port; by default one that is free", integer(1, HIGHEST_PORT))
    .option(
      '--samples <n>',
      'examples of the evaluation data whose answers are recorded; by default 8 predictions, with --ui 3 texts',
      integer(0),
    )
}

/** What a training is evaluated on. */
export function withEvaluationData(command: Command): Command {
  return command
    .option('--eval-data <file>', 'a data file to evaluate on')
    .option('--eval-split <share>', 'keep this share (or number) of --data for evaluation', number({ above: 0 }))
}

/** Evaluation during a training. */
export function withEvaluation(command: Command): Command {
  return command
    .option('--eval-batch-size <n>', 'examples at a time in evaluations; by default --batch-size', integer(1))
    .addOption(oneOf('--eval-strategy <when>', 'when to evaluate; by default each epoch', ['no', 'steps', 'epoch']))
    .option('--eval-steps <n>', 'steps between two evaluations', integer(1))
    .option('--load-best', 'save the values of the best evaluation instead of the last', false)
    .option('--metric <name>', 'the metric that says what is best', 'loss')
    .option('--early-stopping-patience <n>', 'evaluations without a better metric after which to end', integer(1))
    .option('--early-stopping-threshold <x>', 'by how much it must be better; by default 0', number({ least: 0 }))
}

/** How a command tells. */
export function withOutput(command: Command): Command {
  return command
    .option('--json', 'one JSON event a line on stdout, the result last', false)
    .option('--quiet', 'only results, warnings and errors', false)
}

/** Where a command writes to. */
export function withDestination(command: Command): Command {
  return command
    .requiredOption('--output <folder>', 'the folder to write; it appears when it is complete')
    .option('--overwrite', 'replace a saved model or adapter that is there', false)
}

/** A file that may say what the options say; what is required may stand there. */
export function withRunFile(command: Command): Command {
  for (const option of command.options) option.makeOptionMandatory(false)
  return command
    .argument('[file]', 'a run file: YAML or JSON that says what these options say; options win over it')
    .optionsGroup('Run files:')
    .option('--write-run <file>', 'write a commented run file from the options given, and do nothing else')
}
