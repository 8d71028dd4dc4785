/** @file The Auto classes: a model of the right architecture for a folder, a hub id or a configuration. */
import { BERT_MODELS } from './bert/index.ts'
import { AutoConfig, type PretrainedConfig } from './config.ts'
import { GPT2_MODELS } from './gpt2/index.ts'
import type { ModelTask } from './inputs.ts'
import { LLAMA_MODELS } from './llama/index.ts'
import type { FromPretrainedOptions, PreTrainedModel } from './pretrained-model.ts'
import { QWEN2_MODELS } from './qwen2/index.ts'
import { findModelClass, registerModel } from './registry.ts'

registerModel('bert', BERT_MODELS)
registerModel('gpt2', GPT2_MODELS)
registerModel('llama', LLAMA_MODELS)
registerModel('qwen2', QWEN2_MODELS)

/** What every Auto class offers. */
export interface AutoModelClass {
  /**
   * Opens the model in a folder or of a hub id. Values stay in their files until they are needed; what the checkpoint
   * lacks, such as a new classifier, is drawn from the seed and told by a warning.
   *
   * @throws when the architecture has no model for the task, or the weights do not fit
   */
  fromPretrained(folderOrHubId: string, options?: FromPretrainedOptions): Promise<PreTrainedModel>
  /** Builds a model without values from a configuration. */
  fromConfig(config: PretrainedConfig): PreTrainedModel
}

function autoClass(task: ModelTask): AutoModelClass {
  return {
    async fromPretrained(folderOrHubId, options = {}) {
      const { revision, cacheDir, localFilesOnly, token, hubUrl, fetch } = options
      const where = { revision, cacheDir, localFilesOnly, token, hubUrl, fetch }
      const config = options.config ?? (await AutoConfig.fromPretrained(folderOrHubId, where))
      return findModelClass(config.model_type, task).fromPretrained(folderOrHubId, { ...options, config })
    },
    fromConfig: config => findModelClass(config.model_type, task).fromConfig(config),
  }
}

/** Base models, which give hidden states. */
export const AutoModel = autoClass('FEATURE_EXTRACTION')
/**
 * Classifiers of sequences.
 *
 * @example
 * const model = await AutoModelForSequenceClassification.fromPretrained('bert-base-uncased', { numLabels: 3 })
 */
export const AutoModelForSequenceClassification = autoClass('SEQ_CLS')
/**
 * Decoders that predict the next token.
 *
 * @example
 * const model = await AutoModelForCausalLM.fromPretrained('Qwen/Qwen2.5-3B-Instruct')
 */
export const AutoModelForCausalLM = autoClass('CAUSAL_LM')
/** Encoders that fill in masked tokens. */
export const AutoModelForMaskedLM = autoClass('MASKED_LM')
/** Classifiers of each token. */
export const AutoModelForTokenClassification = autoClass('TOKEN_CLS')
/** Models that find the span of a text which answers a question. */
export const AutoModelForQuestionAnswering = autoClass('QUESTION_ANS')
/** Encoders with decoders: a text from a text. */
export const AutoModelForSeq2SeqLM = autoClass('SEQ_2_SEQ_LM')
/** Classifiers of images. */
export const AutoModelForImageClassification = autoClass('IMAGE_CLS')
