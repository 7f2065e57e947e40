/**
 * The bounds of requests and stores that are not the operator's to set, with their units in their names. What
 * operators set is in gateway.yaml; a bound that concerns one parser or one timer alone stands beside it.
 */

/** Head of a request to the operations port. */
export const operationsHeaderBytesMax = 16_384;

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
/** Classes of at least this capacity take units ahead from Redis; smaller ones ask for every request. */
export const leaseCapacityMin = 1_000;
/** Requests for one bucket that wait for one answer of Redis. */
export const leaseWaitersMax = 1_024;
/** What Redis said of an empty bucket is believed for at most so long, in case somebody has filled it by hand. */
export const emptyBelievedMs = 60_000;
/**
 * How long a request of a worker waits for the process that counts for all of them. Nobody else could decide, so that
 * a busy machine is better waited for.
 */
export const bucketOwnerDeadlineMs = 1_000;
/** Worker processes of one gateway. */
export const workersMax = 32;
/** From its fork to its listening. */
export const workerStartMsMax = 120_000;
/** Before a worker that has died is started again: doubled each time, from the one to the other. */
export const workerRestartMinMs = 100;
export const workerRestartMaxMs = 30_000;
/** One that has lived for so long has not died of its start. */
export const workerSettledMs = 60_000;
/** How long the primary waits for a worker's metrics or keys, and for what a reload has to open. */
export const workerAnswerMs = 2_000;
export const workerPrepareMs = 10_000;
/** Over its own drain, after which a worker that has not ended is killed. */
export const workerEndMs = 15_000;

/** Credentials remembered as having verified, so that a flood from their address cannot shut them out. */
export const knownCredentialsMax = 10_000;

/** Verified credentials kept, in characters: a token may be as long as `tokenCharsMax`. */
export const cachedCredentialCharsMax = 32 * 1024 * 1024;

/** Subjects revoked between two looks at the database; of more than these, all are forgotten. */
export const revocationsAtOnceMax = 1_000;
/** How often the database is looked at for what is revoked: one on this machine, one that is asked over the network. */
export const revocationPollEmbeddedMs = 250;
export const revocationPollMs = 1_000;
/** However often somebody says that there is news, it is looked at no more often than this. */
export const hintIntervalMs = 100;

/** A body of so many bytes at most is written along with its head. */
export const oneWriteBytesMax = 16 * 1024;

/** The audit file's buffer. What does not fit is counted as dropped. */
export const auditBufferBytesMax = 4 * 1024 * 1024;
/** A read's record is written within this time. */
export const auditFlushMs = 250;
/** Or as soon as so much waits: each write wakes another thread. */
export const auditBatchBytes = 64 * 1024;
/** One field of an audit record; and the whole record, for which the longest fields are cut to `auditCutCharsMax`. */
export const auditFieldCharsMax = 2_048;
export const auditRecordBytesMax = 16 * 1024;
export const auditCutCharsMax = 384;
/** A record is signed for within this time, or as soon as so many are not. */
export const auditCheckpointMs = 1_000;
export const auditUnsignedRecordsMax = 1_000;
/** What one process reads of others' lines at a time, to vouch for them. */
export const auditTailBytesMax = 1024 * 1024;
/**
 * Beside others that write to the same audit file: what of theirs is read at one look, and for how long, and in how many
 * files at most, it is looked at a file that was rotated away, into which one of them may just be writing.
 */
export const auditLookBytesMax = 32 * 1024 * 1024;
export const auditLeftMs = 3_000;
export const auditLeftFilesMax = 64;
/**
 * Whoever opens the file looks back so far from its last line, for what killed processes have left there: one that lived
 * has signed for it itself by then, or others have.
 */
export const auditLookBackMs = 10_000;
/** After a rotation that failed, so long the file goes on as it is. */
export const auditRotateRetryMs = 60_000;

