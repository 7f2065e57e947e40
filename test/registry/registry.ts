/** Real registries for the tests: in this process over a real socket, or as a program of its own. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { request as httpRequest } from 'node:http';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Kysely } from 'kysely';
import { pino } from 'pino';
import { startRegistry } from '../../registry/start.ts';
import { openPostgres, servingBounds } from '../../src/sql/postgres.ts';
import { openSqlite } from '../../src/sql/sqlite.ts';
import { parseDatabaseUrl } from '../../src/sql/url.ts';
import { assertionSigner } from '../support/assertion-signer.ts';

interface Test {
  teardown(callback: () => unknown): void;
}

export interface Reply {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
  // biome-ignore lint/suspicious/noExplicitAny: a test states what it expects by comparing
  readonly json: any;
}

export interface TestRegistry {
  readonly url: string;
  readonly databaseUrl: string;
  /** What the registry wrote to its log, line by line. */
  readonly log: readonly string[];
  send(method: string, path: string, body?: unknown, headers?: Record<string, string>): Promise<Reply>;
  /** Registers a tool and gives it back. */
  // biome-ignore lint/suspicious/noExplicitAny: as above
  add(tool: object): Promise<any>;
  close(): Promise<void>;
}

/** A directory that is gone after the test. */
export function temporaryDirectory(t: Test): string {
  const directory = mkdtempSync(join(tmpdir(), 'registry-'));
  t.teardown(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

/** The least a tool must have. */
export const plainTool = (name: string) => ({ name, inputSchema: { type: 'object' } });

let newDatabase: (t: Test) => string | Promise<string> = (t) =>
  `sqlite:${join(temporaryDirectory(t), 'registry.db')}`;

/** From here on each registry has a database that `make` gives the URL of. */
export function useDatabases(make: () => Promise<string>): void {
  newDatabase = make;
}

/** A registry's tables past the registry; closed with the test. */
export function tablesOf(t: Test, { databaseUrl }: TestRegistry): Kysely<unknown> {
  const location = parseDatabaseUrl(databaseUrl);
  const options = { applicationName: 'test', onError: () => undefined };
  const tables =
    location.kind === 'sqlite'
      ? openSqlite<unknown>(location.path)
      : openPostgres<unknown>(location, options, servingBounds);
  t.teardown(() => tables.destroy());
  return tables;
}

/** A registry on a free port, with a database of its own, at a time that the test may set. */
export async function testRegistry(
  t: Test,
  wallMs: () => number = Date.now,
  assertions: 'on' | 'off' = 'on',
): Promise<TestRegistry> {
  const databaseUrl = await newDatabase(t);
  const log: string[] = [];
  const registry = await startRegistry({
    databaseUrl,
    listen: '127.0.0.1:0',
    allowNonLoopback: false,
    log: pino({ level: 'info' }, { write: (line: string) => log.push(line) }),
    wallMs,
    assertions: assertions === 'off' ? 'off' : trustedGateway,
  });
  let closing: Promise<void> | undefined;
  const close = () => {
    closing ??= registry.close();
    return closing;
  };
  t.teardown(close);
  const send = sender(registry.url, assertions === 'off' ? 'unsigned' : wallMs);
  const add = async (tool: object) => {
    const reply = await send('POST', '/tools', tool);
    if (reply.status !== 201) throw new Error(`not registered: ${reply.text}`);
    return reply.json;
  };
  return { url: registry.url, databaseUrl, log, send, add, close };
}

/** Whom the registries of these tests take for the gateway. */
export const gateway = assertionSigner();
export const trustedGateway = {
  issuer: 'portcullis',
  audience: 'registry',
  source: async () => gateway.jwks,
};

/** What the gateway would add to a request; `x-auth-subject` says whose. */
export function asserted(
  method: string,
  target: string,
  headers: Record<string, string>,
  nowMs = Date.now(),
) {
  const subject = decodeURIComponent(headers['x-auth-subject'] ?? '');
  return { 'x-auth-assertion': gateway.assertion({ method, target, subject, nowMs }), ...headers };
}

/** Sends a request as the gateway does, at its time; a body that is no text and no bytes goes as JSON. */
export function sender(url: string, wallMs: (() => number) | 'unsigned' = Date.now): TestRegistry['send'] {
  return async (method, path, body, headers = {}) => {
    const isRaw = body === undefined || typeof body === 'string' || body instanceof Uint8Array;
    const response = await fetch(`${url}${path}`, {
      method,
      headers: {
        ...(body !== undefined && { 'content-type': 'application/json' }),
        ...(wallMs === 'unsigned' ? headers : asserted(method, targetOf(path), headers, wallMs())),
      },
      ...(body !== undefined && {
        body: isRaw ? (body as string | Uint8Array<ArrayBuffer>) : JSON.stringify(body),
      }),
    });
    const text = await response.text();
    return {
      status: response.status,
      headers: response.headers,
      text,
      json: text.startsWith('{') ? JSON.parse(text) : undefined,
    };
  };
}

/** As `fetch` sends it, which escapes what a URL may not hold. */
function targetOf(path: string): string {
  const { pathname, search } = new URL(`http://registry${path}`);
  return pathname + search;
}

/** One request over a Unix socket; gives the status. */
export async function statusOverSocket(socketPath: string, path: string): Promise<number | undefined> {
  const request = httpRequest({ socketPath, path, agent: false }).end();
  const [response] = await once(request, 'response');
  response.resume();
  return response.statusCode;
}

/** Sends bytes as they are and gives all that comes back. */
export async function sendBytes(url: string, bytes: string): Promise<string> {
  const { hostname, port } = new URL(url);
  const socket = connect(Number(port), hostname);
  let received = '';
  socket.setEncoding('utf8').on('data', (chunk) => {
    received += chunk;
  });
  socket.on('error', () => undefined);
  socket.write(bytes);
  await once(socket, 'close');
  return received;
}

/** The environment of a registry that may listen on any free port and takes this file's gateway for its own. */
export function settings(directory: string, more: Record<string, string> = {}): Record<string, string> {
  const jwksFile = join(directory, 'jwks.json');
  writeFileSync(jwksFile, gateway.jwks);
  return {
    REGISTRY_DATABASE_URL: `sqlite:${directory}/data/registry.db`,
    REGISTRY_LISTEN: '127.0.0.1:0',
    REGISTRY_JWKS: jwksFile,
    ...more,
  };
}

const program = join(import.meta.dirname, '../../registry/main.ts');

export interface Program {
  readonly child: ChildProcess;
  /** What it has written to standard error so far. */
  stderr(): string;
  /** Keeps its promise once the log names the URL. */
  listening(): Promise<string>;
  /** The exit code. */
  ended(): Promise<number | null>;
}

/** Runs `node registry/main.ts`; it is killed after the test if it still runs. */
export function runRegistry(
  t: Test,
  environment: Record<string, string>,
  command: readonly [string, ...string[]] = [process.execPath, program],
): Program {
  const [file, ...args] = command;
  const child = spawn(file, args, {
    env: { PATH: process.env.PATH ?? '', ...environment },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let stderr = '';
  child.stderr?.on('data', (chunk) => {
    stderr += chunk;
  });
  const closed = once(child, 'close');
  t.teardown(() => child.kill('SIGKILL'));
  const listening = async () => {
    for (;;) {
      const url = /"url":"(?<url>[^"]+)"/.exec(stderr)?.groups?.url;
      if (url !== undefined) return url;
      if (child.exitCode !== null) throw new Error(`it ended: ${stderr}`);
      await Promise.race([once(child.stderr ?? child, 'data'), closed]);
    }
  };
  const ended = async () => {
    await closed;
    return child.exitCode;
  };
  return { child, stderr: () => stderr, listening, ended };
}

export { program };
