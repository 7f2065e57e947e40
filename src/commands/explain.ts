/** `portcullis explain`: what would become of a request, step by step, without making it. */
import { buildGateway } from '../assemble.ts';
import { readerOf, readingEndpoints } from '../audit/reading/open.ts';
import { MemoryBuckets } from '../bucket/memory.ts';
import { systemClock } from '../clock.ts';
import { noDatabase } from '../config/database-location.ts';
import { loadConfig } from '../config/load.ts';
import type { Config } from '../config/schema.ts';
import { type Issuers, openIssuers } from '../credentials/issuers.ts';
import { KnownCredentials } from '../credentials/known.ts';
import { VerifiedCredentials } from '../credentials/verified.ts';
import { downstreamBounds } from '../downstream-bounds.ts';
import { type Asked, type ExplainedBucket, type Explanation, explainRequest } from '../explanation.ts';
import type { Gateway } from '../gateway.ts';
import { normalizeAddress } from '../http/client-address.ts';
import { openIdentity } from '../identity/store.ts';
import { openLog } from '../telemetry/log.ts';
import { Metrics } from '../telemetry/metrics.ts';
import { openTunnels } from '../upgrade.ts';
import { openUpstreams, sharedUpstreams } from '../upstreams.ts';
import { secretOf } from './secret.ts';
import { CommandError, type OutputOptions, show, type Terminal } from './terminal.ts';
import { requireDatabase } from './with-identity.ts';

export interface ExplainOptions extends OutputOptions {
  readonly config: string;
  readonly key?: string;
  readonly token?: string;
  readonly keyStdin?: boolean;
  readonly tokenStdin?: boolean;
  readonly from: string;
}

/** @throws CommandError for what could not stand in a request, and what opening the database says */
export async function explain(
  terminal: Terminal,
  method: string,
  target: string,
  options: ExplainOptions,
): Promise<void> {
  const asked = await askedOf(terminal, method, target, options);
  const { config } = loadConfig({ path: options.config, env: terminal.env });
  if (config.database !== noDatabase) requireDatabase(config);
  const explanation = await withGateway(terminal, config, asked.token !== undefined, (gateway) =>
    explainRequest(gateway, downstreamBounds(config), asked),
  );
  const { from } = asked;
  show(terminal, options, { method, target, from, ...explanation }, [
    `${method} ${target} from ${from}`,
    ...linesOf(explanation),
  ]);
}

async function askedOf(
  terminal: Terminal,
  method: string,
  target: string,
  options: ExplainOptions,
): Promise<Asked> {
  const from = normalizeAddress(options.from);
  if (from === undefined)
    throw new CommandError('--from: write an IP address such as 192.0.2.1 or 2001:db8::1');
  requireOneWord('METHOD', method);
  requireOneWord('TARGET', target);
  const [key, token] = await credentialsOf(terminal, options);
  return { method, target, from, key, token };
}

/** From standard input or the environment; an argument can be read by everyone on the machine. */
async function credentialsOf(
  terminal: Terminal,
  { key, token, keyStdin, tokenStdin }: ExplainOptions,
): Promise<[key: string | undefined, token: string | undefined]> {
  for (const [option, given] of [
    ['key', key],
    ['token', token],
  ] as const) {
    if (given === undefined) continue;
    terminal.complain(
      `portcullis: warning: --${option} shows the ${option} to everyone who lists processes, and to the shell's history; ` +
        `--${option}-stdin or EXPLAIN_${option.toUpperCase()} does not`,
    );
  }
  if (keyStdin === true && tokenStdin === true)
    throw new CommandError('standard input holds one secret: --key-stdin or --token-stdin, not both');
  const line = keyStdin === true || tokenStdin === true ? await terminal.readLine() : undefined;
  const found = [
    key ?? (keyStdin === true ? line : secretOf(terminal, 'EXPLAIN_KEY')),
    token ?? (tokenStdin === true ? line : secretOf(terminal, 'EXPLAIN_TOKEN')),
  ] as const;
  for (const text of found) {
    if (text !== undefined && /[^\x21-\x7e]/.test(text))
      throw new CommandError(
        'the credential has a character that no credential has: a space, or a line end?',
      );
  }
  return [...found];
}

/** What has a space or a line end in it would be another request, or several. */
function requireOneWord(what: string, word: string): void {
  if (word !== '' && !/[\s\p{Cc}]/u.test(word)) return;
  throw new CommandError(`${what}: must be one word; in a target, a space is written %20`);
}