/** What waits to be written to an outlet's folder, and one file of it. */
export const spillPendingBytesMax = 4 * 1024 * 1024;
export const spillSegmentBytes = 1024 * 1024;
/** Between failed deliveries to an outlet: doubled each time, from the one to the other, and so long at most however the receiver asks. */
export const outletRetryMinMs = 250;
export const outletRetryMaxMs = 30_000;
export const outletRetryAfterMsMax = 300_000;
/** Records in one delivery. */
export const outletBatchLinesMax = 5_000;
/** A delivery under way for so long means that the receiver is not up. */
export const outletStallMs = 15_000;
/** How long an ending process tries to deliver what its outlets still hold. */
export const outletCloseMs = 2_000;
/** Dropped records are told of in a record this often at most. */
export const droppedTellMs = 60_000;
/** The log's index is brought up to date this often, and for so long at a time. */
export const auditIndexIntervalMs = 2_000;
export const auditIndexSliceMs = 100;
/** One page of the log: records, bytes, and the time it may take; a page that hits a bound goes on at its cursor. */
export const auditPageLinesDefault = 100;
export const auditPageLinesMax = 1_000;
export const auditPageBytesMax = 4 * 1024 * 1024;
export const auditPageBudgetMs = 800;
/** The reading thread ends when nobody has asked for so long, and is started this often to bring the index up to date. */
export const auditReaderIdleMs = 60_000;
export const auditIndexLookMs = 300_000;
/** Questions to the reading thread that wait, and how long the oldest may. */
export const auditReaderQuestionsMax = 64;
export const auditReaderTimeoutMs = 10_000;
/** A stream looks for new records this often, takes so many at a time, and asks whether its reader still may. */
export const auditStreamPollMs = 250;
export const auditStreamLines = 500;
export const auditStreamBytes = 256 * 1024;
export const auditStreamBudgetMs = 200;
export const auditStreamRecheckMs = 5_000;
/** A comment that tells both sides that the other is there. */
export const auditStreamHeartbeatMs = 15_000;
/** A standard output that takes nothing for so long counts as dead. */
export const stdoutStallMs = 2_000;

export const pageSizeDefault = 20;
export const pageSizeMax = 100;

/** Nesting of a JWT's header and payload; ours are flat, a cluster's are three deep. */
export const tokenDepthMax = 16;
/** How far ahead of our clock another clock's `iat` or `nbf` may be (RFC 8725 asks for a few minutes at most). */
export const tokenLeewaySeconds = 30;

/** Sessions kept of one user or key; the oldest go first. */
export const sessionsPerSubjectMax = 1_000;
/** Sessions whose last refresh was not answered because the database went away. */
export const unansweredSessionsMax = 10_000;
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
/** Keys in one statement that writes it: with SQLite some two milliseconds of the event loop. */
export const keyUseBatchRows = 100;
/** What writing it may take of the time, where there is more than one batch to write; and the rest between two at most. */
export const keyUseWriteShare = 0.01;
export const keyUseRestMsMax = 1_000;
/** Keys whose use is not written yet. */
export const keyUsesNotedMax = 200_000;
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
/** Silence both ways that ends a WebSocket of a route that does not set `stream_idle`. */
export const websocketIdleMs = 300_000;
/** How often an open WebSocket's credential is verified again. */
export const websocketProofMs = 3_000;
/** Request body of a route that does not set `max_body`. */
export const routeBodyBytesDefault = 1024 * 1024;
/** Wrong fields that one answer names, and how much of a name it repeats. */
export const fieldErrorsMax = 32;
export const fieldNameCharsMax = 128;
/** Connections over the bound that are told so, at once; more are closed as they come. */
export const turnedAwayMax = 64;
/**
 * Bytes of bodies that a connection may send before their turn. What is more stays in the kernel, and its client is not
 * seen to leave meanwhile; all that can wait would be half a megabyte for each client.
 */
export const waitingBytesMax = 16 * 1024;
/** How often it is looked for clients that are too slow, or past their time. */
export const paceIntervalMs = 1_000;

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

/** How long `explain` may take to its decision: the database's own bounds are within it. */
export const explanationMsMax = 15_000;
