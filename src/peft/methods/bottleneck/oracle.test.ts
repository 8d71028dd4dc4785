/** @file The options of bottleneck adapters against the oracle: computed, trained and saved as AdapterHub does it. */
import { join } from 'node:path'
import { describe, it } from 'vitest'
import { skippable } from '../../../../test/shared.ts'
import { Parameter } from '../../../nn/index.ts'
import { checkOutputs, describeHubCases, tensorsIn } from '../../adapterhub/testing/battery.ts'
import { hubCase, openBase } from '../../adapterhub/testing/cases.ts'
import { getPeftModel, hubStateDict, loadPeftConfig, type PeftModel } from '../../index.ts'

/** Cases that are called by an option or by a base model. */
const cases = (method: string, names: string) => names.split(' ').map(name => `${method}-${name}`)

const SEQ_BN = [
  'gelu swish tanh leakyrelu gelu_new rf-dict rf-half rf-64',
  'ln_before ln_after ln_after-residual ln_both residual-post residual-post_add residual-post-gpt2',
  'no-original-ln original-ln-before-only original-ln-before-only-residual-post',
  'gating scaling scaling-learned scaling-channel mh-only leave_out skip_layers',
].join(' ')
const PHM = 'own-rule factorized-rule own-factorized-rule shared-W full-W no-bias frozen-rule rank2-dim2'

describeHubCases(
  [
    ...cases('seq_bn', SEQ_BN),
    'par_bn-options',
    ...cases('adapter_plus', 'bert vit'),
    ...cases('seq_bn_inv', 'bert roberta gpt2 llama t5 bart qwen2 mlm'),
    'double_seq_bn_inv-bert',
    ...cases('compacter', 'bert gpt2 t5'),
    ...cases('compacter++', 'bert vit'),
    ...cases('phm', PHM),
  ],
  {
    // AdapterHub frees the rules of an adapter that should keep them.
    'phm-frozen-rule': { frees: /phm_rule/ },
  },
)

describe('seq_bn_inv-flex-mlm', () => {
  const hub = hubCase('seq_bn_inv-flex-mlm')
  const missing = !hub && 'no copy of the oracle here'
  /** Where the flexible head's layers stand in the stock one. */
  const HEAD = { 0: 'transform.dense', 2: 'transform.LayerNorm', 3: 'decoder' }

  it.skipIf(missing)(
    skippable('oracle: an invertible adapter is undone before the decoder of a flexible head', missing),
    async () => {
      const base = await openBase(hub!)
      for (const [name, data] of await tensorsIn(join(hub!.folder, 'model_head.safetensors'))) {
        const [, , layer, kind] = name.split('.')
        const path = `cls.predictions.${HEAD[layer as unknown as keyof typeof HEAD]}`
        const module = base.getSubmodule(path) as unknown as Record<string, Parameter>
        module[kind] = Parameter.from(data, module[kind].shape)
      }
      const config = (await loadPeftConfig(hub!.folder)).with({ invBeforeOutput: true })
      const peft = getPeftModel(base, config, { adapterName: 'a' }) as PeftModel
      const values = await tensorsIn(join(hub!.folder, 'adapter.safetensors'))
      for (const [name, parameter] of hubStateDict(peft, 'a')) parameter.data = values.get(name)!
      await checkOutputs(hub!, peft)
    },
  )
})