/** A gateway that listens nowhere, on the database and the keys of the configuration; closed after the work. */
async function withGateway<T>(
  terminal: Terminal,
  config: Config,
  hasToken: boolean,
  work: (gateway: Gateway & { readonly buckets: MemoryBuckets }) => Promise<T>,
): Promise<T> {
  const opened = new AsyncDisposableStack();
  try {
    const log = openLog('error');
    const identity = await openIdentity({
      config,
      clock: systemClock,
      onError: (err) => log.warn({ err }, 'identity'),
      readsOnly: true,
    });
    opened.defer(() => identity.close());
    const issuers = await issuersOf(terminal, hasToken ? config.auth.issuers : []);
    opened.defer(() => issuers.close());
    const { version, nodeVersion } = terminal;
    const metrics = new Metrics({ version, nodeVersion });
    const upstreams = openUpstreams(unasking(config), sharedUpstreams(metrics), {
      clock: systemClock,
      metrics,
      log,
    });
    opened.defer(() => upstreams.close());
    const buckets = new MemoryBuckets(systemClock);
    const isDraining = () => false;
    const audit = { flush: async () => undefined };
    const gateway = buildGateway({
      config,
      clock: systemClock,
      identity,
      issuers,
      verified: new VerifiedCredentials({ clock: systemClock, entriesMax: 1, stalenessMaxMs: 1 }),
      recorder: unasked,
      tracing: undefined,
      buckets,
      failureBuckets: new MemoryBuckets(systemClock),
      known: new KnownCredentials(),
      upstreams: upstreams.byName,
      tunnels: openTunnels(config, () => undefined),
      tls: undefined,
      version,
      isDraining,
      auditEndpoints: (verifier) =>
        readingEndpoints({ config, reader: readerOf(config), audit, replica: '', verifier, isDraining }),
    });
    return await work({ ...gateway, buckets });
  } finally {
    await opened.disposeAsync();
  }
}

/** Their keys are fetched only where a token may need them. */
async function issuersOf(terminal: Terminal, issuers: Config['auth']['issuers']): Promise<Issuers> {
  const [open, missing] = await openIssuers({ issuers, clock: systemClock, onFetch: () => undefined });
  for (const name of missing)
    terminal.complain(`portcullis: warning: the keys of the issuer ${name} cannot be had from here`);
  return open;
}

/** Nobody is asked how it is. */
function unasking(config: Config): Config {
  const upstreams = Object.entries(config.upstreams).map(([name, upstream]) => [
    name,
    { ...upstream, health: undefined },
  ]);
  return { ...config, upstreams: Object.fromEntries(upstreams) };
}

/** `explainRequest` puts its own in this place. */
const unasked: Gateway['recorder'] = {
  begin: () => undefined,
  attempt: async () => undefined,
  opened: async () => undefined,
  complete: () => undefined,
  refusedByParser: () => undefined,
  fault: () => undefined,
};

/** A line a step, and the decision last. */
function linesOf(explanation: Explanation): string[] {
  const { route, principal, permission, bucket, destination, decision, status, code, reason, detail } =
    explanation;
  return [
    route && `route       ${route.path} (permission ${route.permission}, class ${route.class})`,
    principal && `principal   ${principalText(principal)}`,
    permission && `permission  ${permissionText(permission)}`,
    bucket && `bucket      ${bucketText(bucket)}`,
    bucket && `            ${countNote}`,
    destination &&
      `upstream    ${destination.kind === 'local' ? 'none: the gateway answers' : destination.name}`,
    code === null
      ? decision
      : `${decision}: ${status} ${code}${reason === null ? '' : ` (${reason})`}: ${detail ?? ''}`,
    code === 'malformed_body' ? bodyNote : null,
  ].filter((line) => line !== null);
}

/** What was taken from it already is in the memory of a running gateway, or in Redis, which is not asked. */
const countNote = '(a full one: what running gateways have counted is not looked up)';

/** The one refusal that only a request without a body meets with. */
const bodyNote = '(explained without a body: with one, what it says decides)';

function permissionText({ needed, granted }: NonNullable<Explanation['permission']>): string {
  if (needed === 'none') return 'none is needed';
  return `${needed === 'any' ? 'any caller' : needed}: ${granted ? 'granted' : 'not granted'}`;
}

function principalText({ kind, subject, owner, permissions }: NonNullable<Explanation['principal']>): string {
  if (kind === 'anonymous') return 'anonymous: the route is public, whatever credential is sent';
  const of = owner === undefined ? '' : ` of ${owner}`;
  return `${subject}${of}, may ${permissions.join(', ') || 'nothing'}`;
}

function bucketText({
  class: name,
  partition,
  key,
  cost,
  capacity,
  remaining,
  admitted,
}: ExplainedBucket): string {
  const left = admitted
    ? `${remaining} of ${capacity} left after it`
    : `only ${remaining} of ${capacity} left`;
  return `${name} by ${partition} (${key}): takes ${cost}, ${left}`;
}
