/** @file Sentence embeddings with an adapter, trained on texts that belong together: `npx tsx examples/embeddings.ts`. */
import {
  Dataset,
  EmbeddingTask,
  getPeftModel,
  LoraConfig,
  PreTrainedModel,
  SentenceTransformer,
  Trainer,
} from 'peft-ts'

// Any folder of sentence-transformers, or a hub id such as 'sentence-transformers/all-MiniLM-L6-v2'.
const base = await SentenceTransformer.fromPretrained('assets/base')
if (!(base.transformer instanceof PreTrainedModel)) throw new Error('This folder holds an adapter already')
const peft = getPeftModel(base.transformer, new LoraConfig({ r: 8, taskType: 'FEATURE_EXTRACTION' }))
const model = base.withTransformer(peft)

const pairs = new Dataset([
  { anchor: 'What is the capital of France?', positive: 'Paris is where its government sits.' },
  { anchor: 'How do I boil an egg?', positive: 'Seven minutes in hot water.' },
  { anchor: 'Why is the sky blue?', positive: 'Air scatters short waves of light.' },
  { anchor: 'Who wrote Faust?', positive: 'Goethe did, over sixty years.' },
])
// Rows of { sentence1, sentence2, score } learn scores of pairs instead.
const task = EmbeddingTask.for(model, pairs)
const examples = task.examples(pairs)
const trainer = new Trainer({
  model: task.model,
  trainDataset: examples,
  evalDataset: examples,
  dataCollator: task.collate,
  computeMetrics: task.metrics,
  args: { maxSteps: Number(process.argv[2] ?? 30), learningRate: 5e-3 },
})
console.log('before', await trainer.evaluate())
await trainer.train()
console.log('after', await trainer.evaluate())

const questions = await model.encode(pairs.column('anchor').map(String))
const answers = await model.encode(pairs.column('positive').map(String))
console.log(model.similarity(questions, answers))
// The adapter, with the files that sentence-transformers reads beside it.
await model.savePretrained(process.argv[3] ?? 'out/embeddings')
// Switched off, it leaves the embeddings of the base.
await peft.disableAdapter(() => model.encode('Who wrote Faust?'))
