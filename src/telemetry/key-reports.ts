/** Tells operators how the keys of tokens fare: a metric each time, a line of log when something is new. */
import type { Clock } from '../clock.ts';
import { type FetchReport, fetchResults } from '../credentials/issuer-keys.ts';
import type { Logger } from './log.ts';
import type { Metrics } from './metrics.ts';

export class KeyReports {
  readonly #metrics: Metrics;
  readonly #log: Logger;
  readonly #clock: Clock;
  /** What was last said of each issuer: an outage of a day is not a line every minute. */
  readonly #said = new Map<string, string>();
  readonly #prepared = new Set<string>();

  constructor(metrics: Metrics, log: Logger, clock: Clock) {
    this.#metrics = metrics;
    this.#log = log;
    this.#clock = clock;
    metrics.tokenKeysReread(true);
  }

  /** Those that are known already keep what was told of them: their keys go on. */
  prepare(issuers: readonly string[]): void {
    for (const issuer of issuers.filter((name) => !this.#prepared.has(name))) {
      this.#prepared.add(issuer);
      this.#metrics.prepareIssuer(issuer, fetchResults);
    }
  }

  missingAtStart(issuers: readonly string[]): void {
    for (const issuer of issuers) {
      this.#log.error(
        { issuer },
        'started without the keys of this issuer: its tokens are refused until they are there',
      );
    }
  }

  fetched(issuer: string, { result, message, keys, leftOut }: FetchReport): void {
    const isOk = result === 'ok';
    this.#metrics.issuerFetched(
      issuer,
      result,
      keys,
      isOk ? Math.floor(this.#clock.wallMs() / 1000) : undefined,
    );
    const now = JSON.stringify([result, message, isOk && keys, leftOut]);
    if (this.#said.get(issuer) === now) return;
    this.#said.set(issuer, now);
    if (!isOk)
      this.#log.error({ issuer, result, keys }, `the keys of this issuer were not taken: ${message}`);
    else if (leftOut.length > 0)
      this.#log.warn({ issuer, keys, left_out: leftOut }, 'keys taken, but not all of them');
    else this.#log.info({ issuer, keys }, 'keys of this issuer taken');
  }

  /** @param error why the old keys stay; undefined when the new ones were taken */
  tokenKeys(error: Error | undefined): void {
    this.#metrics.tokenKeysReread(error === undefined);
    if (error === undefined) this.#log.info('the keys of our own tokens were read anew');
    else
      this.#log.error(
        `the keys of our own tokens have changed and cannot be used, so the old ones stay: ${error.message}`,
      );
  }
}
