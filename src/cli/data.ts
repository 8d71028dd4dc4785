/** @file Reading data files for a task: rows, the columns that count, and tokens. One way for all commands. */
import {
  type CausalLMFormat,
  type CausalLMOptions,
  type ClassificationOptions,
  type Dataset,
  discoverLabels,
  loadDataset,
  Dataset as Rows,
  resolveColumns,
  type TokenizedCausalLM,
  type TokenizedClassification,
  type TokenizedDataset,
  type Tokenizer,
  tokenizeCausalLM,
  tokenizeClassification,
} from '../data/index.ts'
import type { PretrainedConfig } from '../models/index.ts'
import { didYouMean } from '../util/nearest.ts'
import { UsageError } from './exit.ts'
import { formatCount } from './format.ts'
import type { Output } from './output.ts'

/** The options that say how data is read. */
export interface DataOptions {
  /** Names of a role to the file's: `{ text: 'sentence', label: 'label' }`. */
  columns?: Record<string, string>
  /** How rows of a language model are read. */
  format?: CausalLMFormat
  /** False for csv and tsv files whose first line is data. */
  header?: boolean
  limit?: number
  maxLength?: number
  overlong?: 'error' | 'skip' | 'truncate'
}

/** A file's rows. */
export interface DataFile {
  path: string
  rows: Dataset
}

/** The columns of a classification file. */
export interface LabelledColumns {
  textColumn: string
  pairColumn?: string
  labelColumn: string
}

/** Reads a file. */
export async function readRows(path: string, { header, limit }: DataOptions): Promise<DataFile> {
  return { path, rows: await loadDataset(path, { hasHeader: header, limit }) }
}

/** The roles that `--columns` can name for classifiers. */
const ROLES = ['text', 'pair', 'label']

/**
 * The columns of a classification file: those of `--columns`, else those of the training where the file has them, else
 * the ones that their names tell.
 *
 * @param needsLabel false for predictions, whose rows need no label
 */
export function classificationColumns(
  { path, rows }: DataFile,
  { columns }: DataOptions,
  { recorded = {}, needsLabel = true }: { recorded?: Record<string, string>; needsLabel?: boolean } = {},
): LabelledColumns {
  if (columns) {
    for (const role of Object.keys(columns)) {
      if (ROLES.includes(role)) continue
      throw new UsageError(
        `--columns ${role}=…: a classifier has the columns ${ROLES.join(', ')}.${didYouMean(role, ROLES)}`,
      )
    }
    for (const role of needsLabel ? ['text', 'label'] : ['text']) {
      if (!columns[role]) throw new UsageError(`--columns must name the ${role} too: --columns text=…,label=…`)
    }
    for (const column of Object.values(columns)) requireColumn(path, rows, column)
    return asLabelled(columns)
  }
  const needed = Object.entries(recorded).filter(([role]) => needsLabel || role !== 'label')
  const has = (column: string) => rows.columns.includes(column)
  if (needed.length && needed.every(([, column]) => has(column))) return asLabelled(recorded)
  return within(path, () => {
    const { task: _, ...found } = resolveColumns(needsLabel ? rows : withLabel(rows), 'SEQ_CLS')
    return found
  })
}

function asLabelled({ text, pair, label = '' }: Record<string, string>): LabelledColumns {
  return { textColumn: text, ...(pair !== undefined && { pairColumn: pair }), labelColumn: label }
}

/** The same columns under the names of `--columns`. */
export function columnRoles({ textColumn, pairColumn, labelColumn }: LabelledColumns): Record<string, string> {
  return { text: textColumn, ...(pairColumn !== undefined && { pair: pairColumn }), label: labelColumn }
}

/** A data set whose columns can be told although it has no labels. */
function withLabel(rows: Dataset): Dataset {
  const names = rows.columns.map(column => column.toLowerCase())
  const labelled = ['label', 'labels', 'class', 'target', 'category', 'sentiment'].some(name => names.includes(name))
  return labelled ? rows : new Rows([Object.fromEntries([...rows.columns, 'label'].map(column => [column, '']))])
}

function requireColumn(path: string, rows: Dataset, column: string): void {
  if (rows.columns.includes(column)) return
  throw new Error(
    `${path} has no column "${column}".${didYouMean(column, rows.columns)} Its columns are ${rows.columns.join(', ')}; ` +
      'name the right one with --columns.',
  )
}

/**
 * The classes of a training file: `--labels`, else the checkpoint's own where they cover the file's, else those that
 * occur in the file.
 */
export function trainingLabels(
  { path, rows }: DataFile,
  labelColumn: string,
  given: readonly string[] | undefined,
  config: PretrainedConfig,
): string[] {
  if (given) return [...given]
  return chooseLabels(
    { path, rows },
    within(path, () => discoverLabels(rows, labelColumn)),
    config,
  )
}

