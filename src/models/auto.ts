/** @file The Auto classes: a model of the right architecture for a folder, a hub id or a configuration. */

import { ALBERT_MODELS } from './albert/index.ts'
import { BART_MODELS } from './bart/index.ts'
import { BERT_MODELS } from './bert/index.ts'
import { BLOOM_MODELS } from './bloom/index.ts'
import { CLIP_MODELS, CLIP_TEXT_MODELS, CLIP_VISION_MODELS } from './clip/index.ts'
import { AutoConfig, type PretrainedConfig } from './config.ts'
import { DEBERTA_V2_MODELS } from './deberta-v2/index.ts'
import { DINOV2_MODELS } from './dinov2/index.ts'
import { DISTILBERT_MODELS } from './distilbert/index.ts'
import { ELECTRA_MODELS } from './electra/index.ts'
import { FALCON_MODELS } from './falcon/index.ts'
import { GEMMA_MODELS } from './gemma/index.ts'
import { GEMMA2_MODELS } from './gemma2/index.ts'
import { GEMMA3_MODELS } from './gemma3/index.ts'
import { GPT_NEOX_MODELS } from './gpt-neox/index.ts'
import { GPT2_MODELS } from './gpt2/index.ts'
import type { ModelTask } from './inputs.ts'
import { LLAMA_MODELS } from './llama/index.ts'
import { MISTRAL_MODELS } from './mistral/index.ts'
import { MIXTRAL_MODELS } from './mixtral/index.ts'
import { MODERNBERT_MODELS } from './modernbert/index.ts'
import { MT5_MODELS } from './mt5/index.ts'
import { OLMO2_MODELS } from './olmo2/index.ts'
import { OPT_MODELS } from './opt/index.ts'
import { PHI_MODELS } from './phi/index.ts'
import { PHI3_MODELS } from './phi3/index.ts'
import type { FromPretrainedOptions, PreTrainedModel } from './pretrained-model.ts'
import { QWEN2_MODELS } from './qwen2/index.ts'
import { QWEN3_MODELS } from './qwen3/index.ts'
import { QWEN3_MOE_MODELS } from './qwen3-moe/index.ts'
import { findModelClass, registerModel } from './registry.ts'
import { ROBERTA_MODELS } from './roberta/index.ts'
import { SMOLLM3_MODELS } from './smollm3/index.ts'
import { T5_MODELS } from './t5/index.ts'
import { VIT_MODELS } from './vit/index.ts'
import { WHISPER_MODELS } from './whisper/index.ts'
import { XLM_ROBERTA_MODELS } from './xlm-roberta/index.ts'

registerModel('albert', ALBERT_MODELS)
registerModel('bart', BART_MODELS)
registerModel('bert', BERT_MODELS)
registerModel('bloom', BLOOM_MODELS)
registerModel('clip', CLIP_MODELS)
registerModel('clip_text_model', CLIP_TEXT_MODELS)
registerModel('clip_vision_model', CLIP_VISION_MODELS)
registerModel('deberta-v2', DEBERTA_V2_MODELS)
registerModel('dinov2', DINOV2_MODELS)
registerModel('distilbert', DISTILBERT_MODELS)
registerModel('electra', ELECTRA_MODELS)
registerModel('falcon', FALCON_MODELS)
registerModel('gemma', GEMMA_MODELS)
registerModel('gemma2', GEMMA2_MODELS)
registerModel('gemma3_text', GEMMA3_MODELS)
registerModel('gpt2', GPT2_MODELS)
registerModel('gpt_neox', GPT_NEOX_MODELS)
registerModel('llama', LLAMA_MODELS)
registerModel('mistral', MISTRAL_MODELS)
registerModel('mixtral', MIXTRAL_MODELS)
registerModel('modernbert', MODERNBERT_MODELS)
registerModel('mt5', MT5_MODELS)
registerModel('olmo2', OLMO2_MODELS)
registerModel('opt', OPT_MODELS)
registerModel('phi', PHI_MODELS)
registerModel('phi3', PHI3_MODELS)
registerModel('qwen2', QWEN2_MODELS)
registerModel('qwen3', QWEN3_MODELS)
registerModel('qwen3_moe', QWEN3_MOE_MODELS)
registerModel('roberta', ROBERTA_MODELS)
registerModel('smollm3', SMOLLM3_MODELS)
registerModel('t5', T5_MODELS)
registerModel('vit', VIT_MODELS)
registerModel('whisper', WHISPER_MODELS)
registerModel('xlm-roberta', XLM_ROBERTA_MODELS)

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
/** Encoders of speech with decoders: a text from a recording. */
export const AutoModelForSpeechSeq2Seq = AutoModelForSeq2SeqLM
/** Classifiers of images. */
export const AutoModelForImageClassification = autoClass('IMAGE_CLS')
