/** @file A prompt that begins as the embeddings of a text. */
import type { PreTrainedModel } from '../../../models/index.ts'
import { Embedding } from '../../../nn/index.ts'
import { unwrapped } from '../../adapted-tree.ts'
import type { ModelFacts } from '../../method.ts'
import type { AdapterHubPromptConfig } from './config.ts'

/**
 * The embeddings of the text's tokens, from the front again where they are too few, `[length, hidden]`.
 *
 * @throws where the model takes no tokens, or there is no tokenizer beside it
 */
export async function firstPrompt(config: AdapterHubPromptConfig, { base }: ModelFacts): Promise<Float32Array> {
  const model = base as PreTrainedModel
  const table = unwrapped(model.getInputEmbeddings())
  if (!(table instanceof Embedding)) {
    throw new Error(
      `ADAPTERHUB_PROMPT: promptInit "from_string" needs a model that takes tokens, ${model.constructor.name} does not; leave it out`,
    )
  }
  const folder = model.nameOrPath
  if (!folder) {
    throw new Error(
      'ADAPTERHUB_PROMPT: promptInit "from_string" reads its text with the tokenizer beside the base model, and this model was not loaded from anywhere; leave promptInit out',
    )
  }
  // Loaded here and not above: only this needs a tokenizer.
  const { AutoTokenizer } = await import('../../../data/index.ts')
  const tokenizer = await AutoTokenizer.fromPretrained(folder)
  const tokens = tokenizer.encode(config.promptInitText!).inputIds
  const foreign = tokens.find(token => token >= table.numEmbeddings)
  if (tokens.length === 0 || foreign !== undefined) {
    throw new Error(
      `ADAPTERHUB_PROMPT: the tokenizer in ${folder} makes ${tokens.length === 0 ? 'no tokens' : `the token ${foreign}, which the model does not have,`} of ${JSON.stringify(config.promptInitText)}; give another text`,
    )
  }
  const values = await table.weight.read()
  const width = table.embeddingDim
  const prompt = new Float32Array(config.promptLength * width)
  for (let i = 0; i < config.promptLength; i++) {
    const token = tokens[i % tokens.length]
    prompt.set(values.subarray(token * width, (token + 1) * width), i * width)
  }
  return prompt
}
