/** @file Options that several commands have, and what reads their values. */
import { type Command, InvalidArgumentError, Option } from 'commander'
import { SCHEDULER_TYPES } from '../training/schedules.ts'
import { didYouMean } from '../util/nearest.ts'
import { TASKS } from './task-names.ts'

/** A whole number from `least` on. */
export function integer(least: number): (text: string) => number {
  return text => {
    const value = Number(text)
    if (text.trim() !== '' && Number.isSafeInteger(value) && value >= least) return value
    throw new InvalidArgumentError(`Expected a whole number from ${least} on.`)
  }
}

/** Bounds of {@link number}. */
interface Bounds {
  least?: number
  /** The value must be above this. */
  above?: number
  most?: number
}

/** A number within bounds. */
export function number({ least, above, most }: Bounds): (text: string) => number {
  const expected = [
    least !== undefined && `from ${least}`,
    above !== undefined && `above ${above}`,
    most !== undefined && `up to ${most}`,
  ].filter(Boolean)
  return text => {
    const value = Number(text)
    const fits = text.trim() !== '' && Number.isFinite(value)
    if (fits && value >= (least ?? value) && !(value <= (above ?? -Infinity)) && value <= (most ?? value)) return value
    throw new InvalidArgumentError(`Expected a number ${expected.join(' ')}.`)
  }
}

/** One of `values`; a mistyped one is answered with the nearest. */
export function oneOf(flags: string, description: string, values: readonly string[]): Option {
  return new Option(flags, `${description} (${values.join(', ')})`).argParser(text => {
    if (values.includes(text)) return text
    throw new InvalidArgumentError(`Expected one of ${values.join(', ')}.${didYouMean(text, values)}`)
  })
}

/** Names, separated by commas. */
export function names(text: string): string[] {
  const list = text.split(',').map(name => name.trim())
  if (list.some(name => name === '')) throw new InvalidArgumentError('Expected names separated by commas.')
  if (new Set(list).size < list.length) throw new InvalidArgumentError('A name was given twice.')
  return list
}

/** `role=column` pairs, separated by commas. */
export function columnPairs(text: string): Record<string, string> {
  const pairs = text.split(',').map(pair => pair.split('='))
  if (pairs.some(pair => pair.length !== 2 || pair.some(part => part.trim() === ''))) {
    throw new InvalidArgumentError('Expected role=column pairs separated by commas, such as text=sentence,label=class.')
  }
  return Object.fromEntries(pairs.map(([role, column]) => [role.trim(), column.trim()]))
}

/** Gathers an option that may be given several times. */
export function collect(text: string, before: string[] = []): string[] {
  return [...before, text]
}

/** Which model. */
export function withModel(command: Command, { adapter }: { adapter: 'none' | 'optional' | 'required' }): Command {
  command.requiredOption('--model <model>', 'a model folder or hub id')
  if (adapter === 'optional') command.option('--adapter <adapter>', 'an adapter folder or hub id')
  if (adapter === 'required') command.requiredOption('--adapter <adapter>', 'an adapter folder or hub id')
  return command
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
    .option('--group-by-length', 'batches of similar length, which saves padding', false)
    .option('--logging-steps <n>', 'steps between two reports; by default about twenty reports', integer(1))
}

/** Evaluation during a training. */
export function withEvaluation(command: Command): Command {
  return command
    .option('--eval-data <file>', 'a data file to evaluate on')
    .option('--eval-split <share>', 'keep this share (or number) of --data for evaluation', number({ above: 0 }))
    .option('--eval-batch-size <n>', 'examples at a time in evaluations; by default --batch-size', integer(1))
    .addOption(oneOf('--eval-strategy <when>', 'when to evaluate; by default each epoch', ['no', 'steps', 'epoch']))
    .option('--eval-steps <n>', 'steps between two evaluations', integer(1))
    .option('--load-best', 'save the values of the best evaluation instead of the last', false)
    .option('--metric <name>', 'the metric that says what is best', 'loss')
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
