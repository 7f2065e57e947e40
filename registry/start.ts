/** Puts the registry together: database, server, address. */
import type { Logger } from 'pino';
import { DatabaseOpenError } from '../src/sql/postgres.ts';
import { DatabaseUrlError } from '../src/sql/url.ts';
import { AssertionCheck, type AssertionSettings } from './assertion.ts';
import { Catalogue } from './catalogue.ts';
import { GatewayKeys, type KeySource } from './gateway-keys.ts';
import { listen, parseAddress, refuseNonLoopback, StartError } from './listen.ts';
import { closeServer, createRegistryServer } from './server.ts';

export interface RegistryOptions {
  /** `sqlite:./data/registry.db`, `postgres://user:password@host:5432/database` and the like. */
  readonly databaseUrl: string;
  /** `127.0.0.1:8081`, `[::1]:8081`, `localhost:8081` or `unix:/path`; port 0 is any free port. */
  readonly listen: string;
  /** Whoever runs this has said that something else keeps strangers away. */
  readonly allowNonLoopback: boolean;
  readonly log: Logger;
  /** Milliseconds since the Unix epoch. */
  readonly wallMs: () => number;
  /** Who is believed to be the gateway, and where its keys come from; `off` lets in whoever gets here. */
  readonly assertions: (AssertionSettings & { readonly source: KeySource }) | 'off';
}

export interface Registry {
  /** `http://127.0.0.1:8081` or `unix:/path`. */
  readonly url: string;
  /** Stops accepting, lets what is in flight finish, closes the database. */
  close(): Promise<void>;
}

/**
 * Starts a registry; it serves when the promise is kept.
 * @throws StartError with a sentence for whoever started it; nothing stays open then
 */
export async function startRegistry(options: RegistryOptions): Promise<Registry> {
  // Before the database is touched: a wrong address should leave nothing behind.
  const address = parseAddress(options.listen);
  refuseNonLoopback(address, options.allowNonLoopback);
  const catalogue = await openCatalogue(options);
  const { keys, check } = openAssertions(options);
  const server = createRegistryServer(catalogue, check, options.log);
  const close = async () => {
    keys?.close();
    await closeServer(server);
    await catalogue.close();
  };
  try {
    const url = await listen(server, address);
    return { url, close };
  } catch (error) {
    keys?.close();
    await catalogue.close();
    throw error;
  }
}

/** The first keys are on their way when this returns. */
function openAssertions({ assertions, wallMs, log }: RegistryOptions) {
  if (assertions === 'off') {
    log.warn('REGISTRY_JWKS is off: whoever reaches this address is served as whom it says it is');
    return { keys: undefined, check: undefined };
  }
  const { issuer, audience, source } = assertions;
  const keys = new GatewayKeys(source, log);
  void keys.refresh();
  return { keys, check: new AssertionCheck({ issuer, audience, keys, wallMs, log }) };
}

async function openCatalogue({ databaseUrl, wallMs, log }: RegistryOptions): Promise<Catalogue> {
  const onError = (err: unknown) => log.warn({ err }, 'a connection to the database was lost');
  try {
    return await Catalogue.open({ url: databaseUrl, wallMs, onError });
  } catch (error) {
    throw databaseError(error, databaseUrl);
  }
}

function databaseError(error: unknown, url: string): StartError {
  if (error instanceof DatabaseUrlError) {
    return new StartError(`REGISTRY_DATABASE_URL ${error.fault}. ${error.hint}`, { cause: error });
  }
  if (error instanceof DatabaseOpenError) {
    return new StartError(`REGISTRY_DATABASE_URL: ${error.message}.`, { cause: error });
  }
  // A URL of PostgreSQL has a password in it.
  const shown = url.startsWith('sqlite:') ? ` ${url}` : '';
  const reason = error instanceof Error ? rootCause(error).message : String(error);
  return new StartError(
    `The registry cannot open its database${shown} (${reason}): set REGISTRY_DATABASE_URL to a file this user may ` +
      'read and write, such as sqlite:./data/registry.db.',
    { cause: error },
  );
}

function rootCause(error: Error): Error {
  return error.cause instanceof Error ? rootCause(error.cause) : error;
}
