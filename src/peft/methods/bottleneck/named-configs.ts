/** @file Bottleneck adapters by the names of their publications, as AdapterHub configures them. */
import { BnConfig, type BnConfigOptions } from './config.ts'

const SEQ: BnConfigOptions = { originalLnBefore: true, nonLinearity: 'relu', reductionFactor: 16 }
const DOUBLE_SEQ: BnConfigOptions = { mhAdapter: true, nonLinearity: 'swish', reductionFactor: 16 }
const PAR: BnConfigOptions = {
  isParallel: true,
  nonLinearity: 'relu',
  reductionFactor: 2,
  initWeights: 'mam_adapter',
  scaling: 4,
}
const INVERTIBLE: BnConfigOptions = { invAdapter: 'nice', invAdapterReductionFactor: 2 }
const COMPACTER: BnConfigOptions = { phmLayer: true, nonLinearity: 'gelu', reductionFactor: 32 }

/** An adapter after each feed-forward network, on the layer's normalised sum (Pfeiffer et al., arXiv 2005.00247). */
export class SeqBnConfig extends BnConfig {
  constructor(options: BnConfigOptions = {}) {
    super({ ...SEQ, ...options })
  }
}

/** {@link SeqBnConfig} with an invertible adapter after the embeddings (MAD-X, arXiv 2005.00052). */
export class SeqBnInvConfig extends BnConfig {
  constructor(options: BnConfigOptions = {}) {
    super({ ...SEQ, ...INVERTIBLE, ...options })
  }
}

/** An adapter after each attention and each feed-forward network (Houlsby et al., arXiv 1902.00751). */
export class DoubleSeqBnConfig extends BnConfig {
  constructor(options: BnConfigOptions = {}) {
    super({ ...DOUBLE_SEQ, ...options })
  }
}

/** {@link DoubleSeqBnConfig} with an invertible adapter after the embeddings (MAD-X, arXiv 2005.00052). */
export class DoubleSeqBnInvConfig extends BnConfig {
  constructor(options: BnConfigOptions = {}) {
    super({ ...DOUBLE_SEQ, ...INVERTIBLE, ...options })
  }
}

/** A wide adapter beside each feed-forward network (He et al., arXiv 2110.04366). */
export class ParBnConfig extends BnConfig {
  constructor(options: BnConfigOptions = {}) {
    super({ ...PAR, ...options })
  }
}

/** {@link ParBnConfig} whose factor is learnt. */
export class ScaledParBnConfig extends BnConfig {
  constructor(options: BnConfigOptions = {}) {
    super({ ...PAR, scaling: 'learned', ...options })
  }
}

/** Adapters of sums of Kronecker products at both places (Compacter, arXiv 2106.04647). */
export class CompacterConfig extends BnConfig {
  constructor(options: BnConfigOptions = {}) {
    super({ ...DOUBLE_SEQ, ...COMPACTER, ...options })
  }
}

/** {@link CompacterConfig} after the feed-forward networks alone. */
export class CompacterPlusPlusConfig extends BnConfig {
  constructor(options: BnConfigOptions = {}) {
    super({ ...SEQ, ...COMPACTER, ...options })
  }
}

/** Adapters with a learnt factor for each channel, for vision transformers (AdapterPlus, arXiv 2406.06820). */
export class AdapterPlusConfig extends BnConfig {
  constructor(options: BnConfigOptions = {}) {
    super({
      originalLnBefore: true,
      originalLnAfter: false,
      residualBeforeLn: false,
      stochasticDepth: 0.1,
      initWeights: 'houlsby',
      scaling: 'channel',
      nonLinearity: 'gelu',
      reductionFactor: 96,
      ...options,
    })
  }
}
