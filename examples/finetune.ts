/** @file Fine-tuning with LoRA, saving the adapter and coming back to it: `npx tsx examples/finetune.ts`. */
import {
  AutoModelForCausalLM,
  AutoTokenizer,
  Dataset,
  getPeftModel,
  LoraConfig,
  PeftModel,
  TaskType,
  Trainer,
} from 'peft-ts'

const BASE = 'assets/base'
const steps = Number(process.argv[2] ?? 60)
const output = process.argv[3] ?? 'out/finetune'

// Any folder with a checkpoint, or a hub id such as 'Qwen/Qwen2.5-0.5B-Instruct'.
const model = await AutoModelForCausalLM.fromPretrained(BASE)
const tokenizer = await AutoTokenizer.fromPretrained(BASE)
const peft = getPeftModel(model, new LoraConfig({ r: 8, loraAlpha: 16, taskType: TaskType.CAUSAL_LM }))
peft.printTrainableParameters()

// Rows of a jsonl or csv file come from loadDataset('file.jsonl'); the columns are the same.
const dataset = new Dataset(
  ['cat', 'dog', 'owl', 'goat', 'fox'].map(animal => ({
    prompt: `Greet the ${animal}.`,
    completion: ` Hello ${animal}.`,
  })),
)
const trainer = new Trainer({
  model: peft,
  tokenizer,
  trainDataset: dataset,
  args: { maxSteps: steps, learningRate: 5e-3, loggingSteps: 20 },
  callbacks: [{ onLog: ({ step, loss }) => console.log(`step ${step}  loss ${loss.toFixed(4)}`) }],
})
await trainer.train()
await peft.savePretrained(output)

const again = await PeftModel.fromPretrained(model, output)
const prompt = tokenizer.encode('Greet the duck.').inputIds
for await (const piece of again.stream(prompt, { tokenizer, maxNewTokens: 8 })) process.stdout.write(piece)
console.log()
