/** @file Elements: made, filled and found. */

/**
 * Makes an element. Properties that begin with `on` are listeners, `data-` and `aria-` are attributes.
 *
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Record<string, unknown>} [properties] undefined ones are left out
 * @param {...(Node | string)} children
 * @returns {HTMLElementTagNameMap[Tag]}
 */
export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag)
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === false) continue
    if (typeof value === 'function') made.addEventListener(name.slice(2), /** @type {EventListener} */ (value))
    else if (value === true) made.setAttribute(name, '')
    else made.setAttribute(name, String(value))
  }
  made.append(...children)
  return made
}

/**
 * The element of an id.
 *
 * @param {string} id
 * @returns {HTMLElement}
 */
export function byId(id) {
  const found = document.getElementById(id)
  if (!found) throw new Error(`The page has no element "${id}"`)
  return found
}

/**
 * The field of an id.
 *
 * @param {string} id
 */
export const inputById = id => /** @type {HTMLInputElement} */ (byId(id))

/**
 * Writes a text where it is another than before, so that nothing is announced twice.
 *
 * @param {HTMLElement} target
 * @param {string} text
 */
export function setText(target, text) {
  if (target.textContent !== text) target.textContent = text
}
