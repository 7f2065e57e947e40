/** Tells operators how the certificate of the traffic port fares: a metric each time, a line of log when it is new. */
import { type HandshakeFault, handshakeFaults } from '../tls/handshakes.ts';
import type { TlsReports as IdentityReports } from '../tls/server-identity.ts';
import type { Logger } from './log.ts';
import type { Metrics } from './metrics.ts';

export class TlsReports implements IdentityReports {
  readonly #metrics: Metrics;
  readonly #log: Logger;

  constructor(metrics: Metrics, log: Logger) {
    this.#metrics = metrics;
    this.#log = log;
    metrics.prepareTls(handshakeFaults);
  }

  taken(validUntilMs: number): void {
    this.#metrics.tlsCertificateTaken(Math.floor(validUntilMs / 1000));
    this.#log.info(
      { valid_until: new Date(validUntilMs).toISOString() },
      'certificate of the traffic port taken',
    );
  }

  refused(why: string): void {
    this.#metrics.tlsCertificateRefused();
    this.#log.error(
      `the files of listen.tls have changed and cannot be used, so the old certificate stays: ${why}`,
    );
  }

  handshakeFailed(fault: HandshakeFault): void {
    this.#metrics.tlsHandshakeFailed(fault);
  }
}
