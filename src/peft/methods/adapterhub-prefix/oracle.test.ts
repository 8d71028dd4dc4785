/** @file Prefix tuning against the oracle: computed, trained and saved as AdapterHub does it. */
import { describeHubCases } from '../../adapterhub/testing/battery.ts'
import '../../index.ts'

const cases = (method: string, names: string) => names.split(' ').map(name => `${method}-${name}`)

describeHubCases([
  ...cases('prefix_tuning', 'bert roberta distilbert gpt2 llama t5 bart vit'),
  ...cases('prefix_tuning', 'gating gating-separate leave_out pickled self-only-t5'),
  ...cases('prefix_tuning_flat', 'bert gpt2 gating-gpt2 t5'),
])
