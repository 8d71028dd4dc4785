/** @file The virtual tokens of prompt tuning, and their first values. */
import type { Tensor } from '../../../graph/index.ts'
import type { PreTrainedModel } from '../../../models/index.ts'
import { Parameter } from '../../../nn/index.ts'
import type { Random } from '../../../util/random.ts'
import type { SharedContext } from '../../method.ts'
import { completed, tokenEmbedding, VirtualTokens } from '../../prompt-learning/index.ts'
import { readRows } from '../../token-adapter.ts'
import type { PromptTuningConfig } from './config.ts'

/** Virtual tokens that are trained as they are. */
export class PromptEmbedding extends VirtualTokens {
  protected override addLayers(): void {
    throw new Error('PROMPT_TUNING has no layers over its virtual tokens; P_TUNING has')
  }

  protected override removeLayers(): void {}

  protected override encode(table: Tensor): Tensor {
    return table
  }
}

/** The virtual tokens of an adapter; those that begin as tokens of the model read them when they are first needed. */
export function createPromptEmbedding({ config, model, random }: SharedContext<PromptTuningConfig>): PromptEmbedding {
  const { numVirtualTokens, numTransformerSubmodules, tokenDim, promptTuningInit } = completed(config)
  const count = numVirtualTokens * numTransformerSubmodules
  const prompt = new PromptEmbedding([count, tokenDim])
  // What is loaded to be used brings its values along.
  if (config.inferenceMode || promptTuningInit === 'RANDOM') return prompt
  const { weight } = tokenEmbedding(model.base as PreTrainedModel, config.peftType)
  const choose =
    promptTuningInit === 'TEXT'
      ? () => textTokens(config, count, weight.shape[0])
      : async () => sampledTokens(random('sampled tokens'), count, weight.shape[0])
  prompt.embedding.weight = Parameter.computed([count, tokenDim], async () => readRows(weight, await choose()))
  return prompt
}

function sampledTokens(random: Random, count: number, vocabulary: number): number[] {
  return Array.from({ length: count }, () => Math.floor(random.uniform() * vocabulary))
}

/** The tokens of the text, from the front again where they are too few. */
async function textTokens(
  { promptTuningInitText: text, tokenizerNameOrPath: folder, tokenizerKwargs }: PromptTuningConfig,
  count: number,
  vocabulary: number,
): Promise<number[]> {
  if (tokenizerKwargs && Object.keys(tokenizerKwargs).length) {
    throw new Error(
      `PROMPT_TUNING: tokenizerKwargs ${JSON.stringify(tokenizerKwargs)} are Python's and change the tokenizer in ways that are not known here; leave them out, or put them into tokenizer_config.json`,
    )
  }
  // Loaded here and not above: only this needs a tokenizer.
  const { AutoTokenizer } = await import('../../../data/index.ts')
  const tokenizer = await AutoTokenizer.fromPretrained(folder!)
  const tokens = tokenizer.encode(text!).inputIds
  if (tokens.length === 0) {
    throw new Error(
      `PROMPT_TUNING: the tokenizer in ${folder} makes no tokens of ${JSON.stringify(text)}; give a longer text`,
    )
  }
  const foreign = tokens.find(token => token >= vocabulary)
  if (foreign !== undefined) {
    throw new Error(
      `PROMPT_TUNING: the tokenizer in ${folder} gives the token ${foreign}, the model has ${vocabulary}; tokenizerNameOrPath must be the model's own tokenizer`,
    )
  }
  return Array.from({ length: count }, (_, i) => tokens[i % tokens.length])
}
