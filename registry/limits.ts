/** Every bound of the registry, with its unit in its name. */

/** Request line and headers together (node:http's `maxHeaderSize`). */
export const headerBytesMax = 16_384;
export const headerCountMax = 100;
export const connectionsMax = 1_024;
/** From a connection's first byte to the end of the headers, and to the end of the body. */
export const headersTimeoutMs = 10_000;
export const requestTimeoutMs = 30_000;
/** Well over a gateway's own idle timeout, so that it never sends into a socket that is being closed here. */
export const keepAliveTimeoutMs = 65_000;
/** After SIGTERM, what is in flight may take this long. */
export const shutdownGraceMs = 10_000;

export const bodyBytesMax = 256 * 1024;
/**
 * A body over the limit is read on (and thrown away) up to here before it is refused: a client that is still
 * sending when the socket closes would see a reset instead of the 413.
 */
export const bodyDrainBytesMax = 1024 * 1024;

/** Serialized as JSON, in UTF-8. */
export const schemaBytesMax = 64 * 1024;
/** Objects and arrays inside one another, in any one field of a tool. */
export const nestingDepthMax = 32;

/** The MCP specification's bound (2025-11-25, server/tools, "Tool Names"). */
export const nameCharsMax = 128;
export const titleCharsMax = 256;
export const descriptionCharsMax = 16_384;
export const versionCharsMax = 64;
export const urlCharsMax = 2_048;
export const tagCharsMax = 64;
export const tagsMax = 32;
export const subjectCharsMax = 1_024;

export const pageSizeDefault = 20;
export const pageSizeMax = 100;
/** Keeps `page * page_size` an exact integer, in JavaScript and in SQL. */
export const pageMax = 1_000_000_000;

export const queryCharsMax = 200;
export const queryWordsMax = 16;

/** Wrong fields named in one answer, and how much of a field's name is repeated. */
export const fieldErrorsMax = 20;
export const fieldCharsMax = 256;

/** Each time a change loses a race, another one has won: this many writers at once can be served. */
export const changeAttemptsMax = 100;

/**
 * How long a statement waits for another process's write lock. The engine runs in this process's only thread,
 * so that waiting stops every other request too.
 */
export const lockTimeoutMs = 500;

/** What a caller is told while the store cannot be used. */
export const retryAfterSeconds = 1;

/** An assertion of the gateway: over the longest it makes, and the life of one. */
export const assertionCharsMax = 8_192;
export const assertionLifetimeSeconds = 30;
/** How far its clock may be from ours. */
export const clockToleranceSeconds = 5;
/** The gateway's JWK Set. */
export const jwksBytesMax = 256 * 1024;
export const keysMax = 100;
export const keyFetchTimeoutMs = 5_000;
/** Between two fetches that succeed; between failed ones, doubled each time, from the one to the other. */
export const keyRefreshMs = 300_000;
export const keyRetryMinMs = 250;
export const keyRetryMaxMs = 30_000;
/** Assertions with unknown `kid`s cause at most one fetch in this time, however many they are. */
export const keyCooldownMs = 30_000;
/** How long such a request waits for that fetch, and how many may. */
export const keyWaitMs = 2_000;
export const keyWaitersMax = 64;
