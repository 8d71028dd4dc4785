/** @file Puts adapters on a hub. Node only. */
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, relative, sep } from 'node:path'
import { pathToFileURL } from 'node:url'
import { createRepo, HUB_URL, HubApiError, uploadFiles } from '@huggingface/hub'
import type { PeftModel, SaveAdapterOptions } from './model.ts'

/** Options of `pushToHub`. */
export interface PushToHubOptions extends SaveAdapterOptions {
  /** The access token; by default `HF_TOKEN`. */
  token?: string
  /** The address of the hub; by default `HF_ENDPOINT`, else the public one. */
  hubUrl?: string
  /** Whether a repository that is made is private; by default what the account says. */
  private?: boolean
  /** The branch (`main`). */
  revision?: string
  commitMessage?: string
  commitDescription?: string
  /** Opens a pull request in place of a commit on the branch (false). */
  createPr?: boolean
  /** Used in place of the built-in `fetch`. */
  fetch?: typeof fetch
}

/** What became of a push. */
export interface PushedAdapter {
  /** The page of the repository. */
  url: string
  /** The page of the commit. */
  commitUrl: string | undefined
  /** The page of the pull request, where one was asked for. */
  pullRequestUrl: string | undefined
}

/**
 * Uploads what `savePretrained` writes, in one commit; the repository is made where there is none.
 *
 * @param repo `user/name`
 * @throws when there is no token, or the hub refuses
 */
export async function pushToHub(model: PeftModel, repo: string, options: PushToHubOptions): Promise<PushedAdapter> {
  const { token = process.env.HF_TOKEN || process.env.HUGGING_FACE_HUB_TOKEN, hubUrl: address, ...others } = options
  const { private: isPrivate, revision, commitMessage, commitDescription, createPr, fetch, ...selection } = others
  const hubUrl = (address ?? (process.env.HF_ENDPOINT || HUB_URL)).replace(/\/+$/, '')
  if (!/^[\w.-]+\/[\w.-]+$/.test(repo)) {
    throw new Error(`pushToHub: "${repo}" is not the name of a repository; expected user/name`)
  }
  if (!token) {
    throw new Error('pushToHub: uploading needs an access token with the right to write; give token, or set HF_TOKEN')
  }
  const about = { repo, hubUrl, accessToken: token, fetch }
  const folder = await mkdtemp(join(tmpdir(), 'peft-ts-push-'))
  try {
    await model.savePretrained(folder, selection)
    await makeRepo({ ...about, visibility: isPrivate === undefined ? undefined : isPrivate ? 'private' : 'public' })
    const names = (await readdir(folder, { recursive: true, withFileTypes: true }))
      .filter(entry => entry.isFile())
      .map(entry => join(entry.parentPath ?? entry.path, entry.name))
    const pushed = await uploadFiles({
      ...about,
      files: names.map(path => ({
        path: relative(folder, path).split(sep).join('/'),
        content: pathToFileURL(path),
      })),
      commitTitle: commitMessage ?? 'Upload adapter',
      commitDescription,
      branch: revision,
      isPullRequest: createPr,
      // Plain uploads, which every hub takes.
      useXet: false,
    })
    return { url: `${hubUrl}/${repo}`, commitUrl: pushed?.commit.url, pullRequestUrl: pushed?.pullRequestUrl }
  } catch (cause) {
    if (!(cause instanceof HubApiError)) throw cause
    throw new Error(
      `pushToHub: the hub at ${hubUrl} refused "${repo}" (${cause.statusCode}: ${cause.message}); check that the token may write there`,
      { cause },
    )
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

async function makeRepo(options: Parameters<typeof createRepo>[0]): Promise<void> {
  try {
    await createRepo(options)
  } catch (cause) {
    // It is there already.
    if (cause instanceof HubApiError && cause.statusCode === 409) return
    throw cause
  }
}
