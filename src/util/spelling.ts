/** @file Names as programs spell them, and as files do. */

/** `lora_alpha` for `loraAlpha`. */
export function snakeCase(name: string): string {
  return name.replace(/[A-Z]/g, letter => `_${letter.toLowerCase()}`)
}

/** `loraAlpha` for `lora_alpha`. */
export function camelCase(name: string): string {
  return name.replace(/_([a-z0-9])/g, (_, letter: string) => letter.toUpperCase())
}
