/** @file An adapter trained on a reference model of every kind: it learns, the base stays as it was, its files come back. */
import { createHash } from 'node:crypto'
import { afterAll, expect, it } from 'vitest'
import { temporaryFolder } from '../../test/temporary.ts'
import type { Tensor } from '../graph/index.ts'
import { compile } from '../models/function.ts'
import type { ModelInputs, PreTrainedModel } from '../models/index.ts'
import { AUTO_CLASSES, describeOracleModels, goldenTensors } from '../models/testing/oracle.ts'
import { Engine, NodeBackend, type TensorData } from '../runtime/index.ts'
import { AdamW, trainableParameters, valueAndGrad } from '../training/index.ts'
import { getPeftModel, LoraConfig, PeftModel } from './index.ts'

const engine = new Engine(new NodeBackend())
afterAll(() => engine.dispose())

const STEPS = 6

/** A model for each kind of task and each way of computing, and what trains with LoRA. */
const KINDS: Readonly<Record<string, Partial<LoraConfig>>> = {
  'deberta-v2-seqcls': { taskType: 'SEQ_CLS' },
  'xlm-roberta-tokcls': { taskType: 'TOKEN_CLS' },
  'bert-qa': { taskType: 'QUESTION_ANS' },
  'modernbert-mlm': {},
  'llama-causal': { taskType: 'CAUSAL_LM' },
  'gpt2-causal': { taskType: 'CAUSAL_LM' },
  'gemma3-causal': { taskType: 'CAUSAL_LM' },
  'gpt-neox-causal': { taskType: 'CAUSAL_LM' },
  'bloom-causal': { taskType: 'CAUSAL_LM' },
  'mixtral-causal': { taskType: 'CAUSAL_LM' },
  't5-seq2seq': { taskType: 'SEQ_2_SEQ_LM' },
  'whisper-seq2seq': {},
  'vit-imgcls': { modulesToSave: ['classifier'] },
  'dinov2-imgcls': { modulesToSave: ['classifier'] },
  clip: {},
}

/** Everything that `model` computes from `feeds`, its loss included. */
async function outputsOf(model: PreTrainedModel | PeftModel, feeds: Record<string, TensorData>) {
  const forward = (_: unknown, inputs: ModelInputs) => {
    const { hidden_states, ...outputs } = model.forward(inputs)
    return Object.fromEntries(Object.entries(outputs).filter(([, tensor]) => tensor)) as Record<string, Tensor>
  }
  await using run = await compile(model, forward, { engine, mode: 'small' })
  return Object.fromEntries(Object.entries(await run(feeds)).map(([key, { data }]) => [key, data.slice()]))
}

async function digestOf(model: PreTrainedModel): Promise<string> {
  const hash = createHash('sha256')
  for (const [, parameter] of model.namedTensors()) hash.update(await parameter.read())
  return hash.digest('hex')
}

describeOracleModels(
  (name, folder, { kind }) => {
    it(`oracle: ${name} learns with LoRA, keeps its own values, and does the same with the saved adapter`, async () => {
      const open = () => AUTO_CLASSES[kind].fromPretrained(folder, { onWarning: () => {} })
      const { generate: _, ...feeds } = goldenTensors(folder, 'in.')
      const base = await open()
      const [values, before] = [await digestOf(base), await outputsOf(base, feeds)]
      const config = new LoraConfig({ r: 4, loraAlpha: 16, targetModules: 'all-linear', ...KINDS[name] })
      const peft = getPeftModel(base, config)
      expect(await outputsOf(peft, feeds)).toEqual(before)

      await using step = await valueAndGrad(peft, (model, inputs) => model.forward(inputs).loss!, { engine })
      const optimizer = new AdamW(trainableParameters(peft), { lr: 0.01 })
      for (let i = 0; i < STEPS; i++) optimizer.step((await step(feeds)).grads)
      const after = await outputsOf(peft, feeds)
      expect(after.loss[0]).toBeLessThan(0.98 * Number(before.loss[0]))
      expect(await digestOf(base)).toBe(values)
      expect(await peft.disableAdapter(() => outputsOf(peft, feeds))).toEqual(before)

      const target = await temporaryFolder()
      await peft.savePretrained(target)
      const again = await PeftModel.fromPretrained(await open(), target, { onWarning: warning => expect.fail(warning) })
      expect(await outputsOf(again, feeds)).toEqual(after)
    })
  },
  new RegExp(`^(${Object.keys(KINDS).join('|')})$`),
)
