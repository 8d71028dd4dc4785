/** @file The README that is saved with an adapter. */
import type { PeftConfig } from './config.ts'
import type { PeftModel } from './model.ts'
import { formatTrainableParameters } from './parameter-counts.ts'

const PIPELINES: Readonly<Record<string, string>> = {
  CAUSAL_LM: 'text-generation',
  SEQ_CLS: 'text-classification',
  SEQ_2_SEQ_LM: 'text2text-generation',
  TOKEN_CLS: 'token-classification',
  QUESTION_ANS: 'question-answering',
  FEATURE_EXTRACTION: 'feature-extraction',
}

/** A model card: the metadata that hubs read, and how to load the adapter here and in Python. */
export function modelCard(model: PeftModel, config: PeftConfig): string {
  const base = config.baseModelNameOrPath
  const pipeline = config.taskType ? PIPELINES[config.taskType] : undefined
  const metadata = [
    ...(base ? [`base_model: ${JSON.stringify(base)}`] : []),
    'library_name: peft',
    ...(pipeline ? [`pipeline_tag: ${pipeline}`] : []),
    'tags:',
    ...(base ? [`- ${JSON.stringify(`base_model:adapter:${base}`)}`] : []),
    `- ${config.peftType.toLowerCase()}`,
    '- peft-ts',
  ]
  return `---
${metadata.join('\n')}
---

# ${config.peftType} adapter${base ? ` for ${base}` : ''}

Trained with peft-ts. ${formatTrainableParameters(model.getNbTrainableParameters())}

\`\`\`ts
import { PeftModel } from 'peft-ts'

const peft = await PeftModel.fromPretrained(model, 'this-folder')
\`\`\`

\`\`\`python
from peft import PeftModel

model = PeftModel.from_pretrained(model, "this-folder")
\`\`\`

### Framework versions

- PEFT ${config.peftVersion} (file format)
`
}
