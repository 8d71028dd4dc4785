/** @file `resolveColumns`: which columns of a data set play which part, when the user has not said. */
import type { Dataset } from './dataset.ts'
import { list } from './messages.ts'

/** PEFT's names of the tasks whose columns can be resolved. */
export type ColumnTask = 'SEQ_CLS' | 'CAUSAL_LM'

/** Columns of a classification data set. */
export interface ClassificationColumns {
  task: 'SEQ_CLS'
  textColumn: string
  pairColumn?: string
  labelColumn: string
}

/** The shapes of row that {@link tokenizeCausalLM} reads. */
export type CausalLMFormat = 'prompt-completion' | 'messages' | 'conversations' | 'alpaca' | 'text'

/** Columns of a causal language modelling data set: the format's own names to the data set's. */
export interface CausalLMColumns {
  task: 'CAUSAL_LM'
  format: CausalLMFormat
  columns: Record<string, string>
}

const textNames = ['text', 'sentence', 'input', 'review', 'content', 'document', 'comment', 'tweet']
const pairNames: [string, string][] = [
  ['text', 'text_pair'],
  ['sentence1', 'sentence2'],
  ['question1', 'question2'],
  ['premise', 'hypothesis'],
  ['question', 'sentence'],
]
const labelNames = ['label', 'labels', 'class', 'target', 'category', 'sentiment']

/** What each format must have, and may have. */
export const causalLMFormats: Record<CausalLMFormat, { needs: string[]; may: string[] }> = {
  'prompt-completion': { needs: ['prompt', 'completion'], may: [] },
  messages: { needs: ['messages'], may: ['tools'] },
  conversations: { needs: ['conversations'], may: ['tools', 'system'] },
  alpaca: { needs: ['instruction', 'output'], may: ['input'] },
  text: { needs: ['text'], may: [] },
}

/**
 * Chooses the columns for a task by their names, and returns the choice so that it can be shown. Upper and lower case
 * count as equal.
 *
 * - `SEQ_CLS`: the text is the one column among text, sentence, input, review, content, document, comment, tweet, or a
 *   pair among text/text_pair, sentence1/sentence2, question1/question2, premise/hypothesis, question/sentence; the
 *   label is the one among label, labels, class, target, category, sentiment.
 * - `CAUSAL_LM`: prompt and completion; messages; conversations; instruction and output (input may be there); text.
 *
 * Throws when nothing fits or more than one thing does, naming the columns and the way out.
 */
export function resolveColumns(dataset: Dataset, task: 'SEQ_CLS'): ClassificationColumns
export function resolveColumns(dataset: Dataset, task: 'CAUSAL_LM'): CausalLMColumns
export function resolveColumns(dataset: Dataset, task: ColumnTask): ClassificationColumns | CausalLMColumns
export function resolveColumns(dataset: Dataset, task: ColumnTask): ClassificationColumns | CausalLMColumns {
  const find = finder(dataset.columns)
  if (task === 'SEQ_CLS') return classificationColumns(dataset, find)
  if (task === 'CAUSAL_LM') return causalLMColumns(dataset, find)
  throw new Error(
    `Columns can be resolved for 'SEQ_CLS' and 'CAUSAL_LM', not for '${task}'. Name the columns yourself.`,
  )
}

type Find = (name: string) => string | undefined

function finder(columns: readonly string[]): Find {
  return name => (columns.includes(name) ? name : columns.find(column => column.toLowerCase() === name))
}

function present(names: readonly string[], find: Find): string[] {
  return names.map(find).filter(name => name !== undefined)
}

function classificationColumns(dataset: Dataset, find: Find): ClassificationColumns {
  const labelColumn = theOne('label', present(labelNames, find), labelNames, dataset, 'labelColumn')
  const pairs = pairNames.map(names => present(names, find)).filter(names => names.length === 2)
  const paired = new Set(pairs.flat())
  const singles = present(textNames, find).filter(name => !paired.has(name))
  if (pairs.length === 1 && singles.length === 0) {
    return { task: 'SEQ_CLS', textColumn: pairs[0][0], pairColumn: pairs[0][1], labelColumn }
  }
  const candidates = [...new Set([...pairs.flat(), ...singles])]
  const textColumn = theOne('text', candidates, textNames, dataset, 'textColumn (and pairColumn)')
  return { task: 'SEQ_CLS', textColumn, labelColumn }
}

function theOne(part: string, found: string[], names: readonly string[], dataset: Dataset, option: string): string {
  if (found.length === 1) return found[0]
  const problem =
    found.length === 0
      ? `none of its columns is called ${names.join(', ')}`
      : `${list(found)} could all be it, and choosing would be a guess`
  throw new Error(
    `Could not tell which column holds the ${part}: ${problem}. The columns are ${list(dataset.columns)}. ` +
      `Name it with ${option}, or rename it on loading with columns: { ${part}: '...' }.`,
  )
}

function causalLMColumns(dataset: Dataset, find: Find): CausalLMColumns {
  const formats = (Object.keys(causalLMFormats) as CausalLMFormat[]).filter(
    format => present(causalLMFormats[format].needs, find).length === causalLMFormats[format].needs.length,
  )
  if (formats.length === 1) {
    const [format] = formats
    const { needs, may } = causalLMFormats[format]
    const columns = Object.fromEntries(
      [...needs, ...may].flatMap(name => {
        const column = find(name)
        return column === undefined ? [] : [[name, column]]
      }),
    )
    return { task: 'CAUSAL_LM', format, columns }
  }
  const known = Object.entries(causalLMFormats)
    .map(([format, { needs }]) => `${format} (${needs.join(', ')})`)
    .join('; ')
  const problem = formats.length === 0 ? 'no known format fits' : `more than one format fits: ${formats.join(', ')}`
  throw new Error(
    `Could not tell how to read the rows: ${problem}. The columns are ${list(dataset.columns)}; the formats are ${known}. ` +
      `Give format, and columns where they are named otherwise, such as { prompt: 'question', completion: 'answer' }.`,
  )
}
