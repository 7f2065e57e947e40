/** `auth.issuers`: whose tokens are believed, where their keys come from, and what their claims allow. */
import { z } from 'zod';
import { typeName } from '../credentials/issuer.ts';
import { publicKeyAlgorithms } from '../credentials/jws.ts';
import { isLoopback } from '../credentials/key-fetch.ts';
import { permissions } from '../exchange.ts';
import { claimStepsMax } from '../limits.ts';
import { filePath, name, oneOf, section, text } from './forms.ts';
import { duration, flag } from './units.ts';

const audienceRule = 'an audience such as tool-registry, or a list of up to 16';
const audience = text(audienceRule, 256);

const algorithmsRule = 'a list of algorithms such as [RS256, ES256]';

const typRule = 'a list of up to 8 types such as [absent, JWT, at+jwt]';

const addressRule = 'an https URL without credentials or fragment (or http on this machine)';
const address = z.string({ error: addressRule }).refine(isAddress, { error: addressRule });

/** Whether it is https is judged in `issuer-checks.ts`, beside `allow_http`. */
function isAddress(given: string): boolean {
  if (!/^https?:\/\/[\x21-\x7e]+$/.test(given) || !URL.canParse(given)) return false;
  const { username, password, hash } = new URL(given);
  return username === '' && password === '' && hash === '';
}

/** Whether a URL is one that keys may come from. */
export function isSafeAddress(url: string): boolean {
  return URL.canParse(url) && (url.startsWith('https:') || isLoopback(new URL(url).hostname));
}

const claimRule =
  'a path such as realm_access.roles, or, where a name has dots or slashes in it, a list such as ["https://example.com/roles"]';
const claim = z
  .union(
    [
      // `kubernetes.io` is the one name with a dot that everybody meets.
      z.string().regex(/^(?!kubernetes\.io)[A-Za-z0-9_:-]+(?:\.[A-Za-z0-9_:-]+)*$/, { error: claimRule }),
      z.array(z.string().min(1).max(256)).min(1).max(claimStepsMax),
    ],
    { error: claimRule },
  )
  .transform((given) => (typeof given === 'string' ? given.split('.') : given));

const wordsRule = `one or a list of ${permissions.join(', ')}`;
const words = z
  .union([z.enum(permissions), z.array(z.enum(permissions)).min(1).max(permissions.length)], {
    error: wordsRule,
  })
  .transform((given) => [given].flat());

const valuesRule = 'a map from values of the claim to permissions, such as tools-admin: admin';
const claimPermissions = section({
  claim,
  /** Value → permissions. Without it the words create, read, update and delete mean themselves. */
  values: z
    .record(z.string().min(1).max(256), words, { error: valuesRule })
    .default({ create: ['create'], read: ['read'], update: ['update'], delete: ['delete'] })
    .transform((values) => Object.entries(values)),
  /** `space`: a string is words with spaces between them. So it is for `scope` and `scp` without being said. */
  separator: z.literal('space', { error: 'space, or nothing' }).optional(),
});

const grantWords = ['create', 'read', 'update', 'delete'] as const;
const grantRule = 'a list of create, read, update and delete; admin is never for everyone of an issuer';

const issuer = section({
  /** Starts the subjects of its tokens, and is its label in metrics. */
  name,
  /** To the letter as `iss` has it. */
  issuer: text('the issuer as its tokens have it in iss, such as https://login.example.com', 512),
  audience: z
    .union([audience, z.array(audience).min(1).max(16)], { error: audienceRule })
    .transform((given) => [given].flat()),
  algorithms: z
    .array(oneOf(publicKeyAlgorithms), { error: algorithmsRule })
    .min(1, { error: algorithmsRule })
    .default(['RS256', 'ES256', 'EdDSA']),
  /** `absent` is a token without `typ`, as Kubernetes makes them. */
  typ: z
    .array(text(typRule, 64), { error: typRule })
    .min(1, { error: typRule })
    .max(8, { error: typRule })
    .default(['absent', 'JWT', 'at+jwt'])
    .transform((types) => types.map(typeName)),
  /** Exactly one of these three. */
  jwks_uri: address.optional(),
  jwks_file: filePath('jwks.json').optional(),
  discovery: flag.default(false),
  /** Authorities to believe instead of the system's, in PEM. */
  ca_file: filePath('ca.crt').optional(),
  /** Holds a bearer token to send to the key endpoint. */
  token_file: filePath('/var/run/secrets/kubernetes.io/serviceaccount/token').optional(),
  /** Keys over plain http from another machine. */
  allow_http: flag.default(false),
  /** How often the keys are fetched. */
  refresh: duration(10_000, 86_400_000).default(300_000),
  /** How far its clock may be from ours. */
  leeway: duration(0, 30_000).default(30_000),
  permissions: section({
    /** For everyone it vouches for. */
    grant: z.array(z.enum(grantWords, { error: grantRule }), { error: grantRule }).default([]),
    claims: z
      .array(claimPermissions, { error: 'a list such as [{ claim: scope }]' })
      .max(32, { error: 'a list of at most 32 claims' })
      .default([]),
  }).prefault({}),
});

export const issuers = z
  .array(issuer, { error: 'a list of issuers' })
  .max(32, { error: 'a list of at most 32 issuers' })
  .default([]);

/** One issuer, parsed. */
export type IssuerConfig = z.output<typeof issuer>;
