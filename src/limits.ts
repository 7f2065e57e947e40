/**
 * The bounds of requests and stores that are not the operator's to set, with their units in their names. What
 * operators set is in gateway.yaml; a bound that concerns one parser or one timer alone stands beside it.
 */

/** Head of a request: request line and headers together (node:http's `maxHeaderSize`). */
export const headerBytesMax = 16_384;
export const headerCountMax = 100;
export const targetCharsMax = 8_192;

/** Bodies of the gateway's own endpoints. */
export const endpointBodyBytesMax = 65_536;
/** What their JSON may hold. */
export const endpointJsonMax = { depth: 64, keys: 1_000, elements: 10_000, stringChars: 65_536 };

/** A JWT longer than this is refused unread (no RFC asks for such a bound; memory does). */
export const tokenCharsMax = 8_192;
/** Longer than any key of ours. */
export const apiKeyCharsMax = 256;

/** Argon2 hashes under way at once, and how many may wait for a turn. */
export const passwordHashesAtOnceMax = 2;
export const passwordHashesWaitingMax = 32;
export const passwordCharsMin = 12;
export const passwordCharsMax = 256;

/** Token buckets kept in memory; the least recently used one goes first. */
export const bucketsMax = 100_000;
/** Credentials remembered as having verified, so that a flood from their address cannot shut them out. */
export const knownCredentialsMax = 10_000;

/** The audit file's buffer. What does not fit is counted as dropped. */
export const auditBufferBytesMax = 4 * 1024 * 1024;
/** A read's record is on disk within this time. */
export const auditFlushMs = 250;
/** One field of an audit record. */
export const auditFieldCharsMax = 2_048;

export const pageSizeDefault = 20;
export const pageSizeMax = 100;

/** After SIGTERM, what is in flight may take this long. */
export const shutdownGraceMs = 10_000;

/** Nesting of a JWT's header and payload; ours are flat, a cluster's are three deep. */
export const tokenDepthMax = 16;
/** How far ahead of our clock another clock's `iat` or `nbf` may be (RFC 8725 asks for a few minutes at most). */
export const tokenLeewaySeconds = 30;

/** Sessions kept of one user or key; the oldest go first. */
export const sessionsPerSubjectMax = 1_000;
/** Usernames, and usernames with an address, whose failures are counted in memory. */
export const lockoutBucketsMax = 50_000;
/** Addresses that wait for their first try at a username under attack. */
export const waitingAddressesMax = 50_000;
/** Locks kept; those that end first go first. */
export const loginLocksMax = 10_000;
/** A lock longer ago than this no longer lengthens the next one. */
export const lockForgottenMs = 86_400_000;
/** An address that has waited may try for this long before it has to wait again. */
export const waitedMs = 15 * 60_000;
/** Addresses a user has logged in from: how many, and for how long. */
export const loginAddressesMax = 20;
export const loginAddressForgottenMs = 90 * 86_400_000;

/** How long a rotated key's old secret may go on working. */
export const rotationOverlapMsMax = 7 * 86_400_000;
/** A key that was not used for this long is listed as idle. */
export const keyIdleMs = 90 * 86_400_000;
/** `last_used_at` of a key is written at most this often. */
export const keyUseWriteIntervalMs = 60_000;
/** A connection to an upstream that has a name is made anew after this time, so that the name is looked up again. */
export const addressLookupMs = 60_000;
/** Addresses that one request tries to connect to. */
export const connectTriesMax = 3;
/** How long a refused connection stays open for its answer to be read. */
export const lingerMs = 500;
/** What an upstream may say about itself, and how long it may take and is believed. */
export const openapiBytesMax = 1024 * 1024;
export const openapiTimeoutMs = 2_000;
export const openapiFreshMs = 30_000;
/** Request body of a route that does not set `max_body`. */
export const routeBodyBytesDefault = 1024 * 1024;
/** Wrong fields that one answer names, and how much of a name it repeats. */
export const fieldErrorsMax = 32;
export const fieldNameCharsMax = 128;
/** Connections of clients at once; more are closed as they come. */
export const connectionsMax = 4_096;

/** Spans that wait for the tracing endpoint or are on their way to it; more are lost, and counted. */
export const spansWaitingMax = 4_096;
/** Spans of one export; encoding them holds up everything else for a millisecond or two. */
export const spanBatchMax = 128;
/** How long a span waits for others to go with. */
export const spanExportDelayMs = 1_000;
/** One export, retries included. */
export const spanExportTimeoutMs = 5_000;
/** At the end of the program, what waits has this long to go. */
export const spanFlushMs = 3_000;

/** RSA keys above this only make verification dear. */
export const rsaBitsMax = 8_192;
/** After something moved in a watched directory, so long is waited for the rest; and how often is looked in any case. */
export const fileSettleMs = 200;
export const filePollMs = 10_000;

/** A JWK Set of an external issuer, and its discovery document. */
export const jwksBytesMax = 256 * 1024;
export const jwksKeysMax = 100;
export const jwksDepthMax = 8;
/** One fetch of it, from the look-up of the name to the last byte. */
export const keyFetchTimeoutMs = 5_000;
/** Tokens with unknown `kid`s cause at most one fetch in this time, however many they are. */
export const keyFetchCooldownMs = 30_000;
/** Between failed fetches: doubled each time, from the one to the other. */
export const keyRetryMinMs = 1_000;
export const keyRetryMaxMs = 60_000;
/** How long a token with an unknown `kid` waits for that fetch, and how many may. */
export const keyWaitMs = 2_000;
export const keyWaitersMax = 64;
/** Keys of one `kid` (or, for a token without one, of its algorithm) that a signature is tried with. */
export const keyCandidatesMax = 4;
/** How long a start waits for the first keys of its issuers, all together. */
export const issuerStartWaitMs = 5_000;
/** `sub` of an external token (OpenID Connect Core §2 allows 255). */
export const externalSubjectCharsMax = 255;
/** A `jti` longer than this is hashed before it is written down. */
export const tokenIdCharsMax = 64;
/** A claim path's steps, and the values of one claim that are looked at. */
export const claimStepsMax = 16;

/** How long an assertion lives, and how long one may be used again for the same request. */
export const assertionLifetimeMs = 30_000;
export const assertionReuseMs = 10_000;
/** Assertions kept for that, by number and in characters with what they are found by. */
export const assertionsKeptMax = 10_000;
export const assertionsKeptCharsMax = 16 * 1024 * 1024;
/** A key of assertions signs for this long, is published so long before it signs and goes on being so long after. */
export const assertionKeySignsMs = 30 * 86_400_000;
export const assertionKeyAheadMs = 15 * 60_000;
export const assertionKeyAfterMs = 86_400_000;
/** How often the database is asked for keys that another gateway has made. */
export const assertionKeyPollMs = 60_000;
