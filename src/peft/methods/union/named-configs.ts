/** @file Unions by the names of their publications, as AdapterHub configures them. */
import type { PeftConfigOptions } from '../../config.ts'
import { AdapterHubLoraConfig } from '../adapterhub-lora/index.ts'
import { AdapterHubPrefixConfig } from '../adapterhub-prefix/index.ts'
import { type BnConfig, ParBnConfig, SeqBnConfig } from '../bottleneck/index.ts'
import { UnionConfig } from './config.ts'

/** The options of {@link MAMConfig}. */
export interface MAMConfigOptions extends PeftConfigOptions {
  /** By default with a bottleneck of 800. */
  prefixTuning?: AdapterHubPrefixConfig
  /** By default a wide one beside each feed-forward network. */
  adapter?: BnConfig
  modulesToSave?: readonly string[] | null
}

/** Prefixes and parallel adapters (Mix-and-Match, arXiv 2110.04366). */
export class MAMConfig extends UnionConfig {
  constructor({
    prefixTuning = new AdapterHubPrefixConfig({ bottleneckSize: 800 }),
    adapter = new ParBnConfig(),
    ...options
  }: MAMConfigOptions = {}) {
    super({ ...options, configs: [prefixTuning, adapter] })
  }
}

/** The options of {@link UniPELTConfig}. */
export interface UniPELTConfigOptions extends PeftConfigOptions {
  /** By default of 10 keys and values. */
  prefixTuning?: AdapterHubPrefixConfig
  /** By default one after each feed-forward network, 16 times narrower. */
  adapter?: BnConfig
  /** By default of rank 8 with alpha 2. */
  lora?: AdapterHubLoraConfig
  modulesToSave?: readonly string[] | null
}

/** Prefixes, sequential adapters and LoRA, each behind a learnt gate (UniPELT, arXiv 2110.07577). */
export class UniPELTConfig extends UnionConfig {
  constructor({
    prefixTuning = new AdapterHubPrefixConfig({ prefixLength: 10 }),
    adapter = new SeqBnConfig({ reductionFactor: 16 }),
    lora = new AdapterHubLoraConfig({ r: 8, alpha: 2 }),
    ...options
  }: UniPELTConfigOptions = {}) {
    super({ ...options, configs: [prefixTuning, adapter, lora].map(part => part.with({ useGating: true })) })
  }
}
