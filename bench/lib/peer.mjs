/** @file The peer: PyTorch, Transformers and PEFT in a virtual environment, and the scripts that measure them. */
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { flags, runJson } from './child.mjs'
import { ROOT, SHARED } from './paths.mjs'

const SCRIPTS = join(SHARED, 'baselines')
const PACKAGES = ['torch', 'transformers', 'peft', 'accelerate', 'safetensors']
// The scripts stand in a folder that is not ours to write to, and need nothing from the network.
const ENVIRONMENT = { PYTHONDONTWRITEBYTECODE: '1', PYTHONWARNINGS: 'ignore', HF_HUB_OFFLINE: '1' }

const PROBE = `
import importlib.metadata as metadata, json
def version(name):
    try: return metadata.version(name)
    except metadata.PackageNotFoundError: return None
print(json.dumps({name: version(name) for name in ${JSON.stringify(PACKAGES)}}))
`

/** The peer, ready to run. */
export class Peer {
  /** @readonly @type {Record<string, string>} */
  versions
  #python

  /** @param {string} python @param {Record<string, string>} versions */
  constructor(python, versions) {
    this.#python = python
    this.versions = versions
  }

  /**
   * Sets the peer up where it is not: the environment in `PEFT_TS_PEER_VENV` or `.cache/peer`, and what it lacks.
   *
   * @returns {Peer | string} why there is none, where it cannot be set up
   */
  static prepare() {
    if (!existsSync(SCRIPTS)) return `its scripts are not there (${SCRIPTS})`
    const folder = resolve(process.env.PEFT_TS_PEER_VENV ?? join(ROOT, '.cache/peer'))
    const python = join(folder, process.platform === 'win32' ? 'Scripts/python.exe' : 'bin/python')
    if (!existsSync(python)) {
      const system = process.platform === 'win32' ? 'python' : 'python3'
      if (!run(system, ['--version'])) return `Python 3 is not there (no ${system} on the path)`
      console.error(`peer: making a virtual environment in ${folder}`)
      if (!run(system, ['-m', 'venv', folder])) return `${system} -m venv ${folder} failed; its message stands above`
    }
    const missing = PACKAGES.filter(name => !installed(python)[name])
    if (missing.length > 0) {
      console.error(`peer: installing ${missing.join(', ')} (some gigabytes, once)`)
      if (!run(python, ['-m', 'pip', 'install', ...missing])) return 'pip install failed; its message stands above'
    }
    return new Peer(python, { python: pythonVersion(python), ...installed(python) })
  }

  /**
   * Runs one of the peer's scripts and gives the JSON that it prints.
   *
   * @param {string} script
   * @param {Record<string, string | number | undefined>} options
   */
  run(script, options) {
    return runJson(this.#python, [join(SCRIPTS, script), ...flags(options)], ENVIRONMENT)
  }
}

/** @param {string} python @returns {Record<string, string>} without those that are not installed: null */
function installed(python) {
  return runJson(python, ['-c', PROBE])
}

/** @param {string} python @returns {string} */
function pythonVersion(python) {
  return runJson(python, ['-c', 'import json, platform; print(json.dumps(platform.python_version()))'])
}

/** Whether a command succeeds; what it prints goes to the error output. @param {string} command @param {string[]} args */
function run(command, args) {
  return spawnSync(command, args, { stdio: ['ignore', 2, 2] }).status === 0
}
