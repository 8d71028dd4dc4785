/** @file Tokens that an adapter trains beside its layers (`trainableTokenIndices`). */
import type { Module } from '../../../nn/index.ts'
import { didYouMean } from '../../../util/nearest.ts'
import { baseModules } from '../../adapted-tree.ts'
import type { AdapterContext, ModelFacts } from '../../method.ts'
import { attachTokens } from '../../token-adapter.ts'
import type { LoraConfig } from './config.ts'
import { tiedHeads } from './tied.ts'

/** A table with the tokens to train in it. */
interface TokenTable {
  path: string
  tokens: readonly number[]
}

/** The path of the model's token embedding; PEFT's fallback where the model does not tell it. */
function embeddingPath({ base }: ModelFacts): string {
  const { getInputEmbeddings } = base as { getInputEmbeddings?: () => Module }
  const embedding = getInputEmbeddings?.call(base)
  return [...base.namedModules()].find(([, module]) => module === embedding)?.[0] ?? 'embed_tokens'
}

/**
 * The tables whose tokens the configuration trains. Of tables that are tied and have the same tokens only the embedding
 * is named: the others follow it.
 *
 * @throws for a name that matches no module, or several; for a table that is trained as a whole; for tied tables with
 *   different tokens
 */
export function tokenTables(config: LoraConfig, model: ModelFacts): TokenTable[] {
  const { trainableTokenIndices: indices, modulesToSave } = config
  if (!indices) return []
  const paths = [...baseModules(model.tree)].map(({ path }) => path)
  const named: Record<string, readonly number[]> = Array.isArray(indices)
    ? { [embeddingPath(model)]: indices as readonly number[] }
    : { ...(indices as Readonly<Record<string, readonly number[]>>) }
  const tables = Object.entries(named).map(([name, tokens]) => {
    const found = paths.filter(path => path === name || path.endsWith(`.${name}`))
    if (found.length !== 1) {
      const names = paths.map(path => path.slice(path.lastIndexOf('.') + 1))
      throw new Error(
        `trainableTokenIndices: ${found.length ? `"${name}" matches ${found.join(' and ')}; give the whole path` : `no module is called "${name}".${didYouMean(name, names)}`}`,
      )
    }
    const [path] = found
    if (modulesToSave?.some(saved => path === saved || path.endsWith(`.${saved}`))) {
      throw new Error(
        `trainableTokenIndices names tokens of "${path}", which modulesToSave trains as a whole; leave it out of one of them`,
      )
    }
    return { path, tokens }
  })
  const heads = tiedHeads(model)
  return tables.filter(({ path, tokens }) => {
    const leader = tables.find(other => heads.some(head => head.path === path && head.embedding === other.path))
    if (leader && leader.tokens.join() !== tokens.join()) {
      throw new Error(
        `trainableTokenIndices: "${path}" is tied to "${leader.path}" and must train the same tokens, got ${JSON.stringify(tokens)} and ${JSON.stringify(leader.tokens)}`,
      )
    }
    return !leader
  })
}

/** Puts the trained tokens of an adapter on the model. */
export function trainTokens({ adapterName, config, model, state }: AdapterContext<LoraConfig>): void {
  for (const { path, tokens } of tokenTables(config, model)) {
    attachTokens(path, { tree: model.tree, adapterName, state, tokens })
  }
}
