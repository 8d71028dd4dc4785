/** @file What embeddings can be trained by. */

/** The values of {@link EmbeddingLoss}. */
export const EMBEDDING_LOSSES = ['multiple_negatives_ranking', 'cosent', 'cosine_similarity'] as const

/** What embeddings are trained by: texts that belong together, or (the others) pairs with a score. */
export type EmbeddingLoss = (typeof EMBEDDING_LOSSES)[number]
