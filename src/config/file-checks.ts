/** Looks into the files that the configuration names, so that a bad one is told with its place, before any start. */
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { AuditKeyError, signingKeyOf } from '../audit/signing.ts';
import { systemClock } from '../clock.ts';
import { KeyPemError, readKeyPem } from '../credentials/key-pem.ts';
import { KeySetError, parseKeySet } from '../credentials/key-set.ts';
import { BodySchemaError, compileBodySchema } from '../inspection/body-schema.ts';
import { judgeCertificate, type TlsFile, TlsFileError, whyNotValid } from '../tls/certificate-files.ts';
import type { Draft } from './checks.ts';
import type { Path } from './problem.ts';
import type { Report } from './report.ts';
import type { TlsConfig } from './tls-schema.ts';
import { whyUnreadable } from './variables.ts';

/** Throws what `node:fs` throws. */
type ReadFile = (path: string) => string;

/** @param warnings takes what can be used and yet wants doing something about */
export function checkFiles(draft: Draft, report: Report, warnings: Report, readFile: ReadFile): void {
  if (draft.listen?.tls) checkTlsFiles(draft.listen.tls, report, warnings, readFile);
  checkSinkFiles(draft, report, readFile);
  withFile(['audit', 'signing_key'], draft.audit?.signing_key, report, readFile, checkSigningKey);
  checkBodySchemas(draft, report, readFile);
  if (draft.auth) checkAuthFiles(draft.auth, report, readFile);
}

function checkBodySchemas({ routes }: Draft, report: Report, readFile: ReadFile): void {
  for (const [index, route] of routes.entries()) {
    withFile(['routes', index, 'schema'], route?.schema, report, readFile, (text) => {
      try {
        compileBodySchema(text);
        return undefined;
      } catch (error) {
        if (!(error instanceof BodySchemaError)) throw error;
        return [error.message, 'Write the path of a JSON Schema (draft 2020-12).'];
      }
    });
  }
}

function checkAuthFiles(auth: NonNullable<Draft['auth']>, report: Report, readFile: ReadFile): void {
  for (const [index, { file }] of auth.tokens.keys.entries()) {
    checkKey(['auth', 'tokens', 'keys', index, 'file'], file, index === 0, report, readFile);
  }
  for (const [index, { ca_file, token_file, jwks_file }] of auth.issuers.entries()) {
    const path = ['auth', 'issuers', index];
    withFile([...path, 'ca_file'], ca_file, report, readFile, checkAuthorities);
    withFile([...path, 'token_file'], token_file, report, readFile, checkToken);
    withFile([...path, 'jwks_file'], jwks_file, report, readFile, checkKeySet);
  }
}

function checkTlsFiles(tls: TlsConfig, report: Report, warnings: Report, readFile: ReadFile): void {
  const read = (key: TlsFile, file: string) => {
    let text: string | undefined;
    withFile(['listen', 'tls', key], file, report, readFile, (found) => {
      text = found;
      return undefined;
    });
    return text;
  };
  const { cert, key, client_ca } = tls;
  const pem = { cert: read('cert', cert), key: read('key', key) };
  const clientCa = client_ca === undefined ? undefined : read('client_ca', client_ca);
  if (pem.cert === undefined || pem.key === undefined) return;
  try {
    const judged = judgeCertificate({ cert: pem.cert, key: pem.key, clientCa }, tls);
    const why = whyNotValid(judged, systemClock.wallMs());
    if (why !== undefined) warnings.value(['listen', 'tls', 'cert'], why, 'Clients refuse it: renew it.');
  } catch (error) {
    if (!(error instanceof TlsFileError)) throw error;
    report.value(['listen', 'tls', error.file], error.message, error.hint);
  }
}

function checkSinkFiles({ audit }: Draft, report: Report, readFile: ReadFile): void {
  for (const [index, sink] of (audit?.sinks ?? []).entries()) {
    if (sink.type !== 'http') continue;
    const path = ['audit', 'sinks', index];
    withFile([...path, 'token_file'], sink.token_file, report, readFile, checkToken);
    withFile([...path, 'tls', 'ca'], sink.tls.ca, report, readFile, checkAuthorities);
    withFile([...path, 'tls', 'cert'], sink.tls.cert, report, readFile, checkAuthorities);
    withFile([...path, 'tls', 'key'], sink.tls.key, report, readFile, checkPrivateKey);
  }
}

function checkPrivateKey(text: string): Fault {
  try {
    createPrivateKey(text);
    return undefined;
  } catch {
    return ['holds no private key', 'Write the path of a file with one private key in PEM, not encrypted.'];
  }
}

function checkKey(path: Path, file: string, signs: boolean, report: Report, readFile: ReadFile): void {
  withFile(path, file, report, readFile, (text) => {
    try {
      if (readKeyPem(text).signWith !== undefined || !signs) return undefined;
      return ['is only a public key, and the first of the list signs', 'Put a private key first.'];
    } catch (error) {
      if (error instanceof KeyPemError) return [error.message, error.hint];
      throw error;
    }
  });
}

type Fault = readonly [message: string, hint: string] | undefined;

function withFile(
  path: Path,
  file: string | undefined,
  report: Report,
  readFile: ReadFile,
  check: (text: string) => Fault,
): void {
  if (file === undefined) return;
  let text: string;
  try {
    text = readFile(file);
  } catch (error) {
    report.value(path, `cannot be read: ${whyUnreadable(error)}`, 'Mount the file, or write its path.');
    return;
  }
  const fault = check(text);
  if (fault !== undefined) report.value(path, ...fault);
}

function checkAuthorities(text: string): Fault {
  const certificates = text.match(/-----BEGIN CERTIFICATE-----[\s\S]*?-----END CERTIFICATE-----/g) ?? [];
  const hint = 'Write the path of a file with the PEM of one or more certificates.';
  if (certificates.length === 0) return ['holds no certificate', hint];
  return certificates.every(isCertificate) ? undefined : ['holds a certificate that is damaged', hint];
}

function isCertificate(pem: string): boolean {
  try {
    return new X509Certificate(pem).raw.length > 0;
  } catch {
    return false;
  }
}

function checkToken(text: string): Fault {
  return /^[\x21-\x7e]+$/.test(text.trim())
    ? undefined
    : ['holds no token', 'Write the path of a file with one token and nothing else.'];
}

function checkSigningKey(text: string): Fault {
  try {
    signingKeyOf(text);
    return undefined;
  } catch (error) {
    if (!(error instanceof AuditKeyError)) throw error;
    return [error.message, 'Make one with: openssl genpkey -algorithm ed25519 -out audit.pem'];
  }
}

function checkKeySet(text: string): Fault {
  try {
    parseKeySet(text);
    return undefined;
  } catch (error) {
    if (error instanceof KeySetError) return [error.message, 'Write the path of a JWK Set (RFC 7517).'];
    throw error;
  }
}
