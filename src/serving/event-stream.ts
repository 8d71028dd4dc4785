/** @file Server-sent events, as OpenAI's clients read them. */
import { toApiError } from './errors.ts'

/**
 * A response that sends objects as they come, and `[DONE]` after the last. An error on the way is sent as OpenAI sends
 * it, and ends the stream without `[DONE]`.
 *
 * @param onLeave called when whoever reads goes away
 */
export function eventStream(chunks: AsyncGenerator<object, void>, onLeave: () => void): ReadableStream<Uint8Array> {
  const encoder = new TextEncoder()
  const encode = (data: string) => encoder.encode(`data: ${data}\n\n`)
  return new ReadableStream({
    async pull(controller) {
      try {
        const { done, value } = await chunks.next()
        controller.enqueue(encode(done ? '[DONE]' : JSON.stringify(value)))
        if (done) controller.close()
      } catch (error) {
        controller.enqueue(encode(JSON.stringify(toApiError(error).body)))
        controller.close()
      }
    },
    cancel: onLeave,
  })
}
