/** Where users and keys are: a database, or none where only the tokens of other issuers are verified. */
import { type DatabaseLocation, parseDatabaseUrl } from '../sql/url.ts';
import type { Draft } from './checks.ts';
import type { Report } from './report.ts';

/** `database: none`. */
export const noDatabase = 'none';

/**
 * Without one, an empty database in this process's memory: nobody can be put into it, so that every API key is unknown.
 * @throws DatabaseUrlError
 */
export function databaseLocation(database: string): DatabaseLocation {
  return database === noDatabase ? { kind: 'sqlite', path: ':memory:' } : parseDatabaseUrl(database);
}

/** What leans on a database cannot be had without one. */
export function checkNoDatabase({ database, endpoints, auth, routes }: Draft, report: Report): void {
  if (database !== noDatabase) return;
  if (endpoints?.identity === true) {
    const message = 'is on, and with database: none there are no users and keys';
    report.value(['endpoints', 'identity'], message, 'Write false, or name a database.');
  }
  if (auth?.issuers.length === 0) {
    const message = 'is empty, and with database: none nobody else can vouch for a caller';
    report.value(['auth', 'issuers'], message, 'Name an issuer, or a database.');
  }
  for (const [index, route] of routes.entries()) {
    if (!route?.assertion) continue;
    const message = 'asks for a signature, whose keys are shared through the database, and there is none';
    report.value(['routes', index, 'assertion'], message, 'Write false, or name a database.');
  }
}
