/** @file The commands of a chat: lines that begin with `/`. */
import { didYouMean } from '../../util/nearest.ts'
import type { ChatSession } from './session.ts'
import { changeSetting, showSettings } from './settings.ts'

/** What a command is given. */
export interface CommandContext {
  session: ChatSession
  /** Makes the signal of an answer. */
  answering<T>(act: (signal: AbortSignal) => Promise<T>): Promise<T>
  /** Tells something that the user asked for. */
  tell(data: Readonly<Record<string, unknown>>, line: string): void
}

/** One command. */
interface ChatCommand {
  /** What stands behind its name, as the help shows it. */
  takes: string
  about: string
  /** @returns `'quit'` to end the chat */
  run(argument: string, context: CommandContext): Promise<'quit' | undefined> | 'quit' | undefined
}

const needed = (argument: string, usage: string) => {
  if (argument === '') throw new Error(`What is missing: ${usage}`)
  return argument
}

const COMMANDS: Readonly<Record<string, ChatCommand>> = {
  adapter: {
    takes: 'NAME',
    about: 'let another adapter answer; none for the base model',
    run(argument, { session, tell }) {
      session.use(needed(argument, '/adapter NAME, or /adapter none'))
      tell({ adapter: session.adapter ?? null }, `${session.adapter ?? 'the base model'} answers from now on`)
      return undefined
    },
  },
  adapters: {
    takes: '',
    about: 'list the adapters',
    run(_, { session, tell }) {
      const { adapters, adapter } = session
      const names = ['none', ...adapters].map(name => (name === (adapter ?? 'none') ? `* ${name}` : `  ${name}`))
      tell({ adapters, adapter: adapter ?? null }, names.join('\n'))
      return undefined
    },
  },
  load: {
    takes: 'NAME FOLDER',
    about: 'load an adapter; /adapter NAME lets it answer',
    async run(argument, { session, tell }) {
      const [, name, folder] = /^(\S+)\s+(.+)$/.exec(argument) ?? []
      if (folder === undefined) throw new Error('What is missing: /load NAME FOLDER')
      await session.load(name, folder)
      tell({ loaded: name }, `loaded ${name}; /adapter ${name} lets it answer`)
      return undefined
    },
  },
  system: {
    takes: 'TEXT',
    about: "change the system's turn; without a text take it away",
    run(argument, { session, tell }) {
      session.conversation.system = argument || undefined
      tell({ system: argument || null }, argument ? 'the model reads this first from now on' : "no system's turn")
      return undefined
    },
  },
  set: {
    takes: 'OPTION=VALUE',
    about: 'change how answers are made, such as temperature=0.7; alone, show it',
    run(argument, { session, tell }) {
      if (argument !== '') session.settings = changeSetting(session.settings, argument)
      tell({ settings: session.settings }, showSettings(session.settings) || 'as the model says')
      return undefined
    },
  },
  reset: {
    takes: '',
    about: 'forget all turns',
    run(_, { session, tell }) {
      session.conversation.reset()
      tell({ turns: 0 }, 'the conversation begins anew')
      return undefined
    },
  },
  undo: {
    takes: '',
    about: 'take the last turn back',
    run(_, { session, tell }) {
      const { user } = session.conversation.undo()
      const { length } = session.conversation.turns
      tell({ turns: length }, `taken back: ${user.length > 60 ? `${user.slice(0, 60)}…` : user}`)
      return undefined
    },
  },
  retry: {
    takes: '',
    about: 'answer the last line again',
    async run(_, { session, answering }) {
      await answering(signal => session.retry(signal))
      return undefined
    },
  },
  save: {
    takes: 'FILE',
    about: 'write the conversation as a line of JSON, which peft train reads',
    async run(argument, { session, tell }) {
      await session.save(needed(argument, '/save FILE'))
      tell({ saved: argument }, `saved to ${argument}`)
      return undefined
    },
  },
  help: {
    takes: '',
    about: 'show this',
    run(_, { tell }) {
      const rows = Object.entries(COMMANDS).map(([name, { takes, about }]) => [`/${name} ${takes}`.trim(), about])
      const width = Math.max(...rows.map(([usage]) => usage.length))
      const lines = rows.map(([usage, about]) => `${usage.padEnd(width)}  ${about}`)
      tell({ commands: rows.map(([usage]) => usage) }, [...lines, '', '//text says /text'].join('\n'))
      return undefined
    },
  },
  quit: { takes: '', about: 'end the chat', run: () => 'quit' },
}

/** Whether a line is a command. */
export function isCommand(line: string): boolean {
  return line.startsWith('/') && !line.startsWith('//')
}

/**
 * Runs a command.
 *
 * @returns `'quit'` when the chat ends
 * @throws when there is none of that name, or it cannot be done
 */
export async function runCommand(line: string, context: CommandContext): Promise<'quit' | undefined> {
  const [, name, argument] = /^\/(\S*)\s*(.*)$/s.exec(line)!
  const command = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined
  if (command) return command.run(argument.trim(), context)
  throw new Error(`There is no command /${name}.${didYouMean(name, Object.keys(COMMANDS))} /help shows all.`)
}
