/** Phase 2: who asks? A public route gets the anonymous principal whatever was sent; any other a verified one. */
import type { Failures } from '../bucket/failures.ts';
import type { ClientCertificates } from '../credentials/client-certificate.ts';
import type { Credential, CredentialVerifier } from '../credentials/credential.ts';
import type { KnownCredentials } from '../credentials/known.ts';
import type { VerifiedCredentials } from '../credentials/verified.ts';
import { Refusal } from '../errors.ts';
import { anonymous, type Exchange, type Permission, type Principal, type Route } from '../exchange.ts';

export interface Authentication {
  readonly verifier: CredentialVerifier;
  readonly verified: VerifiedCredentials;
  readonly failures: Failures;
  readonly known: KnownCredentials;
  /** Absent where certificates of clients stand for nobody. */
  readonly certificates: ClientCertificates | undefined;
}

/**
 * A credential that was seen before is looked up, which takes no promise.
 * @throws `ambiguous_credential`, `credential_missing`, `invalid_credential`, `too_many_failures`, `store_unavailable`
 */
export function authenticate(
  authentication: Authentication,
  exchange: Exchange,
  route: Route,
): Principal | Promise<Principal> {
  const credential = presentedCredential(exchange.request.rawHeaders);
  exchange.authType = credential?.authType ?? 'none';
  if (route.permission === 'none') return anonymous;
  if (credential === undefined) return certified(authentication.certificates, exchange);
  const principal = authentication.verified.find(credential);
  if (principal === undefined) return verify(authentication, exchange, credential);
  identify(exchange, principal);
  return principal;
}

async function verify(
  { verifier, verified, failures, known }: Authentication,
  exchange: Exchange,
  credential: Credential,
): Promise<Principal> {
  try {
    const read = verifier.read(credential);
    exchange.credentialId = read.credentialId;
    if (failures.isUsedUp(exchange.clientAddress) && !known.has(credential.text))
      failures.check(exchange.clientAddress);
    const principal = await verified.verify(credential, read);
    identify(exchange, principal);
    known.add(credential.text);
    return principal;
  } catch (error) {
    if (isCallersFault(error)) {
      failures.record(exchange.clientAddress);
      known.delete(credential.text);
    }
    throw error;
  }
}

/**
 * The principal of a request that goes on for long, once more; nothing that was remembered of it counts.
 * @throws `credential_missing`, `invalid_credential`, `store_unavailable`
 */
export async function authenticateAgain(
  { verifier, certificates }: Authentication,
  exchange: Exchange,
  route: Route,
): Promise<Principal> {
  if (route.permission === 'none') return anonymous;
  const credential = presentedCredential(exchange.request.rawHeaders);
  if (credential === undefined) {
    const principal = certified(certificates, exchange);
    certificates?.requireCurrent(exchange.request.socket);
    return principal;
  }
  const { principal } = await verifier.read(credential).verify();
  return principal;
}

/**
 * A credential in the head is the nearer word and decides alone: the certificate beside it is only the way it came,
 * as that of a proxy which passes on what its callers send, and makes nothing good that the head has wrong.
 */
function certified(certificates: ClientCertificates | undefined, exchange: Exchange): Principal {
  if (certificates?.isPresented(exchange.request.socket) !== true)
    throw new Refusal('credential_missing', { reason: 'missing' });
  exchange.authType = 'Certificate';
  const principal = certificates.principalOf(exchange.request.socket);
  identify(exchange, principal);
  return principal;
}

/**
 * Whether the credential of a request under way, verified when it came, still verifies and still carries `permission`.
 * A store that cannot be asked throws.
 */
export async function isStillPermitted(
  verifier: CredentialVerifier,
  exchange: Exchange,
  permission: Permission,
): Promise<boolean> {
  const credential = presentedCredential(exchange.request.rawHeaders);
  if (credential === undefined) return false;
  const { principal } = await verifier.read(credential).verify();
  return principal.permissions.has(permission);
}

/** A token whose issuer's keys are not there yet costs nothing, and may well be good. */
function isCallersFault(error: unknown): boolean {
  return (
    error instanceof Refusal && error.code === 'invalid_credential' && error.reason !== 'issuer_unavailable'
  );
}

function identify(exchange: Exchange, principal: Principal): void {
  exchange.principal = principal;
  exchange.credentialId =
    principal.keyId ?? principal.sessionId ?? principal.tokenId ?? exchange.credentialId;
}

/** The one credential of a request; on a public route too, two at once are refused, never chosen from. */
function presentedCredential(rawHeaders: readonly string[]): Credential | undefined {
  let found: Credential | undefined;
  for (let index = 0; index < rawHeaders.length; index += 2) {
    const credential = readHeader(rawHeaders[index] ?? '', rawHeaders[index + 1] ?? '');
    if (credential === undefined) continue;
    if (found !== undefined) throw new Refusal('ambiguous_credential');
    found = credential;
  }
  return found;
}

function readHeader(name: string, value: string): Credential | undefined {
  const lowerName = name.toLowerCase();
  if (lowerName === 'x-api-key') return { authType: 'ApiKey', text: value };
  if (lowerName !== 'authorization') return undefined;
  const bearer = /^bearer +(?<text>[^ ]+)$/i.exec(value)?.groups?.text;
  // Another scheme, or a malformed Bearer, is a credential that fails, not an absent one.
  return { authType: 'Bearer', text: bearer ?? '' };
}
