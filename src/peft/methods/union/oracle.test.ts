/** @file Unions against the oracle: computed, trained and saved as AdapterHub does it. */
import { describeHubCases } from '../../adapterhub/testing/battery.ts'
import '../../index.ts'

describeHubCases([...['bert', 'gpt2', 't5'].flatMap(base => [`mam-${base}`, `unipelt-${base}`]), 'union-lora-bn'])
