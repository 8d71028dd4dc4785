/** @file LoRA and its kin against the oracle: computed, trained, merged and saved as AdapterHub does it. */
import { describeHubCases } from '../../adapterhub/testing/battery.ts'
import '../../index.ts'

const cases = (method: string, names: string) => names.split(' ').map(name => `${method}-${name}`)

describeHubCases([
  ...cases('lora', 'bert roberta distilbert gpt2 llama qwen2 t5 bart vit'),
  ...cases('lora-all', 'bert gpt2 llama t5 vit'),
  ...cases('lora', 'gating-bert gating-gpt2 init-bert intermediate-llama k-only-gpt2 leave_out scale-mode'),
  ...cases('dora', 'bert all alpha-r llama vit'),
  ...cases('ia3', 'bert roberta gpt2 llama t5 vit gating output'),
  ...cases('vera', 'bert vit gating q-llama q-t5'),
  'dvora-bert',
])
