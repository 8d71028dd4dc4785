/** @file RoBERTa (arXiv 1907.11692): BERT with other positions. XLM-RoBERTa (arXiv 1911.02116) is the same. */
import { BertModel } from '../bert/model.ts'
import type { RobertaConfig, RobertaFamilyConfig } from '../config.ts'
import { RobertaEmbeddings } from './embeddings.ts'

/** The bare encoder. */
export class RobertaModel<C extends RobertaFamilyConfig = RobertaConfig> extends BertModel<C> {
  static override readonly modelType: string = 'roberta'

  override get baseModelPrefix(): string {
    return 'roberta'
  }

  protected override createEmbeddings(config: C): RobertaEmbeddings {
    return new RobertaEmbeddings(config)
  }
}
