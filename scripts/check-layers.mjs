/** @file The import rule between layers: imports under src/ run downward only, without cycles, and never reach tests. */
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { dirname, join, relative, resolve, sep } from 'node:path'
import { fileURLToPath } from 'node:url'
import ts from 'typescript'

const EVERYTHING = '*'

/**
 * What each folder under `src/` may import, besides itself and `util/`. docs/architecture.md shows the same table.
 * @type {Record<string, string[]>}
 */
export const LAYERS = {
  util: [],
  onnx: [],
  weights: [],
  data: [],
  quantization: ['weights'],
  graph: ['onnx'],
  autodiff: ['graph'],
  runtime: ['graph', 'onnx', 'weights'],
  nn: ['graph', 'weights', 'quantization'],
  models: ['nn', 'graph', 'onnx', 'weights', 'quantization', 'runtime'],
  peft: ['nn', 'models', 'graph', 'weights', 'quantization', 'runtime', 'data'],
  embeddings: ['peft', 'models', 'nn', 'graph', 'runtime', 'weights', 'data'],
  training: ['peft', 'models', 'nn', 'graph', 'autodiff', 'runtime', 'weights', 'data'],
  generation: ['models', 'nn', 'graph', 'runtime', 'data'],
  serving: ['generation', 'peft', 'models', 'nn', 'graph', 'runtime', 'data'],
  monitoring: ['training', 'generation', 'data', 'onnx'],
  distributed: ['runtime', 'training'],
  conformance: [EVERYTHING],
  integrations: [EVERYTHING],
  cli: [EVERYTHING],
}

/** The one file that stands in `src/` itself: the package's front door, which may import every layer. */
const FRONT_DOOR = 'index.ts'

/**
 * @typedef {{ file: string, line: number, what: string, allowed: string, wayOut: string }} Violation
 * @typedef {{ specifier: string, line: number, kind: string, runtime: boolean }} Import
 * @typedef {{ from: string, to: string, line: number }} Edge
 */

/**
 * Checks every .ts and .js file under `<root>/src`. Tests (`*.test.ts`, `testing/`) may import what they need.
 * @param {string} root the folder that holds `src/`
 * @param {Record<string, string[]>} [layers]
 * @returns {{ files: number, imports: number, violations: Violation[] }}
 */
export function checkLayers(root, layers = LAYERS) {
  const source = resolve(root, 'src')
  const packageName = nameOfPackage(root)
  const files = sourceFiles(source).filter(file => !isTest(file))
  /** @type {Violation[]} */
  const violations = []
  /** @type {Edge[]} */
  const edges = []
  let count = 0

  for (const file of files) {
    const layer = layerOf(file)
    if (layer === undefined ? file !== FRONT_DOOR : !Object.hasOwn(layers, layer)) {
      violations.push({
        file: `src/${file}`,
        line: 1,
        what: layer === undefined ? 'stands outside every layer' : `"${layer}" is not a layer`,
        allowed: `src/${FRONT_DOOR} and the folders ${Object.keys(layers).join(', ')}`,
        wayOut: 'move the file into a layer, or add the layer to the table in scripts/check-layers.mjs',
      })
      continue
    }
    for (const found of importsOf(join(source, file))) {
      count++
      const { target, violation } = judge(source, file, found, packageName, layers)
      if (violation) violations.push({ file: `src/${file}`, line: found.line, ...violation })
      else if (target !== undefined && found.runtime) edges.push({ from: file, to: target, line: found.line })
    }
  }
  violations.push(...cycles(edges))
  return { files: files.length, imports: count, violations }
}

/**
 * Where one import leads, and what is wrong with it.
 * @param {string} source absolute path of src/
 * @param {string} file the importing file, relative to src/
 * @param {Import} found
 * @param {string | undefined} packageName
 * @param {Record<string, string[]>} layers
 * @returns {{ target?: string, violation?: Omit<Violation, 'file' | 'line'> }}
 */
