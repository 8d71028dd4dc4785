/** @file The command `peft`: its subcommands and their options. What they do is loaded when one of them runs. */
import { createRequire } from 'node:module'
import { Command } from 'commander'
import {
  collect,
  integer,
  names,
  number,
  withData,
  withDestination,
  withEngine,
  withEvaluation,
  withMethod,
  withModel,
  withOutput,
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
}

/** The whole command line. */
export function createProgram({ output, signal }: Context): Command {
  const program = new Command('peft')
    .description('Parameter-efficient fine-tuning: train, evaluate, use, inspect and merge adapters.')
    .version(version)
    .showHelpAfterError('(peft <command> --help shows all options)')

  const train = program.command('train').description('train an adapter, a head or a whole model')
  withModel(train, { adapter: 'none' })
  withTask(train, { required: true })
  train.requiredOption('--data <file>', 'training data: jsonl, json, csv, tsv or txt')
  withDestination(train)
  withMethod(train)
  withEvaluation(train)
  withTraining(train)
  withEngine(train, 8)
  withData(train, { task: 'any' })
  train.option('--ignore-mismatched-sizes', 'start parameters anew whose shape differs in the checkpoint', false)
  withOutput(train).action(async options => {
    const command = await import('./commands/train.ts')
    await command.train(options, output(options), signal)
  })

  const evaluate = program.command('evaluate').description('measure a model on a data file')
  withModel(evaluate, { adapter: 'optional' })
  withTask(evaluate, { required: false })
  evaluate.requiredOption('--data <file>', 'labelled data: jsonl, json, csv, tsv or txt')
  withEngine(evaluate, 16)
  withData(evaluate, { task: 'any' })
  withOutput(evaluate).action(async options => {
    const command = await import('./commands/evaluate.ts')
    await command.evaluate(options, output(options), signal)
  })

  const predict = program.command('predict').description('classify texts')
  withModel(predict, { adapter: 'optional' })
  withTask(predict, { required: false })
  predict
    .option('--text <text>', 'a text; may be repeated', collect)
    .option('--data <file>', 'a data file; one JSON line a row is written')
    .option('--out <file>', 'where to write the rows of --data; by default stdout')
  withEngine(predict, 16)
  withData(predict, { task: 'classifier' })
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
  withEngine(generate)
  withOutput(generate).action(async options => {
    const command = await import('./commands/generate.ts')
    await command.generateText(options, output(options), signal)
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

  return program
}
