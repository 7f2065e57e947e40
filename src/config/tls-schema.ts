/** `listen.tls`: what the traffic port proves itself with, and `auth.certificates`: whom a client's certificate makes. */
import { z } from 'zod';
import { permissions } from '../exchange.ts';
import { filePath, name, oneOf, section } from './forms.ts';
import { duration } from './units.ts';

/** TLS on the traffic port. Without it the port speaks plain HTTP. */
export const tls = section({
  /** PEM: the certificate, then those that lead from it to an authority that clients know. */
  cert: filePath('/run/tls/tls.crt'),
  /** PEM, not encrypted. */
  key: filePath('/run/tls/tls.key'),
  /** PEM of the authorities whose client certificates are believed. */
  client_ca: filePath('/run/tls/ca.crt').optional(),
  /** `required`, as it is where `client_ca` stands alone: no connection without one. `optional`: one that is sent is checked. */
  client_certificates: oneOf(['optional', 'required']).optional(),
  min_version: oneOf(['1.2', '1.3']).default('1.2'),
  /** From the connection to the end of the handshake. */
  handshake_timeout: duration(100, 120_000).default(10_000),
}).transform(({ client_certificates, ...given }) => ({
  ...given,
  client_certificates:
    client_certificates ?? (given.client_ca === undefined ? ('none' as const) : ('required' as const)),
}));

const wordsRule = `one or a list of ${permissions.join(', ')}`;
const words = z
  .union([z.enum(permissions), z.array(z.enum(permissions)).min(1).max(permissions.length)], {
    error: wordsRule,
  })
  .transform((given) => [given].flat());

const sanRule =
  'a SPIFFE ID or other URI such as spiffe://example.org/ci, or a DNS name such as ci.example.org';
const san = z
  .string({ error: sanRule })
  .max(2_048, { error: sanRule })
  .regex(/^(?:[a-z][a-z0-9+.-]*:\/\/[\x21\x23-\x2b\x2d-\x7e]+|[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?)$/, {
    error: sanRule,
  });

const grantWords = ['create', 'read', 'update', 'delete'] as const;
const grantRule = 'a list of create, read, update and delete; admin is never for every certificate';
const namesRule =
  'a map from names in certificates to permissions, such as spiffe://example.org/ci: [create]';

/** Whom the certificate of a client stands for, where the request carries no other credential. */
export const certificates = section({
  /** Starts the subjects: `<name>:<URI or DNS name>`. */
  name,
  permissions: section({
    /** For everyone who has a certificate of `listen.tls.client_ca`. */
    grant: z.array(z.enum(grantWords, { error: grantRule }), { error: grantRule }).default([]),
    /** By the subject alternative name, to the letter. */
    names: z
      .record(san, words, { error: namesRule })
      .default({})
      .transform((names) => Object.entries(names)),
  }).prefault({}),
});

export type TlsConfig = z.output<typeof tls>;
export type CertificatesConfig = z.output<typeof certificates>;
