/** @file LoRA's kin by the names of their publications, as AdapterHub configures them. */
import { AdapterHubLoraConfig, type AdapterHubLoraConfigOptions } from './config.ts'

const VERA: AdapterHubLoraConfigOptions = { veraD: 0.1, veraB: 0, initWeights: 'vera' }

/** Factors on keys, values and the first layer of the feed-forward network ((IA)³, arXiv 2205.05638). */
export class AdapterHubIA3Config extends AdapterHubLoraConfig {
  constructor(options: AdapterHubLoraConfigOptions = {}) {
    super({
      compositionMode: 'scale',
      intermediateLora: true,
      attnMatrices: ['k', 'v'],
      initWeights: 'ia3',
      r: 1,
      alpha: 1,
      ...options,
    })
  }
}

/** LoRA with learnt lengths of the weight's rows (DoRA, arXiv 2402.09353). */
export class AdapterHubDoraConfig extends AdapterHubLoraConfig {
  constructor(options: AdapterHubLoraConfigOptions = {}) {
    super({ useDora: true, ...options })
  }
}

/** Trained square matrices around random ones that all layers share (after VeRA, arXiv 2310.11454). */
export class AdapterHubVeraConfig extends AdapterHubLoraConfig {
  constructor(options: AdapterHubLoraConfigOptions = {}) {
    super({ ...VERA, ...options })
  }
}

/** {@link AdapterHubVeraConfig} with learnt lengths of the weight's rows. */
export class AdapterHubDvoraConfig extends AdapterHubLoraConfig {
  constructor(options: AdapterHubLoraConfigOptions = {}) {
    super({ ...VERA, useDora: true, ...options })
  }
}
