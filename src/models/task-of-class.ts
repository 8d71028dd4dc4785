/** @file What a model is for, as the name of its class tells. */
import type { ModelTask } from './inputs.ts'

/** How the classes of a task end. */
const CLASS_ENDINGS: readonly [ending: RegExp, task: ModelTask][] = [
  [/ForSequenceClassification$/, 'SEQ_CLS'],
  [/(ForCausalLM|LMHeadModel)$/, 'CAUSAL_LM'],
  [/ForConditionalGeneration$/, 'SEQ_2_SEQ_LM'],
  [/ForMaskedLM$/, 'MASKED_LM'],
  [/ForTokenClassification$/, 'TOKEN_CLS'],
  [/ForQuestionAnswering$/, 'QUESTION_ANS'],
  [/ForImageClassification$/, 'IMAGE_CLS'],
]

/** The task of a class of models, by Transformers' names of classes; undefined for a base model. */
export function taskOfClass(name: string): ModelTask | undefined {
  return CLASS_ENDINGS.find(([ending]) => ending.test(name))?.[1]
}
