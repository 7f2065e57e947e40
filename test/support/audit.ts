/** Audit logs for tests: a key, and what a log says of itself. */
import { generateKeyPairSync } from 'node:crypto';
import { type SigningKey, signingKeyOf } from '../../src/audit/signing.ts';
import { type Verdict, Verifier } from '../../src/audit/verify.ts';
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
