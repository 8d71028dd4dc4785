/** @file A real browser for tests: Chromium, where this machine has one. */
import { existsSync } from 'node:fs'
import { type Browser, chromium } from 'playwright-core'

const PLACES = [
  process.env.PEFT_TS_CHROMIUM,
  '/usr/bin/chromium',
  '/usr/bin/chromium-browser',
  '/usr/bin/google-chrome',
  '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome',
]

/** The program; undefined where there is none. */
export const chromiumPath: string | undefined = PLACES.find(path => path !== undefined && existsSync(path))

/** Why tests in a browser cannot run. */
export const noBrowser: string | false = !chromiumPath && 'no Chromium here; name one in PEFT_TS_CHROMIUM'

/** Starts it, without anything that asks the network by itself. */
export function openBrowser(): Promise<Browser> {
  const switches = ['--disable-background-networking', '--disable-component-update', '--disable-sync', '--no-first-run']
  return chromium.launch({
    executablePath: chromiumPath,
    args: ['--no-sandbox', '--headless', '--disable-gpu', ...switches],
  })
}
