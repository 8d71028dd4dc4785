/** @file Opening sentence embeddings. Node only. */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { AutoTokenizer, type Tokenizer } from '../data/index.ts'
import { resolveModelFolder } from '../models/hub.ts'
import { AutoModel, type FromPretrainedOptions } from '../models/index.ts'
import { loadPeftConfig, PeftModel } from '../peft/index.ts'
import { readLayout, type SentenceLayout } from './layout.ts'
import { Pooling } from './pooling.ts'
import type { SentenceTransformerParts, Transformer } from './sentence-transformer.ts'

/** Options of `SentenceTransformer.fromPretrained`. */
export interface LoadSentenceOptions extends Omit<FromPretrainedOptions, 'numLabels' | 'id2label' | 'label2id'> {}

/** Reads what a folder or hub id holds. */
export async function loadSentenceTransformer(
  folderOrHubId: string,
  options: LoadSentenceOptions,
): Promise<SentenceTransformerParts> {
  const { revision, cacheDir, localFilesOnly, token, hubUrl, fetch, onWarning = console.warn } = options
  const folder = await resolveModelFolder(folderOrHubId, { revision, cacheDir, localFilesOnly, token, hubUrl, fetch })
  const layout = await readLayout(folder)
  const path = layout?.transformer ?? folder
  const transformer = await openTransformer(path, options)
  const base = transformer instanceof PeftModel ? transformer.getBaseModel() : transformer
  // An adapter's file names its base as the user did, not the place it was downloaded to.
  if (base === transformer) base.nameOrPath = folderOrHubId
  const tokenizer = await AutoTokenizer.fromPretrained(path)
  return embeddingParts(layout, { transformer, tokenizer, name: folderOrHubId, onWarning })
}

/** What an embedding is made around. */
export interface AroundOptions {
  transformer: Transformer
  tokenizer: Tokenizer
  /** What messages call the model. */
  name: string
  onWarning?: (message: string) => void
}

/** The embedding that a folder describes, around a transformer that is open already. */
export async function openEmbeddingAround(folder: string, around: AroundOptions): Promise<SentenceTransformerParts> {
  return embeddingParts(await readLayout(folder), around)
}

function embeddingParts(
  layout: SentenceLayout | undefined,
  { transformer, tokenizer, name, onWarning = console.warn }: AroundOptions,
): SentenceTransformerParts {
  const base = transformer instanceof PeftModel ? transformer.getBaseModel() : transformer
  if (!('input_ids' in base.inputSpecs()) || 'pixel_values' in base.inputSpecs()) {
    throw new Error(
      `${name} is a ${base.config.model_type}, which makes no embeddings of texts here; take an encoder of texts.`,
    )
  }
  if (base.config.raw.is_encoder_decoder === true) {
    throw new Error(
      `${name} is a ${base.config.model_type} with an encoder and a decoder, whose encoder alone is not computed ` +
        'as an embedding; take an encoder such as BERT, or a decoder.',
    )
  }
  if (layout) return { ...layout, transformer, tokenizer }
  onWarning(`${name} has no modules.json: the mean of its hidden states is taken`)
  const pooling = new Pooling({ embeddingDimension: base.config.hidden_size })
  return { transformer, tokenizer, pooling }
}

/** The model in a folder; where it holds an adapter alone, its base with it. */
async function openTransformer(path: string, options: LoadSentenceOptions): Promise<Transformer> {
  const isAdapter = !existsSync(join(path, 'config.json')) && existsSync(join(path, 'adapter_config.json'))
  if (!isAdapter) return AutoModel.fromPretrained(path, options)
  const { baseModelNameOrPath: name } = await loadPeftConfig(path)
  if (!name)
    throw new Error(`${path} holds an adapter that does not name its base model; open the base and load it there.`)
  const base = await AutoModel.fromPretrained(name, options)
  return PeftModel.fromPretrained(base, path, { onWarning: options.onWarning })
}
