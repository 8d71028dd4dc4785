/** @file What to do about an error of the disk. */

const ADVICE: readonly [codes: readonly string[], advice: string][] = [
  [
    ['ENOSPC', 'EDQUOT', 'EFBIG'],
    'The disk is full, or a limit on space or on the size of files is reached: free some space (saveTotalLimit keeps ' +
      'fewer checkpoints).',
  ],
  [['EACCES', 'EPERM', 'EROFS'], 'The folder cannot be written: allow it, or mount it for writing.'],
  [['ENOENT', 'ENOTDIR'], 'The folder was removed or moved during the training: put it back.'],
  [['EIO'], 'The disk reports an error of its own: look at its state before anything else.'],
  [['EMFILE', 'ENFILE'], 'Too many files are open: raise the limit (ulimit -n).'],
]

/** Advice on an error, by the code of the system call in it or in its causes; '' where there is none. */
export function diskAdvice(error: unknown): string {
  for (let at = error; at instanceof Error; at = at.cause) {
    const { code } = at as NodeJS.ErrnoException
    const found = ADVICE.find(([codes]) => code !== undefined && codes.includes(code))
    if (found) return found[1]
  }
  return ''
}
