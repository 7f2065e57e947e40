/** Opens what `listen.tls` says, with a sentence for whoever starts the program with files that cannot be used. */
import type { Clock } from '../clock.ts';
import type { Config } from '../config/schema.ts';
import type { DownstreamTls } from '../downstream.ts';
import { StartError } from '../start-error.ts';
import type { Logger } from '../telemetry/log.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import { TlsReports } from '../telemetry/tls-reports.ts';
import { ServerIdentity, TlsIdentityError } from './server-identity.ts';

/**
 * A certificate that has expired is served and complained of: a gateway that does not start helps nobody.
 * @throws StartError
 */
export function openTls(
  { listen }: Config,
  { clock, metrics, log }: { clock: Clock; metrics: Metrics; log: Logger },
): DownstreamTls | undefined {
  if (listen.tls === undefined) return undefined;
  const reports = new TlsReports(metrics, log);
  try {
    const identity = new ServerIdentity(listen.tls, clock, reports);
    const why = identity.notValid();
    if (why !== undefined) log.error(`${listen.tls.cert} ${why}: clients will refuse it`);
    return { identity, handshakeFailed: (fault) => reports.handshakeFailed(fault) };
  } catch (error) {
    if (!(error instanceof TlsIdentityError)) throw error;
    throw new StartError(`listen.tls cannot be used: ${error.message}`, { cause: error });
  }
}
