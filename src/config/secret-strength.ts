/** Which secrets cannot be one: too short, published, or made without chance. Says why, never what. */

const secretBytesMin = 32;
const distinctCharsMin = 8;
const periodCharsMax = 16;

/** Published in guides and templates: whoever runs with one of them runs without a secret. */
const publishedWords =
  /your[-_ ].*(?:secret|key)|(?:change|replace)[-_ ]?(?:this|me|it)|secret[-_ ]at[-_ ]least|insecure|example|placeholder|default[-_ ]?(?:secret|key)/i;
const published: ReadonlySet<string> = new Set([
  // The first API key of the guide this gateway grew from.
  'mcp_-tn1XqqtdGub5NAzzn_qSoLrvJv9gmMwB0y-kfLDsak',
  // FastAPI's tutorial on tokens.
  '09d25e094faa6ca2556c818166b7a9563b93f7099f6f0f4caa6cf63b88e8d3e7',
]);

/** What is wrong with a secret, without a word of it; `undefined` when nothing is. */
export function secretFault(secret: string): string | undefined {
  if (published.has(secret) || publishedWords.test(secret))
    return 'is a published default that anyone can try';
  if (Buffer.byteLength(secret) < secretBytesMin) return `is shorter than ${secretBytesMin} bytes`;
  if (repeats(secret) || new Set(secret).size < distinctCharsMin) return 'repeats itself and can be guessed';
  return undefined;
}

/** `aaaa…`, `secretsecret…`, `1234567890123…` */
function repeats(secret: string): boolean {
  for (let period = 1; period <= Math.min(periodCharsMax, secret.length / 2); period++) {
    if (secret.slice(period) === secret.slice(0, -period)) return true;
  }
  return false;
}
