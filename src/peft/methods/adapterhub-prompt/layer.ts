/** @file The module that gives a model's embedded sequence, with prompts in it. */
import type { Tensor } from '../../../graph/index.ts'
import type { PreTrainedModel } from '../../../models/index.ts'
import { Embedding, Module, ModuleDict, Parameter, uniformInit } from '../../../nn/index.ts'
import { hiddenSize } from '../../adapterhub/files.ts'
import { drawMissing, randomFor } from '../../adapterhub/first-values.ts'
import type { WrapContext } from '../../method.ts'
import { TunerLayer } from '../../tuner-layer.ts'
import type { AdapterHubPromptConfig } from './config.ts'
import { firstPrompt } from './from-string.ts'
import { insertPrompt } from './insert.ts'

/** The prompt of one adapter, under AdapterHub's name. */
export class PromptTuning extends Module {
  readonly config: AdapterHubPromptConfig
  /** `[length, hidden]` */
  prompt_embedding: Embedding

  constructor(config: AdapterHubPromptConfig, width: number) {
    super()
    this.config = config
    this.prompt_embedding = new Embedding(config.promptLength, width, { init: uniformInit(config.randomUniformScale) })
  }

  /** The embedded sequence with the prompt in it, `[batch, length, hidden]`. */
  forward(embedded: Tensor): Tensor {
    return insertPrompt(this.config, embedded, this.prompt_embedding.weight.trace(embedded.graph))
  }
}

/** What AdapterHub calls `prompt_tuning` in a base model. */
class PromptTunings extends Module {
  prompt_tunings = new ModuleDict<PromptTuning>()

  forward(): never {
    throw new Error('PromptTunings only holds prompts; call the layer that it belongs to')
  }
}

/** Stands in the place of the module that gives the embedded sequence. Prompts of later adapters are put in later. */
export class PromptLayer extends TunerLayer {
  prompt_tuning = new PromptTunings()

  /** Adds an adapter with its first values. */
  addAdapter(context: WrapContext<AdapterHubPromptConfig>): void {
    const { adapterName, config, path, random, model } = context
    const prompt = new PromptTuning(config, hiddenSize(model.base as PreTrainedModel)!)
    if (config.promptInit === 'from_string' && !config.inferenceMode) {
      const { weight } = prompt.prompt_embedding
      prompt.prompt_embedding.weight = Parameter.computed(weight.shape, () => firstPrompt(config, model))
    }
    this.prompt_tuning.prompt_tunings.set(
      adapterName,
      drawMissing(prompt, randomFor(config.initWeightsSeed, path, random)),
    )
  }

  override adapterNames(): string[] {
    return this.prompt_tuning.prompt_tunings.keys()
  }

  override deleteAdapter(name: string): void {
    this.prompt_tuning.prompt_tunings.delete(name)
  }

  protected override adapt(names: readonly string[], ...inputs: unknown[]): Tensor {
    return names.reduce(
      (embedded, name) => this.prompt_tuning.prompt_tunings.get(name)!.forward(embedded),
      this.base_layer.forward(...inputs) as Tensor,
    )
  }
}
