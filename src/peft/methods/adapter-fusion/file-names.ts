/** @file The names of a fusion's files, and of their format. */

/** The name of the format. */
export const HUB_FUSION = 'adapterhub-fusion'
/** The file that says what a fusion is. */
export const FUSION_CONFIG = 'adapter_fusion_config.json'
/** The file with its tensors. */
export const FUSION_WEIGHTS = 'model_adapter_fusion.safetensors'