function judge(source, file, { specifier, kind }, packageName, layers) {
  const layer = layerOf(file)
  const allowed = layer === undefined ? [EVERYTHING] : layers[layer]
  const everything = allowed.includes(EVERYTHING)
  const named = everything
    ? 'every layer'
    : [...new Set([...allowed, 'util'])].filter(name => name !== layer).join(', ')
  const mayImport = `${layer ?? file} may import: ${named || 'nothing of ours'}`

  if (packageName && (specifier === packageName || specifier.startsWith(`${packageName}/`))) {
    const what = `imports its own package by name, "${specifier}" (${kind})`
    return { violation: { what, allowed: mayImport, wayOut: 'import the file itself by a relative path' } }
  }
  if (!specifier.startsWith('.')) return {}

  const path = resolve(dirname(join(source, file)), specifier)
  if (path === resolve(source, '../package.json')) return {}
  const inside = relative(source, path).split(sep).join('/')
  if (inside.startsWith('..')) {
    const what = `leaves src/: "${specifier}" (${kind})`
    const wayOut = 'move what is needed into a layer; only src/ is published'
    return { violation: { what, allowed: `files under src/, and package.json. ${mayImport}`, wayOut } }
  }
  if (!existsSync(path) || !statSync(path).isFile()) {
    const what = `imports "${specifier}" (${kind}), and there is no file of that exact name`
    const wayOut = 'write the path of the file with its extension, as in "./linear.ts"'
    return { violation: { what, allowed: 'relative paths that end in .ts, .js or .json', wayOut } }
  }
  if (isTest(inside)) {
    const what = `imports a test file, src/${inside} (${kind})`
    const wayOut = 'move what both need into a file that is not a test'
    return { violation: { what, allowed: 'only tests import tests', wayOut } }
  }

  const other = layerOf(inside)
  if (everything || other === layer || other === 'util') return { target: inside }
  if (other !== undefined && allowed.includes(other)) return { target: inside }
  const what = `${layer ?? file} imports ${other ?? 'the front door'}: src/${inside} (${kind})`
  const wayOut =
    other === undefined
      ? 'import the layer that the name comes from'
      : `move the shared part down into ${named}, or take it as an argument that a layer above both hands in`
  return { violation: { what, allowed: mayImport, wayOut } }
}

/**
 * The files that import each other in a circle when the program runs, one violation for each circle.
 * @param {Edge[]} edges
 * @returns {Violation[]}
 */
function cycles(edges) {
  /** @type {Map<string, Edge[]>} */
  const outgoing = new Map()
  for (const edge of edges) outgoing.set(edge.from, [...(outgoing.get(edge.from) ?? []), edge])
  /** @type {Set<string>} */
  const reported = new Set()
  return [...outgoing.keys()].sort().flatMap(start => {
    if (reported.has(start)) return []
    const circle = shortestCircle(start, outgoing)
    if (!circle || circle.some(edge => reported.has(edge.from))) return []
    for (const edge of circle) reported.add(edge.from)
    const what = `import cycle: ${[...circle.map(edge => `src/${edge.from}:${edge.line}`), `src/${start}`].join(' -> ')}`
    const allowed = 'cycles of type-only imports (`import type`)'
    const wayOut = 'move what both ends need into a file of its own, or make one of these a type import'
    return [{ file: `src/${start}`, line: circle[0].line, what, allowed, wayOut }]
  })
}

/**
 * Breadth first, so that the circle shown is the easiest one to understand.
 * @param {string} start
 * @param {Map<string, Edge[]>} outgoing
 * @returns {Edge[] | undefined}
 */
function shortestCircle(start, outgoing) {
  /** @type {Map<string, Edge>} */
  const arrival = new Map()
  const queue = [start]
  for (const file of queue) {
    for (const edge of outgoing.get(file) ?? []) {
      if (arrival.has(edge.to)) continue
      arrival.set(edge.to, edge)
      if (edge.to !== start) {
        queue.push(edge.to)
        continue
      }
      const circle = [edge]
      while (circle[0].from !== start) circle.unshift(/** @type {Edge} */ (arrival.get(circle[0].from)))
      return circle
    }
  }
  return undefined
}

