/** @file Making a quantised model ready for training, under PEFT's name. */
import type { PreTrainedModel } from '../models/index.ts'

/**
 * Freezes every parameter of a model, so that only what is put beside them trains: PEFT's
 * `prepare_model_for_kbit_training`. Norms and everything else that is not packed is in float32 here anyway, and what
 * the backward pass computes again is the choice of the mode (`small`), so there is nothing else to prepare; `getPeftModel`
 * freezes the base as well.
 *
 * @returns the model that was given
 */
export function prepareModelForKbitTraining<T extends PreTrainedModel>(model: T): T {
  for (const parameter of model.parameters()) parameter.requiresGrad = false
  return model
}
