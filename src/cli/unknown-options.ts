/** @file Mistyped options, found before missing ones are: `--modle` is not "--model is missing". */
import type { Command } from 'commander'
import { didYouMean } from '../util/nearest.ts'
import { UsageError } from './exit.ts'

/** Throws for an option that the subcommand does not have, naming the nearest. */
export function refuseUnknownOptions(program: Command, argv: readonly string[]): void {
  const command = program.commands.find(candidate => candidate.name() === argv[0])
  if (!command) return
  const known = ['--help', ...command.options.map(({ long }) => long ?? '')]
  for (let i = 1; i < argv.length && argv[i] !== '--'; i++) {
    if (!argv[i].startsWith('--')) continue
    const [name] = argv[i].split('=')
    if (!known.includes(name)) {
      throw new UsageError(
        `peft ${argv[0]} has no option ${name}.${didYouMean(name, known)} All options: peft ${argv[0]} --help`,
      )
    }
    const option = command.options.find(({ long }) => long === name)
    if (option?.required && !argv[i].includes('=')) i++
  }
}
