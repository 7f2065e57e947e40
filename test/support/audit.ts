/** Audit logs for tests: a key, and what a log says of itself. */
import { generateKeyPairSync } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { auditJsonSchema } from '../../src/audit/schema.ts';
import { type SigningKey, signingKeyOf } from '../../src/audit/signing.ts';
import type { Verdict } from '../../src/audit/verdict.ts';
import { Verifier } from '../../src/audit/verify.ts';
import { verifyFiles } from '../../src/audit/verify-files.ts';

export function newSigningKey(): SigningKey {
  const { privateKey } = generateKeyPairSync('ed25519');
  return signingKeyOf(privateKey.export({ format: 'pem', type: 'pkcs8' }).toString());
}

export const signingKey = newSigningKey();

/** What `audit verify` says of the files. */
export function verdictOf(
  files: readonly string[],
  key: SigningKey = signingKey,
  head?: ConstructorParameters<typeof Verifier>[1],
): Verdict {
  const verifier = new Verifier([key], head);
  verifyFiles(files, verifier, () => undefined);
  return verifier.finish();
}

const fits = new Ajv2020({ strict: false }).compile(auditJsonSchema());

/** What keeps a line from being one of the published schema; `undefined` when it is. */
export function schemaFault(line: string): string | undefined {
  return fits(JSON.parse(line)) ? undefined : `${line}: ${JSON.stringify(fits.errors)}`;
}

/** The whole lines of a file, but for the empty ones between the batches of several processes. */
export function linesOf(path: string): string[] {
  return readFileSync(path, 'utf8').split('\n').slice(0, -1).filter(Boolean);
}
