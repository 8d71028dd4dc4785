/** @file The command `peft`: its subcommands and their options. What they do is loaded when one of them runs. */
import { createRequire } from 'node:module'
import { Command } from 'commander'
import type { ChatTerminal } from './commands/chat.ts'
import {
  collect,
  DATA_GROUP,
  HIGHEST_PORT,
  integer,
  names,
  number,
  oneOf,
  withData,
  withDestination,
  withEmbeddingLoss,
  withEngine,
  withEvaluation,
  withEvaluationData,
  withKeptPacking,
  withMedia,
  withMethod,
  withModel,
  withMonitoring,
  withOutput,
  withQuantization,
  withRunFile,
  withTask,
  withTraining,
} from './options.ts'
import type { Output } from './output.ts'
import { COMPARED_TASKS, DESCRIBED_TASKS } from './task-names.ts'

const { version } = createRequire(import.meta.url)('../../package.json') as { version: string }

/** What a command is given beside its options. */
export interface Context {
  /** Makes the output, once the options say how. */
  output(options: { json?: boolean; quiet?: boolean }): Output
  signal: AbortSignal | undefined
  /** Where a chat takes its lines from. */
  terminal: ChatTerminal
}

/** The whole command line. */
export function createProgram({ output, signal, terminal }: Context): Command {
  const program = new Command('peft')
    .description('Parameter-efficient fine-tuning: train, evaluate, use, inspect and merge adapters.')
    .version(version)
    .showHelpAfterError('(peft <command> --help shows all options)')

  const train = program.command('train').description('train an adapter, a head or a whole model')
  withModel(train, { adapter: 'none' })
  withTask(train, { required: false })
  withDestination(train)
  withMethod(train)
  withEmbeddingLoss(train)
  train.option('--ignore-mismatched-sizes', 'start parameters anew whose shape differs in the checkpoint', false)
  withOutput(train)
  train
    .optionsGroup(DATA_GROUP)
    .requiredOption(
      '--data <path>',
      'training data: jsonl, json, csv, tsv or txt; for images and speech a folder or a table of paths',
    )
  withEvaluationData(train)
  withData(train, { task: 'any' })
  withMedia(train).option('--flip', 'images: show each mirrored, left to right, half of the time', false)
  withTraining(train.optionsGroup('Training:'))
  withEvaluation(train)
  withKeptPacking(withEngine(train, 8), { isDefault: false })
  withMonitoring(train.optionsGroup('Monitoring:'))
  withRunFile(train).action(async (file: string | undefined, _, command: Command) => {
    const { startRun } = await import('./run-file/start.ts')
    await startRun(file, command, output, signal)
  })

  const evaluate = program.command('evaluate').description('measure a model on a data file')
  withModel(evaluate, { adapter: 'optional' })
  withTask(evaluate, { required: false })
  evaluate.requiredOption(
    '--data <file>',
    'labelled data: jsonl, json, csv, tsv or txt; for images and speech a folder or a table',
  )
  evaluate
    .option('--no-generate', 'models with an encoder: measure the loss alone and write no texts')
    .option('--max-new-tokens <n>', 'the longest text that is written', integer(1))
  withKeptPacking(withEngine(evaluate, 16), { isDefault: false })
  withEmbeddingLoss(evaluate)
  withData(evaluate, { task: 'any' })
  withMedia(evaluate)
  withOutput(evaluate).action(async options => {
    const command = await import('./commands/evaluate.ts')
    await command.evaluate(options, output(options), signal)
  })

  const predict = program.command('predict').description('classify texts, words and images, answer, transcribe')
  withModel(predict, { adapter: 'optional' })
  withTask(predict, { required: false })
  predict
    .option('--text <text>', 'a text; may be repeated', collect)
    .option('--data <path>', 'a data file, an image, a recording or a folder; one JSON line a row is written')
    .option('--max-new-tokens <n>', 'the longest answer or transcript', integer(1))
    .option('--out <file>', 'where to write the rows of --data; by default stdout')
  withKeptPacking(withEngine(predict, 16), { isDefault: false })
  withData(predict, { task: 'classifier' })
  withMedia(predict)
  withOutput(predict).action(async options => {
    const command = await import('./commands/predict.ts')
    await command.predict(options, output(options), signal)
  })

  const generate = program.command('generate').description('continue a text, or answer')
  withModel(generate, { adapter: 'optional' })
  generate
    .requiredOption('--prompt <text>', 'the beginning of the text, or with --chat the question')
    .option('--chat', "write the prompt as a user's turn, by the chat template", false)
    .option('--system <text>', "with --chat: the system's turn before it")
    .option('--max-new-tokens <n>', 'the longest answer', integer(1), 128)
    .option(
      '--temperature <t>',
      'sample, the more freely the higher; by default the likeliest token',
      number({ above: 0 }),
    )
    .option('--top-k <n>', 'sample among the n likeliest tokens', integer(1))
    .option(
      '--top-p <share>',
      'sample among the likeliest tokens that make up this share',
      number({ above: 0, most: 1 }),
    )
    .option(
      '--min-p <share>',
      "sample among tokens with at least this share of the likeliest one's probability",
      number({ least: 0, most: 1 }),
    )
    .option('--typical-p <share>', 'sample among tokens that tell as much as expected', number({ above: 0, most: 1 }))
    .option('--min-new-tokens <n>', 'the shortest answer', integer(0))
    .option('--repetition-penalty <factor>', 'above 1: tokens that occurred come less often', number({ above: 0 }))
    .option(
      '--presence-penalty <p>',
      'above 0: tokens of the answer come again less often',
      number({ least: -2, most: 2 }),
    )
    .option(
      '--frequency-penalty <p>',
      'as --presence-penalty, for each time that they came',
      number({ least: -2, most: 2 }),
    )
    .option('--block-ngrams <n>', 'no sequence of n tokens comes twice, the prompt included', integer(0))
    .option('--num-beams <n>', 'search with n beams; the text comes at the end', integer(1))
    .option('--num-return-sequences <n>', 'the n best beams, or n samples', integer(1))
    .option(
      '--length-penalty <power>',
      'of beams: above 0 longer texts are better, below 0 shorter',
      number({ least: -10, most: 10 }),
    )
    .addOption(oneOf('--early-stopping <when>', 'of beams: when the search ends', ['true', 'false', 'never']))
    .option('--stop <text>', 'end the answer before this text; may be repeated', collect, [])
    .option('--logprobs', 'with --json: the log-probability of each token', false)
    .option('--top-logprobs <n>', 'with --logprobs: also those of the n likeliest tokens', integer(0))
  withKeptPacking(withEngine(generate), { isDefault: false })
  withOutput(generate).action(async options => {
    const command = await import('./commands/generate.ts')
    await command.generateText(options, output(options), signal)
  })

  const chat = program.command('chat').description('talk with a model; through a pipe, each line is a turn')
  withModel(chat, { adapter: 'none' })
  chat
    .option('--adapter <name=folder>', 'an adapter; the first one answers; may be repeated', collect, [])
    .option('--system <text>', "the system's turn before all others")
    .option('--template <name>', "one of the tokenizer's chat templates, or a file")
    .option('--no-template', 'lines are plain text, which the model goes on with')
    .option('--drop-oldest', 'leave out the oldest turns when there is no room for all', false)
    .option('--max-new-tokens <n>', 'the longest answer', integer(1), 512)
    .option('--temperature <t>', 'sample, the more freely the higher', number({ above: 0 }))
    .option('--top-k <n>', 'sample among the n likeliest tokens', integer(0))
    .option(
      '--top-p <share>',
      'sample among the likeliest tokens that make up this share',
      number({ above: 0, most: 1 }),
    )
  withKeptPacking(withEngine(chat), { isDefault: true })
  withOutput(chat).action(async options => {
    const command = await import('./commands/chat.ts')
    await command.chat(options, output(options), terminal, signal)
  })

  const embed = program.command('embed').description('make a vector of each text, as sentence-transformers does')
  withModel(embed, { adapter: 'optional' })
  embed
    .option('--data <file>', 'the texts: jsonl, json, csv, tsv or txt')
    .option('--text <text>', 'a text in place of a file; may be repeated', collect)
    .option('--column <name>', 'the column that holds the texts')
    .option('--no-header', 'the first line of a csv or tsv file is data; columns are called 0, 1, …')
    .option('--limit <n>', 'read only the first rows of --data', integer(1))
    .option('--output <file>', 'a file that ends in .jsonl or .npy; by default JSON lines on stdout')
    .option('--overwrite', 'replace the file', false)
    .option('--prompt-name <name>', "one of the model's prompts, put in front of each text")
    .option('--prompt <text>', 'a text that is put in front of each')
    .option('--normalize', 'make the vectors one long, where the model does not', false)
    .option('--truncate-dim <n>', 'keep only so many first components', integer(1))
  withEngine(embed, 32)
  withOutput(embed).action(async options => {
    const command = await import('./commands/embed.ts')
    await command.embed(options, output(options), signal)
  })

  const serve = program
    .command('serve')
    .description("answer over HTTP as OpenAI's interface does, one base and many adapters")
  withModel(serve, { adapter: 'none' })
  serve
    .option('--adapters <folders...>', 'adapters, name=folder, or folders of adapters', collect, [])
    .option('--name <id>', "the base's id in requests; by default the folder's name")
    .option('--host <address>', 'where to listen; anything but this machine alone needs --api-key', '127.0.0.1')
    .option('--port <n>', '0 for any that is free', integer(0, HIGHEST_PORT), 8000)
    .option('--api-key <token>', 'what requests must bring; by default PEFT_API_KEY')
    .option('--cors <origin>', 'a web page that may ask, such as http://localhost:3000; may be repeated', collect, [])
    .option('--max-batch <n>', 'the most answers that are written at once', integer(1), 32)
    .option('--max-queue <n>', 'the most answers that wait', integer(0), 256)
    .option('--prefill-chunk <tokens>', 'how much of new prompts is read between two tokens of others', integer(1), 256)
    .option('--max-body <MiB>', 'the largest request', number({ above: 0 }), 4)
    .option('--context <tokens>', 'the most tokens of prompt and answer; by default what the model allows', integer(1))
    .option('--request-timeout <seconds>', 'how long a request may take to arrive', number({ above: 0 }), 30)
    .option('--grace <seconds>', 'how long answers may take to end when the server stops', number({ least: 0 }), 10)
  withKeptPacking(withEngine(serve), { isDefault: true })
  withOutput(serve).action(async options => {
    const command = await import('./commands/serve.ts')
    await command.serveModel(options, output(options), signal)
  })

  const compare = program
    .command('compare')
    .description('train every method on one task and compare them; without --model, the embedded model')
  compare.option('--model <model>', 'a model folder or hub id').option('--data <file>', 'training data')
  withTask(compare, { required: false, tasks: COMPARED_TASKS })
  compare
    .option('--methods <a,b,…>', 'the methods to compare; by default all', names)
    .option('--rate <method=rate>', "a method's learning rate; may be repeated", collect, [])
    .option(
      '--search <steps>',
      'find each rate by short trainings of so many steps; 0 takes what the method recommends',
      integer(0),
      60,
    )
    .option('--set <method.option=value>', "a method's option, such as lora.r=8; may be repeated", collect, [])
    .option('--eval-data <file>', 'a data file to test on')
    .option('--eval-split <share>', 'keep this share (or number) of --data to test on', number({ above: 0 }))
    .option('--retain <file>', 'what the base can: questions with answers, or text; shows what is forgotten')
    .option('--epochs <n>', 'passes over the data', number({ above: 0 }), 3)
    .option('--max-steps <n>', 'optimizer steps, in place of --epochs', integer(1))
    .requiredOption('--output <folder>', 'the folder for compare.json, report.html and the adapters')
  withEngine(compare, 16)
  withData(compare, { task: 'any' })
  withOutput(compare).action(async options => {
    const command = await import('./commands/compare.ts')
    await command.compare(options, output(options), signal)
  })

  const one = program.command('compare-method', { hidden: true }).description('one method of a comparison')
  one.requiredOption('--folder <folder>', 'where its settings stand')
  withOutput(one).action(async options => {
    const command = await import('./commands/compare.ts')
    await command.compareMethod(options, output(options), signal)
  })

  const info = program
    .command('info')
    .description('count parameters, show targets and estimate memory; needs config.json only')
    .argument('<model>', 'a model folder or hub id')
  withMethod(info)
  withTask(info, { required: false, tasks: DESCRIBED_TASKS })
  info
    .option('--labels <a,b,…>', 'the classes of --task seq_cls', text => text.split(','))
    .option('--sequence <tokens>', 'length of the examples, for the memory estimate', integer(1), 128)
  withQuantization(info)
  info.option('--gradient-checkpointing', 'for a training that computes layers twice and keeps less', false)
  withEngine(info, 8)
  withOutput(info).action(async (model, options) => {
    const command = await import('./commands/info.ts')
    await command.info(model, options, output(options))
  })

  const merge = program.command('merge').description('write a whole model that contains an adapter')
  withModel(merge, { adapter: 'required' })
  withTask(merge, { required: false })
  withDestination(merge)
  merge.option('--labels <a,b,…>', 'the names of the classes in order', text => text.split(','))
  withOutput(merge).action(async options => {
    const command = await import('./commands/merge.ts')
    await command.merge(options, output(options), signal)
  })

  const ui = program
    .command('ui')
    .description('show recorded trainings on a page on this machine')
    .argument('<folder>', 'the output folder of a training, or a folder that holds several')
    .option('--port <n>', 'the port; by default one that is free', integer(1, HIGHEST_PORT))
  withOutput(ui).action(async (folder, options) => {
    const command = await import('./commands/ui.ts')
    await command.showRuns(folder, options, output(options), signal)
  })

  return program
}
