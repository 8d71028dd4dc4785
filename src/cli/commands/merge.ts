/** @file `peft merge`. */
import { IGNORE_INDEX } from '../../data/index.ts'
import { concat } from '../../graph/index.ts'
import { compile } from '../../models/function.ts'
import type { PreTrainedModel, TextConfig } from '../../models/index.ts'
import { type MergedParameter, PeftModel } from '../../peft/index.ts'
import { floats, type TensorData, tensorData } from '../../runtime/index.ts'
import { OutputFolder } from '../../training/output-folder.ts'
import { Random } from '../../util/random.ts'
import { openEmbedding } from '../embedding.ts'
import { formatBytes, formatCount, shellQuote } from '../format.ts'
import { mediumOf } from '../media.ts'
import { classNamesOf, hasTokenizer, locateModel, type ModelOptions, openModel, openTokenizer } from '../model.ts'
import type { Output } from '../output.ts'
import { saveAll, weightBytes } from '../saving.ts'
import { hasLabels, useCommand } from '../task.ts'
import type { TunedModel } from '../tuning.ts'

/** The options of `peft merge`. */
export interface MergeOptions extends ModelOptions {
  adapter: string
  output: string
  overwrite: boolean
  labels?: string[]
}

/** The largest difference of scores that rounding explains, as a share of the largest score. */
const TOLERANCE = 1e-3
const PROBE_ROWS = 2
const PROBE_LENGTH = 12

/** Writes a whole model whose weights contain the adapter, after checking that it computes the same. */
export async function merge(options: MergeOptions, output: Output, signal?: AbortSignal): Promise<void> {
  const located = await locateModel(options, output)
  const labels = hasLabels(located.task) ? await classNamesOf(located, options.labels) : undefined
  const model = await openModel(located, { labels }, output)
  if (!(model instanceof PeftModel)) throw new Error('There is no adapter to merge')
  const folder = await OutputFolder.claim(options.output, { overwrite: options.overwrite, model })
  signal?.throwIfAborted()
  if (model.model.isQuantized) {
    output.warn(
      `${located.name} is quantised: the merged weights are dequantised and written as float32, which takes several ` +
        'times the disk space and memory. To stay small, use base and adapter side by side.',
    )
  }

  let report: readonly MergedParameter[] = []
  const merged = await model.mergeAndUnload({ onReport: parameters => (report = parameters) })
  const largest = report.reduce((a, b) => (b.largestChange > a.largestChange ? b : a), {
    name: '',
    largestChange: 0,
  })
  output.note(`merged ${formatCount(report.length)} weights; now checking the scores of a probe`)
  const probe = await compareScores(model, merged)
  if (!(probe.difference <= TOLERANCE * probe.largestScore)) {
    throw new Error(
      `The merged model does not compute what the adapter does: on a probe the scores differ by ${probe.difference} ` +
        `(the largest is ${probe.largestScore}). Nothing was written.`,
    )
  }
  signal?.throwIfAborted()
  const medium = mediumOf(located)
  const hasOwn = [located.folder, located.adapterFolder].some(path => path !== undefined && hasTokenizer(path))
  const tokenizer = hasOwn ? await openTokenizer(located) : undefined
  if (!tokenizer && medium !== 'image')
    output.warn(`neither ${located.name} nor ${located.adapterName} has a tokenizer; none was written`)
  const isEmbedding = located.task === 'FEATURE_EXTRACTION' && tokenizer !== undefined
  const whole = isEmbedding ? await openEmbedding(located, merged, tokenizer, {}, output) : merged
  await saveAll(folder, { model: whole, tokenizer, record: located.record, settingsFrom: located.folder })

  const bytes = await weightBytes(folder.path)
  const next = useCommand(located.task, `--model ${shellQuote(options.output)}`, medium)
  output.result(
    {
      command: 'merge',
      output: options.output,
      merged_parameters: report.length,
      largest_change: largest.largestChange,
      largest_change_in: largest.name,
      probe_difference: probe.difference,
      probe_largest_score: probe.largestScore,
      weight_bytes: bytes,
      next: [next],
    },
    [
      `merged ${formatCount(report.length)} weights; the largest change is ${largest.largestChange.toPrecision(4)}${largest.name && `, in ${largest.name}`}`,
      `scores before and after differ by at most ${probe.difference.toExponential(2)} (the largest score is ${probe.largestScore.toPrecision(4)})`,
      `model ${output.style.bold(options.output)} (${formatBytes(bytes)})`,
      '',
      'next:',
      `  ${next}`,
    ],
  )
}

/** Runs both models on the same random tokens. */
async function compareScores(before: TunedModel, after: PreTrainedModel) {
  const [expected, got] = [await scoresOf(before), await scoresOf(after)]
  let [difference, largestScore] = [0, 0]
  expected.forEach((score, i) => {
    const distance = Math.abs(score - got[i])
    // A comparison with NaN is false: it must count as different.
    if (!(distance <= difference)) difference = distance
    largestScore = Math.max(largestScore, Math.abs(score))
  })
  return { difference, largestScore }
}

async function scoresOf(model: TunedModel): Promise<Float32Array> {
  const { vocab_size = 1, pad_token_id } = model.config as unknown as Partial<TextConfig>
  const specs = model.inputSpecs()
  const random = new Random(0)
  const ids = Array.from({ length: PROBE_ROWS }, () =>
    Array.from({ length: PROBE_LENGTH }, () => {
      const id = random.integer(vocab_size)
      return id === (pad_token_id ?? IGNORE_INDEX) ? (id + 1) % vocab_size : id
    }),
  )
  await using scores = await compile(
    model,
    (_, inputs) => {
      const { logits, start_logits, end_logits, last_hidden_state } = model.forward(inputs)
      return {
        scores: logits ?? (start_logits && end_logits ? concat([start_logits, end_logits], 1) : last_hidden_state!),
      }
    },
    // The kernels of quantised weights round activations, which the merged model does not.
    { inputs: model.inputSpecs(), mode: 'small', dequantize: true },
  )
  const noise = (name: string): TensorData => {
    const dims = [PROBE_ROWS, ...specs[name].shape.slice(1).map(Number)]
    const size = dims.reduce((a, b) => a * b)
    return { dtype: 'float32', dims, data: Float32Array.from({ length: size }, () => random.normal()) }
  }
  const heard = ['pixel_values', 'input_features'].find(name => specs[name] && !specs.input_ids)
  const result = await scores({
    ...(heard !== undefined && { [heard]: noise(heard) }),
    ...(specs.input_ids && { input_ids: tensorData('int64', ids) }),
    ...(specs.decoder_input_ids && { decoder_input_ids: tensorData('int64', ids) }),
    ...(specs.attention_mask && {
      attention_mask: tensorData(
        'int64',
        ids.map(row => row.map(() => 1)),
      ),
    }),
  })
  return floats(result.scores)
}
