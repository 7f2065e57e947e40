/** What the sinks of the audit log must be together: one that carries the durability, and names that tell them apart. */

import { parseRedisUrl, RedisUrlError } from '../redis/url.ts';
import type { Draft } from './checks.ts';
import { noDatabase } from './database-location.ts';
import { isSafeAddress } from './issuer-schema.ts';
import type { Report } from './report.ts';

export function checkSinks({ audit, database, redis }: Draft, report: Report): void {
  if (!audit) return;
  checkDurability(audit, report);
  checkKeyPlace({ audit, database }, report);
  const names = new Set<string>();
  const spills = new Set<string>();
  for (const [index, sink] of audit.sinks.entries()) {
    const path = ['audit', 'sinks', index];
    const name = sinkName(sink);
    if (names.has(name)) {
      const hint = 'Write name: with another name; it is the label in metrics.';
      report.value(path, `is the second sink with the name ${name}`, hint);
    }
    names.add(name);
    if (sink.type === 'file' || sink.type === 'stdout') continue;
    if (sink.spill !== undefined && spills.has(sink.spill.path))
      report.value([...path, 'spill', 'path'], 'is the folder of another sink', 'Give each its own.');
    spills.add(sink.spill?.path ?? '');
    if (sink.type === 'http') checkHttp(path, sink, report);
    else checkRedisStream(path, sink.url, redis, report);
  }
}

type Sinks = NonNullable<Draft['audit']>['sinks'];
type HttpSink = Extract<Sinks[number], { type: 'http' }>;

/** The sink's label in metrics. */
export function sinkName(sink: Sinks[number]): string {
  return ('name' in sink ? sink.name : undefined) ?? sink.type;
}

function checkDurability({ sinks }: { sinks: Sinks }, report: Report): void {
  const [first, second] = sinks.flatMap((sink, index) => (sink.type === 'file' ? [index] : []));
  if (second !== undefined) {
    const hint = 'Keep one file; copies go to stdout, redis_stream or http.';
    report.value(['audit', 'sinks', second], 'is a second file', hint);
  }
  if (first !== undefined || sinks.some(({ type }) => type === 'stdout')) return;
  const message =
    'has neither a file nor stdout: a record must be out of this process before a change is forwarded, and a receiver over the network may be away';
  report.value(['audit', 'sinks'], message, 'Add { type: file, path: audit.log } or { type: stdout }.');
}

/** What is generated must be kept: the next process has to sign with the same key, and whoever verifies needs it. */
function checkKeyPlace({ audit, database }: Pick<Draft, 'audit' | 'database'>, report: Report): void {
  if (audit === undefined || database === undefined || isEmbedded(database)) return;
  if (audit.sinks.some(({ type }) => type === 'file')) return;
  const why =
    'is not set, and there is neither an embedded database nor a log file to keep a generated one beside';
  if (audit.signing_key === undefined) {
    const hint = 'Name a file made by: openssl genpkey -algorithm ed25519';
    report.value(['audit', 'signing_key'], why, hint);
  }
  // With PostgreSQL `checkSharedSecrets` asks for it.
  if (database === noDatabase && audit.pseudonymize.length > 0 && audit.pseudonym_key === '') {
    const hint = 'Set AUDIT_PSEUDONYM_KEY, or write one made by: openssl rand -base64 48';
    report.value(['audit', 'pseudonym_key'], why, hint);
  }
}

function isEmbedded(database: string): boolean {
  return database !== noDatabase && !/^postgres(?:ql)?:/i.test(database);
}

function checkRedisStream(
  path: ReadonlyArray<string | number>,
  url: string,
  defaultUrl: string | undefined,
  report: Report,
): void {
  if (url === '') {
    if (defaultUrl !== '') return;
    report.value(
      path,
      'names no Redis, and rate_limits.redis is empty',
      'Write url: redis://…, or set REDIS_URL.',
    );
    return;
  }
  try {
    parseRedisUrl(url);
  } catch (error) {
    if (!(error instanceof RedisUrlError)) throw error;
    report.value([...path, 'url'], error.fault, error.hint);
  }
}

function checkHttp(path: ReadonlyArray<string | number>, sink: HttpSink, report: Report): void {
  const { url, token, token_file, tls, allow_http } = sink;
  if (token !== '' && token_file !== undefined)
    report.value([...path, 'token_file'], 'stands beside token', 'Write one of the two.');
  if ((tls.cert === undefined) !== (tls.key === undefined))
    report.value([...path, 'tls'], 'has one of cert and key, which belong together', 'Write both.');
  if (allow_http || isSafeAddress(url)) return;
  const hint = 'Write https, or allow_http: true where nobody can stand in between.';
  report.value([...path, 'url'], 'is plain http, over which anyone in between reads the log', hint);
}
