/** @file Prompt tuning against the oracle: computed, trained and saved as AdapterHub does it. */
import { describeHubCases } from '../../adapterhub/testing/battery.ts'
import '../../index.ts'

describeHubCases(['bert', 'roberta', 'vit', 'after-bos'].map(name => `prompt_tuning-${name}`))
