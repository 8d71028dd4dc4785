/** @file Reading the body of a request: JSON, not too large. */
import { ApiError, badRequest } from './errors.ts'

/**
 * The JSON in a request's body.
 *
 * @param most how many bytes it may have
 * @throws ApiError 415 for another content type, 413 for too much, 400 for what is not JSON
 */
export async function readJson(request: Request, most: number): Promise<unknown> {
  const type = request.headers.get('content-type')
  if (type?.split(';')[0].trim().toLowerCase() !== 'application/json') {
    const got = type ? `"${type}"` : 'nothing'
    throw new ApiError(415, `The content type is ${got}, expected application/json.`, {
      code: 'unsupported_media_type',
    })
  }
  const encoding = request.headers.get('content-encoding')
  if (encoding && encoding !== 'identity') {
    throw new ApiError(415, `The body is encoded as "${encoding}"; send it plain.`, { code: 'unsupported_media_type' })
  }
  const bytes = await readBytes(request, most)
  let text: string
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch {
    throw badRequest('The body is not valid UTF-8.', undefined, 'invalid_json')
  }
  try {
    return JSON.parse(text)
  } catch (error) {
    throw badRequest(`The body is not valid JSON: ${(error as Error).message}.`, undefined, 'invalid_json')
  }
}

async function readBytes(request: Request, most: number): Promise<Uint8Array> {
  const tooLarge = () =>
    // What still comes is not read: the connection ends with the answer.
    new ApiError(413, `The body is larger than ${most} bytes.`, {
      code: 'request_too_large',
      headers: { connection: 'close' },
    })
  if (Number(request.headers.get('content-length') ?? 0) > most) throw tooLarge()
  const chunks: Uint8Array[] = []
  let size = 0
  const reader = request.body?.getReader()
  while (reader) {
    const { done, value } = await reader.read()
    if (done) break
    size += value.length
    if (size > most) throw tooLarge()
    chunks.push(value)
  }
  return Buffer.concat(chunks)
}
