/** @file AdapterHub's file format, and what the methods of AdapterHub share. */
export { hubActivation } from './activations.ts'
export { ADAPTERHUB, ADAPTERHUB_FORMAT } from './format.ts'
export {
  configFromHub,
  type HubJson,
  type HubMethod,
  hubMethod,
  hubOptionNames,
  hubOptions,
  optionsFromHub,
  registerHubMethod,
} from './methods.ts'
export { basePrefix, HUB_MODEL_TYPES, type HubPlaces, hubName, hubPlaces } from './places.ts'
export { compositionFromJson, compositionToJson, loadAdapterSetup, saveAdapterSetup } from './setup.ts'
export { hubHeadStateDict, hubStateDict } from './state-dict.ts'
