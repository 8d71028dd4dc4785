/** @file Writes adapters as AdapterHub does. Node only. */
import { join } from 'node:path'
import type { PreTrainedModel } from '../../models/index.ts'
import { writeFileAtomic } from '../../util/files.ts'
import { saveFile } from '../../weights/index.ts'
import { ADAPTER_CONFIG } from '../formats.ts'
import type { PeftModel } from '../model.ts'
import { pythonJson } from '../python-json.ts'
import { parameterEntries } from '../tensor-files.ts'
import { HUB_HEAD_CONFIG, HUB_HEAD_WEIGHTS, HUB_INTERFACE, HUB_VERSION, HUB_WEIGHTS, hubModelFacts } from './files.ts'
import { hubMethod } from './methods.ts'
import { hubPlaces } from './places.ts'
import { hubHeadStateDict, hubStateDict } from './state-dict.ts'

/** Writes an adapter, and the head that is trained with it, into a folder. The configuration comes last. */
export async function saveHubAdapter(model: PeftModel, adapterName: string, folder: string): Promise<void> {
  const adapter = model.adapter(adapterName)
  const { config, model: facts } = adapter
  const tensors = hubStateDict(model, adapterName)
  await saveFile(join(folder, HUB_WEIGHTS), await parameterEntries(tensors))
  const writeJson = (file: string, json: unknown) => writeFileAtomic(join(folder, file), pythonJson(json))
  const head = hubHeadStateDict(model, adapterName)
  if (head.size) {
    await saveFile(join(folder, HUB_HEAD_WEIGHTS), await parameterEntries(head))
    await writeJson(HUB_HEAD_CONFIG, {
      ...hubModelFacts(adapter),
      config: null,
      name: null,
      ...labels(facts.base as PreTrainedModel),
    })
  }
  const plugin = hubPlaces(facts.modelType)?.interface
  if (plugin) {
    await writeJson(HUB_INTERFACE, { interface: plugin, model_type: facts.modelType, version: HUB_VERSION })
  }
  await writeJson(ADAPTER_CONFIG, {
    ...hubModelFacts(adapter),
    config: hubMethod(config.peftType).toHub(config),
    name: adapterName,
  })
}

/** The labels of a classifier, as the head's file tells them. */
function labels({ config }: PreTrainedModel): Record<string, unknown> {
  return { label2id: config.label2id, num_labels: config.num_labels }
}
