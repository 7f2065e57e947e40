/** What of the audit log can be read over HTTP, as a configuration has it. */
import type { Config } from '../../config/schema.ts';
import type { CredentialVerifier } from '../../credentials/credential.ts';
import { auditEndpoints } from '../../endpoints/audit.ts';
import type { Endpoint } from '../../endpoints/endpoint.ts';
import { isStillPermitted } from '../../phases/authenticate.ts';
import type { AuditLog } from '../log.ts';
import { LogReader } from './reader.ts';

/** `undefined` where nobody could ask: without a file, or without the admin endpoints. It reads nothing before its start. */
export function readerOf({ audit, endpoints }: Config): LogReader | undefined {
  const file = audit.sinks.find((sink) => sink.type === 'file');
  return file === undefined || !endpoints.identity ? undefined : new LogReader(file.path);
}

export function readingEndpoints(parts: {
  readonly config: Config;
  readonly reader: LogReader | undefined;
  readonly audit: Pick<AuditLog, 'flush'>;
  readonly replica: string;
  readonly verifier: CredentialVerifier;
  readonly isDraining: () => boolean;
}): readonly Endpoint[] {
  const { config, reader, audit, replica, verifier, isDraining } = parts;
  if (reader === undefined) return [];
  return auditEndpoints({
    reader,
    replica,
    readersMax: config.audit.readers.max,
    flush: () => audit.flush(),
    isDraining,
    isStillAdmin: (exchange) => isStillPermitted(verifier, exchange, 'admin'),
  });
}
