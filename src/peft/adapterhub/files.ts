/** @file The names of AdapterHub's files, and what its JSON files say of the model. */
import type { PreTrainedModel } from '../../models/index.ts'
import type { AdapterContext } from '../method.ts'
import type { HubJson } from './methods.ts'

/** The version of the library whose files these are. */
export const HUB_VERSION = 'adapters.1.3.0'
/** The file with an adapter's tensors. */
export const HUB_WEIGHTS = 'adapter.safetensors'
/** The same as a pickle, which is refused. */
export const HUB_PICKLE = 'pytorch_adapter.bin'
/** What is known of the prediction head that is saved with an adapter, and its tensors. */
export const HUB_HEAD_CONFIG = 'head_config.json'
export const HUB_HEAD_WEIGHTS = 'model_head.safetensors'
/** How AdapterHub runs a model that it has no classes of its own for. */
export const HUB_INTERFACE = 'adapter_interface.json'

/** What AdapterHub writes about the model into each of its JSON files. */
export function hubModelFacts({ model, config }: Pick<AdapterContext, 'model' | 'config'>): HubJson {
  const { base, modelType } = model
  return {
    hidden_size: hiddenSize(base as PreTrainedModel),
    model_class: base.constructor.name,
    model_name: config.baseModelNameOrPath,
    model_type: modelType,
    version: HUB_VERSION,
  }
}

/** The width of a model; null for a module tree of one's own. */
export function hiddenSize({ config }: Partial<PreTrainedModel>): number | null {
  return config?.hidden_size ?? null
}

/** Why a pickled file is refused, and how to get one that is not. */
export function explainHubPickle(folder: string, file: string): string {
  return (
    `${folder} holds its adapter as ${file}, a pickle, which can run code when it is read. Save it in Python with ` +
    'model.save_adapter(folder, name, use_safetensors=True) and load that; where the library refuses because tensors ' +
    'share memory (prefix tuning, ln_before), write each tensor once with safetensors.torch.save_file.'
  )
}
