/** All external issuers. The unverified `iss` picks the one that verifies, and decides nothing else. */
import type { Clock } from '../clock.ts';
import type { IssuerConfig } from '../config/issuer-schema.ts';
import { type FileWatch, watchFiles } from '../config/watch.ts';
import { issuerStartWaitMs } from '../limits.ts';
import { type Held, SharedByUse } from '../shared-by-use.ts';
import { readCompactJwt, requireCompactForm } from './compact-jwt.ts';
import type { Credential, CredentialVerifier, ReadCredential } from './credential.ts';
import { Issuer, type IssuerSettings } from './issuer.ts';
import { type FetchReport, IssuerKeys, within } from './issuer-keys.ts';
import { addressSource, discoverySource, fileSource, type KeySource } from './key-fetch.ts';

export interface IssuersDeps {
  readonly issuers: readonly IssuerConfig[];
  readonly clock: Clock;
  /** Told of every fetch of an issuer's keys, by its configured name. */
  readonly onFetch: (name: string, report: FetchReport) => void;
  /** Keys that another configuration has fetched from the same place go on here, and the other way round. */
  readonly shared?: SharedKeys;
}

/** The keys of one place, and what follows them. */
interface FollowedKeys {
  readonly keys: IssuerKeys;
  readonly watch: FileWatch | undefined;
}

export type SharedKeys = SharedByUse<FollowedKeys>;

export function sharedKeys(): SharedKeys {
  return new SharedByUse(({ keys, watch }) => {
    keys.close();
    watch?.close();
  });
}

export interface Issuers {
  /** Takes the tokens of the configured issuers and leaves the rest to `inner`. @param prefix of API keys */
  before(inner: CredentialVerifier, prefix: string): CredentialVerifier;
  close(): Promise<void>;
}

/**
 * Starts to fetch the keys of all issuers and waits for them, though not for long: an issuer that is away must not
 * keep the gateway from starting. Its tokens are refused until its keys are there.
 * @returns also the names of those whose keys are not there yet
 */
export async function openIssuers({
  issuers,
  clock,
  onFetch,
  shared = sharedKeys(),
}: IssuersDeps): Promise<[Issuers, readonly string[]]> {
  const opened = issuers.map((config) =>
    open(config, clock, shared, (report) => onFetch(config.name, report)),
  );
  const unknown = opened.filter(({ keys }) => !keys.known);
  await within(issuerStartWaitMs, Promise.all(unknown.map(({ keys }) => keys.refresh())));
  const byIssuer = new Map(opened.map(({ config, issuer }) => [config.issuer, issuer]));
  const missing = opened.filter(({ keys }) => !keys.known).map(({ config }) => config.name);
  const before = (inner: CredentialVerifier, prefix: string) =>
    byIssuer.size === 0 ? inner : new IssuerVerifier(byIssuer, inner, prefix);
  const close = async () => {
    await Promise.all(opened.map(({ held }) => held.release()));
  };
  return [{ before, close }, missing];
}

interface Opened {
  readonly config: IssuerConfig;
  readonly issuer: Issuer;
  readonly keys: IssuerKeys;
  readonly held: Held<FollowedKeys>;
}

function open(
  config: IssuerConfig,
  clock: Clock,
  shared: SharedKeys,
  onFetch: (report: FetchReport) => void,
): Opened {
  // What its tokens may do is no matter of its keys.
  const { permissions, audience, algorithms, typ, leeway, ...place } = config;
  const held = shared.hold(place, () => followKeys(config, clock, onFetch));
  const { keys } = held.thing;
  return { config, issuer: new Issuer(settingsOf(config), keys, clock), keys, held };
}

function followKeys(
  config: IssuerConfig,
  clock: Clock,
  onFetch: (report: FetchReport) => void,
): FollowedKeys {
  const keys = new IssuerKeys({ source: sourceOf(config), refreshMs: config.refresh, clock, onFetch });
  const { jwks_file: file } = config;
  const watch = file === undefined ? undefined : watchFiles([file], () => void keys.refresh());
  return { keys, watch };
}

/** Claims that are words by their standards (RFC 8693 §4.2, and what came before it). */
const wordClaims = new Set(['scope', 'scp']);

function settingsOf({
  name,
  issuer,
  audience,
  algorithms,
  typ,
  leeway,
  permissions,
}: IssuerConfig): IssuerSettings {
  const claims = permissions.claims.map(({ claim, values, separator }) => ({
    claim,
    values: new Map(values),
    isWords: separator === 'space' || wordClaims.has(claim.at(-1) ?? ''),
  }));
  return {
    name,
    issuer,
    audiences: audience,
    algorithms,
    types: new Set(typ),
    leewayMs: leeway,
    permissions: { grant: permissions.grant, claims },
  };
}

/** The configuration was checked: exactly one of the three is there. */
function sourceOf({ issuer, jwks_uri, jwks_file, ca_file, token_file, allow_http }: IssuerConfig): KeySource {
  if (jwks_file !== undefined) return fileSource(jwks_file);
  const transport = { caFile: ca_file, tokenFile: token_file, allowHttp: allow_http };
  return jwks_uri === undefined ? discoverySource(issuer, transport) : addressSource(jwks_uri, transport);
}

class IssuerVerifier implements CredentialVerifier {
  readonly #byIssuer: ReadonlyMap<unknown, Issuer>;
  readonly #inner: CredentialVerifier;
  readonly #prefix: string;

  constructor(byIssuer: ReadonlyMap<unknown, Issuer>, inner: CredentialVerifier, prefix: string) {
    this.#byIssuer = byIssuer;
    this.#inner = inner;
    this.#prefix = prefix;
  }

  read(credential: Credential): ReadCredential {
    const { authType, text } = credential;
    if (authType === 'ApiKey' || text.startsWith(this.#prefix)) return this.#inner.read(credential);
    requireCompactForm(text);
    return {
      credentialId: undefined,
      verify: async () => {
        const jwt = readCompactJwt(text);
        const issuer = this.#byIssuer.get(jwt.payload.iss);
        return issuer === undefined ? this.#inner.read(credential).verify() : issuer.verify(credential, jwt);
      },
    };
  }
}
