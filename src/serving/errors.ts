/** @file Errors as OpenAI's interface tells them: a status, and a body `{ error: { message, type, param, code } }`. */

/** What an {@link ApiError} says beside its message. */
export interface ApiErrorDetails {
  /** `invalid_request_error` unless the status is 429 or 5xx. */
  type?: string
  /** The field of the request that is wrong. */
  param?: string | null
  code?: string | null
  headers?: Readonly<Record<string, string>>
}

/** A request that is answered with an error. */
export class ApiError extends Error {
  override readonly name = 'ApiError'
  readonly status: number
  readonly type: string
  readonly param: string | null
  readonly code: string | null
  readonly headers: Readonly<Record<string, string>>

  constructor(status: number, message: string, { type, param, code, headers }: ApiErrorDetails = {}) {
    super(message)
    this.status = status
    this.type = type ?? typeOf(status)
    this.param = param ?? null
    this.code = code ?? null
    this.headers = headers ?? {}
  }

  /** The body that OpenAI's clients read. */
  get body() {
    const { message, type, param, code } = this
    return { error: { message, type, param, code } }
  }
}

/** A request whose content is wrong. */
export function badRequest(message: string, param?: string, code?: string): ApiError {
  return new ApiError(400, message, { param, code })
}

/** Any error as one that can be told; what is not an {@link ApiError} is a failure of the server. */
export function toApiError(error: unknown): ApiError {
  if (error instanceof ApiError) return error
  return new ApiError(500, error instanceof Error ? error.message : String(error), { code: 'internal_error' })
}

function typeOf(status: number): string {
  if (status === 429) return 'requests'
  return status >= 500 ? 'server_error' : 'invalid_request_error'
}
