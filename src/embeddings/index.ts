/** @file Sentence embeddings: models, losses and measures, as sentence-transformers has them. */
export {
  type EmbeddingExample,
  EmbeddingTask,
  type EmbeddingTaskOptions,
  type TokenizedEmbeddings,
} from './embedding-task.ts'
export type { SentenceSettings } from './layout.ts'
export type { LoadSentenceOptions } from './load.ts'
export { EMBEDDING_LOSSES, type EmbeddingLoss } from './loss-names.ts'
export { cosentLoss, cosineSimilarityLoss, multipleNegativesRankingLoss, type RankingLossOptions } from './losses.ts'
export { Dense, type DenseOptions, EmbeddingModule, Normalize } from './modules.ts'
export { POOLING_MODES, Pooling, type PoolingMode, type PoolingOptions } from './pooling.ts'
export {
  type EmbeddingInputs,
  type EncodeTextsOptions,
  SentenceTransformer,
  type SentenceTransformerParts,
  type Transformer,
} from './sentence-transformer.ts'
export {
  pearsonCorrelation,
  type RetrievalMetrics,
  recallAt1,
  retrievalMetrics,
  SIMILARITY_FUNCTIONS,
  type SimilarityFunction,
  similarityMatrix,
  spearmanCorrelation,
} from './similarity.ts'