/**
 * Every import of one file: static, dynamic, re-exports, types (JSDoc's included), and workers by `new URL`.
 * @param {string} path
 * @returns {Import[]}
 */
function importsOf(path) {
  const tree = ts.createSourceFile(path, readFileSync(path, 'utf8'), ts.ScriptTarget.Latest, true)
  /** @type {Import[]} */
  const found = []
  /** @param {ts.Node | undefined} specifier @param {string} kind @param {boolean} runtime */
  const add = (specifier, kind, runtime) => {
    if (!specifier || !ts.isStringLiteralLike(specifier)) return
    const line = tree.getLineAndCharacterOfPosition(specifier.getStart(tree)).line + 1
    found.push({ specifier: specifier.text, line, kind, runtime })
  }
  /** @param {ts.Node} node */
  const visit = node => {
    if (ts.isImportDeclaration(node)) {
      const typeOnly = node.importClause?.phaseModifier === ts.SyntaxKind.TypeKeyword
      add(node.moduleSpecifier, typeOnly ? 'type import' : 'import', !typeOnly)
    } else if (ts.isExportDeclaration(node)) {
      add(node.moduleSpecifier, node.isTypeOnly ? 'type re-export' : 're-export', !node.isTypeOnly)
    } else if (ts.isJSDocImportTag(node)) {
      add(node.moduleSpecifier, 'type import', false)
    } else if (ts.isImportTypeNode(node)) {
      if (ts.isLiteralTypeNode(node.argument)) add(node.argument.literal, 'type import', false)
    } else if (ts.isCallExpression(node)) {
      if (node.expression.kind === ts.SyntaxKind.ImportKeyword) add(node.arguments[0], 'dynamic import', true)
    } else if (ts.isNewExpression(node) && node.expression.getText(tree) === 'URL') {
      const [specifier, base] = node.arguments ?? []
      const isModule = specifier && ts.isStringLiteralLike(specifier) && /\.[jt]s$/.test(specifier.text)
      if (isModule && base?.getText(tree) === 'import.meta.url') add(specifier, 'new URL', false)
    }
    for (const child of node.getChildren(tree)) visit(child)
  }
  visit(tree)
  return found
}

/** @param {string} source @returns {string[]} paths relative to src/, with forward slashes, sorted */
function sourceFiles(source) {
  return readdirSync(source, { recursive: true, withFileTypes: true })
    .filter(entry => entry.isFile() && /\.[jt]s$/.test(entry.name))
    .map(entry => relative(source, join(entry.parentPath, entry.name)).split(sep).join('/'))
    .sort()
}

/** @param {string} file relative to src/ */
function isTest(file) {
  return /\.test\.[jt]s$/.test(file) || file.split('/').slice(0, -1).includes('testing')
}

/** @param {string} file relative to src/ @returns {string | undefined} its layer; undefined for a file in src/ itself */
function layerOf(file) {
  return file.includes('/') ? file.slice(0, file.indexOf('/')) : undefined
}

/** @param {string} root @returns {string | undefined} */
function nameOfPackage(root) {
  const path = join(root, 'package.json')
  return existsSync(path) ? JSON.parse(readFileSync(path, 'utf8')).name : undefined
}

if (process.argv[1] && resolve(process.argv[1]) === fileURLToPath(import.meta.url)) {
  const root = process.argv[2] ?? resolve(dirname(fileURLToPath(import.meta.url)), '..')
  const { files, imports, violations } = checkLayers(root)
  for (const { file, line, what, allowed, wayOut } of violations) {
    console.error(`${file}:${line}  ${what}\n    allowed: ${allowed}\n    way out: ${wayOut}\n`)
  }
  console.log(`layers: ${files} files, ${imports} imports, ${violations.length} violations`)
  process.exitCode = violations.length ? 1 : 0
}