/** The checkpoint's own classes where they cover those that a file has, else the file's. */
export function chooseLabels({ path, rows }: DataFile, found: string[], config: PretrainedConfig): string[] {
  const own = Object.values(config.id2label)
  if (!isNumbered(own) && found.every(label => own.includes(label))) return own
  if (found.length >= 2) return found
  throw new Error(
    `${path}: all ${formatCount(rows.length)} rows have the label "${found[0]}"; a classifier needs at least two. ` +
      'Take more rows, or name all classes with --labels.',
  )
}

/** Whether classes have no names, only Transformers' `LABEL_0`, `LABEL_1`, … */
function isNumbered(names: readonly string[]): boolean {
  return names.every((name, i) => name === `LABEL_${i}`)
}

/** How a file spells the classes of a trained model: by their names, or by their numbers. */
export function spelledLabels({ path, rows }: DataFile, labelColumn: string, names: readonly string[]): string[] {
  const found = within(path, () => discoverLabels(rows, labelColumn))
  return spelledNames({ path }, found, names)
}

/** The classes of a trained model as `found`, those of a file, spell them. */
export function spelledNames(
  { path }: Pick<DataFile, 'path'>,
  found: readonly string[],
  names: readonly string[],
): string[] {
  if (found.every(label => names.includes(label))) return [...names]
  const numbers = names.map((_, i) => String(i))
  const namesAreNumbers = names.some(name => /^-?\d+$/.test(name))
  if (!namesAreNumbers && found.every(label => numbers.includes(label))) return numbers
  if (!isNumbered(names)) return [...names]
  throw new Error(
    `${path} has the labels ${found.map(label => `"${label}"`).join(', ')}, and the names of the model's ${names.length} ` +
      'classes are not known. Name them in the order of the classes, with --labels.',
  )
}

/** The longest input in tokens: `--max-length`, else what tokenizer and model allow. */
export function longestInput(given: number | undefined, tokenizer: Tokenizer, config: PretrainedConfig): number {
  const { max_position_embeddings: positions, rope_parameters: rope } = config as PretrainedConfig & {
    max_position_embeddings?: number
    rope_parameters?: unknown
  }
  const limit = rope === undefined && positions !== undefined ? positions : Number.POSITIVE_INFINITY
  if (given !== undefined && given > limit) {
    throw new UsageError(`--max-length is ${given}, and the model takes at most ${limit} tokens`)
  }
  return given ?? Math.min(tokenizer.modelMaxLength, limit)
}

/** Tokens and classes of a classification file, with notes on what was done. */
export function tokenizeLabelled(
  { path, rows }: DataFile,
  tokenizer: Tokenizer,
  options: ClassificationOptions,
  output: Output,
): TokenizedClassification {
  const tokenized = within(path, () => tokenizeClassification(rows, tokenizer, options))
  reportTokenized(path, tokenized, options.overlong, output)
  return tokenized
}

/** Tokens of a file for a language model, with notes on what was done. */
export function tokenizeText(
  { path, rows }: DataFile,
  tokenizer: Tokenizer,
  options: CausalLMOptions,
  output: Output,
): TokenizedCausalLM {
  const tokenized = within(path, () => tokenizeCausalLM(rows, tokenizer, options))
  reportTokenized(path, tokenized, options.overlong, output)
  return tokenized
}

/** Tells what was done to get a file's tokens. Throws when none are left. */
export function reportTokenized(
  path: string,
  { features, tooLong, maxLength, notes }: Omit<TokenizedDataset, 'features'> & { features: readonly unknown[] },
  overlong: string | undefined,
  output: Output,
): void {
  for (const note of notes) output.note(`${path}: ${note}`)
  if (tooLong.length) {
    const done = overlong === 'truncate' ? 'cut to that length' : 'left out'
    output.warn(
      `${path}: ${formatCount(tooLong.length)} examples are longer than ${maxLength} tokens and were ${done} ` +
        `(the longest has ${formatCount(Math.max(...tooLong.map(({ length }) => length)))})`,
    )
  }
  if (features.length === 0)
    throw new Error(`${path}: no example is left; raise --max-length, or take --overlong truncate.`)
}

/** `text = "sentence", label = "label"`. */
export function describeColumns(columns: Readonly<Record<string, string>>): string {
  return Object.entries(columns)
    .filter(([, column]) => column !== '')
    .map(([role, column]) => `${role} = "${column}"`)
    .join(', ')
}

/** Runs `action`; what it throws names the file. */
export function within<T>(path: string, action: () => T): T {
  try {
    return action()
  } catch (cause) {
    const message = (cause as Error).message
    throw message.includes(path) ? cause : new Error(`${path}: ${message}`, { cause })
  }
}
