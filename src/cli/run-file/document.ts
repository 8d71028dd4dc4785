/** @file A run file as text: YAML or JSON, read with the place of every key and value. */
import { isAlias, isMap, isScalar, LineCounter, type Node, type Pair, parseDocument, type Scalar, visit } from 'yaml'
import { RunFileError } from '../exit.ts'

/** Mistakes of which the parser speaks to programmers. */
const CLEARER: Readonly<Record<string, string>> = {
  DUPLICATE_KEY: 'the key was given before; give it once',
  MULTIPLE_DOCS: 'a run file is one document; take away what begins with ---',
}

/** One entry of a mapping. */
export interface Entry {
  key: string
  value: unknown
  /** Where the key and the value begin: `run.yaml:3:5`. */
  keyAt: string
  valueAt: string
  node: Node | null
}

/** A run file that was read. */
export interface RunDocument {
  /** The entries of the file itself. */
  entries: Entry[]
  /** Where the file begins. */
  at: string
  /** The entries of a value; undefined where it is no mapping. */
  within(entry: Entry): Entry[] | undefined
}

/**
 * Reads the text of a file that is called `name`.
 *
 * @throws {RunFileError} with line and column, for what is no YAML, and for what a run file does not need: anchors,
 *   aliases, tags, and keys that are no names
 */
export function parseRunFile(text: string, name: string): RunDocument {
  const lines = new LineCounter()
  const document = parseDocument(text.replace(/^\uFEFF/, ''), { lineCounter: lines, prettyErrors: false })
  const at = (offset = 0) => {
    const { line, col } = lines.linePos(offset)
    return `${name}:${line}:${col}`
  }
  for (const { pos, code, message } of [...document.errors, ...document.warnings]) {
    throw new RunFileError(`${at(pos[0])}: ${CLEARER[code] ?? message}`)
  }
  visit(document, {
    Node(_, node) {
      const start = at(node.range?.[0])
      if (isAlias(node)) throw new RunFileError(`${start}: *${node.source} is an alias; write the value out`)
      if (node.anchor) throw new RunFileError(`${start}: &${node.anchor} is an anchor; a run file says each value once`)
      if (node.tag) throw new RunFileError(`${start}: the value has the tag ${node.tag}; a run file holds plain values`)
    },
  })
  const entriesOf = (node: Node | null): Entry[] | undefined => {
    if (!isMap(node)) return undefined
    return (node.items as Pair<Node, Node | null>[]).map(({ key, value }) => {
      const keyAt = at(key.range?.[0])
      if (!isScalar(key) || typeof key.value !== 'string') {
        throw new RunFileError(`${keyAt}: expected the name of an option, got ${String((key as Scalar).value ?? key)}`)
      }
      return {
        key: key.value,
        value: value?.toJS(document),
        keyAt,
        valueAt: value?.range ? at(value.range[0]) : keyAt,
        node: value,
      }
    })
  }
  const entries = document.contents === null ? [] : entriesOf(document.contents)
  if (!entries) {
    throw new RunFileError(`${at(document.contents?.range[0])}: expected options as "key: value", got something else`)
  }
  return { entries, at: at(0), within: ({ node }) => entriesOf(node) }
}
