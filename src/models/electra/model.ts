/** @file ELECTRA (arXiv 2003.10555): BERT with narrower embeddings, and without a pooler. */
import type { Tensor } from '../../graph/index.ts'
import type { Linear } from '../../nn/index.ts'
import { BertEmbeddings } from '../bert/embeddings.ts'
import { BertModel } from '../bert/model.ts'
import type { ElectraConfig } from '../config.ts'
import { createLinear } from '../init.ts'
import type { ModelInputs } from '../inputs.ts'

/** The bare encoder. */
export class ElectraModel extends BertModel<ElectraConfig> {
  static override readonly modelType: string = 'electra'

  embeddings_project: Linear | undefined

  constructor(config: ElectraConfig) {
    super(config, { pooler: false })
    const { embedding_size, hidden_size, initializer_range } = config
    this.embeddings_project =
      embedding_size === hidden_size ? undefined : createLinear(embedding_size, hidden_size, initializer_range)
  }

  protected override createEmbeddings(config: ElectraConfig): BertEmbeddings {
    return new BertEmbeddings(config, config.embedding_size)
  }

  protected override embed(inputs: ModelInputs): Tensor {
    const embedded = super.embed(inputs)
    return this.embeddings_project?.forward(embedded) ?? embedded
  }
}
