/** @file Training and measuring one method of a comparison, in a process of its own so that its memory can be told. */
import { join } from 'node:path'
import { PeftModel } from '../../peft/index.ts'
import { Trainer, TrainingArguments, type TrainingArgumentsOptions } from '../../training/index.ts'
import { OutputFolder } from '../../training/output-folder.ts'
import { writeFileAtomic } from '../../util/files.ts'
import { classificationColumns, type DataFile, longestInput, readRows } from '../data.ts'
import { peakMemoryBytes } from '../memory.ts'
import { type LocatedModel, locateModel, openBaseModel, openTokenizer } from '../model.ts'
import type { Output } from '../output.ts'
import { saveAll, weightBytes } from '../saving.ts'
import { labelsOf, readFiles, type TrainingDataOptions, tokenizeFiles } from '../training-data.ts'
import { countParameters, tune } from '../tuning.ts'
import type { MethodResult } from './result.ts'
import { exactAnswers, forgottenByDecoder, forgottenByEncoder, questionsIn } from './retention.ts'
import { searchRate } from './search.ts'
import type { MethodSettings } from './settings.ts'
import { tokenAccuracy } from './token-accuracy.ts'

/** What is the same for all methods of a comparison. */
export interface CompareSettings extends TrainingDataOptions {
  model: string
  task?: 'seq_cls' | 'causal_lm'
  retain?: string
  epochs: number
  maxSteps?: number
  batchSize: number
  mode: 'fast' | 'small'
  threads?: number
}

/** The file in which a method's process leaves what it found. */
export const RESULT_FILE = 'result.json'

/** Trains one method and writes its result beside the adapter. */
export async function compareOne(
  settings: CompareSettings,
  method: MethodSettings,
  folder: string,
  output: Output,
  signal?: AbortSignal,
): Promise<void> {
  const located = await locateModel(settings, output)
  const files = await readFiles(settings, located, output)
  const labels = labelsOf(settings, located, files.train)
  const tokenizer = await openTokenizer(located)
  const data = tokenizeFiles({ options: settings, located, files, labels, tokenizer }, output)
  const common: TrainingArgumentsOptions = {
    numTrainEpochs: settings.epochs,
    maxSteps: settings.maxSteps,
    perDeviceTrainBatchSize: settings.batchSize,
    perDeviceEvalBatchSize: settings.batchSize,
    lrSchedulerType: 'linear',
    warmupRatio: 0.05,
    seed: settings.seed,
    mode: settings.mode,
    threads: settings.threads,
  }
  const create = async () => {
    const fresh = await openBaseModel(located, { labels, seed: settings.seed }, output)
    return tune(fresh, method.method, method.set, settings.seed)
  }
  const learningRate = method.searchSteps
    ? await searchRate({
        learningRate: method.learningRate,
        steps: method.searchSteps,
        train: data.train,
        create,
        args: common,
        padTokenId:
          tokenizer.padTokenId ?? (located.config as { pad_token_id?: number | null }).pad_token_id ?? undefined,
        signal,
      })
    : method.learningRate
  const model = await create()
  const args = new TrainingArguments({ ...common, learningRate })
  const trainer = new Trainer({ model, args, tokenizer, trainDataset: data.train, evalDataset: data.evaluation })
  const started = performance.now()
  const { globalStep } = await trainer.train({ signal })
  const seconds = (performance.now() - started) / 1000
  // Measuring what was learnt needs memory of its own, which is not the training's.
  const peak = peakMemoryBytes()
  const { trainable, all } = countParameters(model)
  const target = await OutputFolder.claim(join(folder, 'saved'), { overwrite: true, model })
  await saveAll(target, { model, tokenizer, record: undefined })
  const metrics = await trainer.evaluate(undefined, { signal })
  const { threads, batchSize } = settings
  const questions = located.task === 'CAUSAL_LM' ? questionsIn(files.evaluation!.rows) : undefined
  const score = metrics.eval_accuracy ?? (await tokenAccuracy(trainer, data.evaluation!))
  const exact = questions && (await exactAnswers(model, questions, { tokenizer, threads }))
  const isAdapter = model instanceof PeftModel
  const retention = {
    tokenizer,
    maxLength: Math.min(512, longestInput(settings.maxLength, tokenizer, located.config)),
    batchSize,
    threads,
    output,
    folder: located.folder,
    adapterFolder: isAdapter ? target.path : undefined,
  }
  const result: MethodResult = {
    ...method,
    learningRate,
    score,
    exact,
    loss: metrics.eval_loss,
    trainableParameters: trainable,
    allParameters: all,
    seconds,
    peakMemoryBytes: peak,
    fileBytes: await weightBytes(target.path),
    forgotten: await forgetting(),
    steps: globalStep,
  }
  await writeFileAtomic(join(folder, RESULT_FILE), `${JSON.stringify(result, null, 2)}\n`)

  async function forgetting() {
    if (located.task === 'CAUSAL_LM') {
      if (settings.retain === undefined) return undefined
      const rows = await readRows(settings.retain, {})
      return forgottenByDecoder(model, await untouched(located, output), rows, retention)
    }
    return forgottenByEncoder(model, await retainedTexts(settings, files.evaluation!), retention)
  }
}

/** The base as it is in its files: full fine-tuning has changed the one in memory. */
async function untouched(located: LocatedModel, output: Output) {
  return openBaseModel(located, {}, output)
}

/** Texts to fill in: those of `--retain`, else the evaluation data's own. */
async function retainedTexts(settings: CompareSettings, evaluation: DataFile): Promise<string[]> {
  const { retain } = settings
  const { rows } = retain === undefined ? evaluation : await readRows(retain, {})
  const own = retain === undefined ? classificationColumns(evaluation, settings).textColumn : undefined
  const column = own ?? (rows.columns.includes('text') ? 'text' : rows.columns[0])
  const texts = Array.from(rows as Iterable<Record<string, unknown>>, row => String(row[column]))
  return texts.filter(text => text !== '').slice(0, RETAINED_TEXTS)
}

/** As many texts show the loss to about one percent. */
const RETAINED_TEXTS = 400
