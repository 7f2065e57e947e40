/** The audit record: one JSON line, the origin guide's fields first and with its types. */
import type { WallMs } from '../clock.ts';
import { type Incident, incidents } from '../errors.ts';
import type { Exchange } from '../exchange.ts';
import { auditCutCharsMax, auditFieldCharsMax, auditRecordBytesMax } from '../limits.ts';
import type { Pseudonyms } from './pseudonyms.ts';

/**
 * `attempt` is on disk before anything is done; `open` says that an upgraded connection begins; `complete`, one for
 * each request, says how it ended.
 */
export const requestStages = ['attempt', 'open', 'complete'] as const;
export type Stage = (typeof requestStages)[number];

/** What every record of this process carries. */
export interface RecordContext {
  /** Which process wrote it. */
  readonly replica: string;
  /** Which configuration was in force. */
  readonly configDigest: string;
  /** What takes the place of personal data. */
  readonly pseudonyms: Pseudonyms;
}

/** What a record says; `null` where there is nothing to say. Times are seconds. */
export interface AuditRecord {
  readonly timestamp: number;
  readonly method: string;
  readonly path: string;
  readonly query_params: string;
  readonly client_ip: string;
  readonly user_agent: string | null;
  readonly status_code: number | null;
  readonly process_time: number;
  readonly auth_type: string;
  readonly content_length: string | null;
  readonly stage: Stage;
  readonly id: string;
  readonly request_id: string;
  readonly trace_id: string | null;
  readonly principal: string | null;
  readonly credential_id: string | null;
  readonly route: string | null;
  readonly decision: string | null;
  readonly code: string | null;
  readonly reason: string | null;
  /** `rule:action` of each rule that found something in the body; never what it found. */
  readonly findings: readonly string[] | null;
  readonly upstream_time: number | null;
  readonly bytes_out: number;
  /** What came through a WebSocket from the client. */
  readonly bytes_in: number | null;
}

/**
 * What is no request. `start` and `stop` of the process; `reload_accepted` (the detail is the digest of the
 * configuration before) and `reload_refused`; `redis_lost` and `redis_found`; `records_lost` (the detail is how many,
 * to a full buffer) and `sink_dropped` (the detail is which sink, and how many); and the incidents, each beside the request in which it was seen.
 */
export const auditEvents = [
  'start',
  'stop',
  'reload_accepted',
  'reload_refused',
  'redis_lost',
  'redis_found',
  'records_lost',
  'sink_dropped',
  ...incidents,
] as const;
export type AuditEvent = (typeof auditEvents)[number];

/** The record of what is no request. */
export interface EventRecord {
  readonly timestamp: number;
  readonly stage: 'event';
  readonly event: AuditEvent;
  readonly detail: string | null;
  readonly id: string;
  /** Of the request in which it was seen, as are the three below. */
  readonly request_id: string | null;
  readonly client_ip: string | null;
  readonly principal: string | null;
  readonly credential_id: string | null;
}

/** @param detail never a secret */
export function eventRecord(nowMs: WallMs, id: string, event: AuditEvent, detail?: string): EventRecord {
  return {
    timestamp: nowMs / 1000,
    stage: 'event',
    event,
    detail: optionalText(detail),
    id,
    request_id: null,
    client_ip: null,
    principal: null,
    credential_id: null,
  };
}

/** @param id of the record, not of the request */
export function incidentRecord(
  nowMs: WallMs,
  id: string,
  incident: Incident,
  exchange: Exchange,
): EventRecord {
  return {
    ...eventRecord(nowMs, id, incident),
    request_id: exchange.requestId,
    client_ip: exchange.clientAddress,
    principal: subjectOf(exchange),
    credential_id: exchange.credentialId ?? null,
  };
}

/** A record that says nothing but when it was, which, and by whom; for what is no HTTP request. */
export function bareRecord(nowMs: WallMs, id: string, clientIp: string): AuditRecord {
  return {
    timestamp: nowMs / 1000,
    method: '',
    path: '',
    query_params: '',
    client_ip: clientIp,
    user_agent: null,
    status_code: null,
    process_time: 0,
    auth_type: 'none',
    content_length: null,
    stage: 'complete',
    id,
    request_id: id,
    trace_id: null,
    principal: null,
    credential_id: null,
    route: null,
    decision: null,
    code: null,
    reason: null,
    findings: null,
    upstream_time: null,
    bytes_out: 0,
    bytes_in: null,
  };
}

/** The record of an exchange at a stage. @param processMs how long it has taken so far */
export function recordOf(exchange: Exchange, stage: Stage, processMs: number): AuditRecord {
  const { request, outcome } = exchange;
  const isDecided = stage !== 'attempt';
  return {
    timestamp: exchange.startedAt / 1000,
    method: request.method ?? '',
    path: text(exchange.path),
    query_params: text(maskQuery(exchange.query)),
    client_ip: exchange.clientAddress,
    user_agent: optionalText(request.headers['user-agent']),
    status_code: isDecided ? outcome.status : null,
    process_time: seconds(processMs),
    auth_type: exchange.authType,
    content_length: optionalText(request.headers['content-length']),
    stage,
    id: exchange.id,
    request_id: exchange.requestId,
    trace_id: exchange.trace.traceId,
    principal: subjectOf(exchange),
    credential_id: exchange.credentialId ?? null,
    route: exchange.route?.template ?? null,
    decision: isDecided ? outcome.decision : null,
    code: outcome.code ?? null,
    reason: outcome.reason ?? null,
    findings: exchange.findings?.map(({ rule, action }) => `${rule}:${action}`) ?? null,
    upstream_time: outcome.upstreamMs === undefined ? null : seconds(outcome.upstreamMs),
    bytes_out: outcome.bytesOut,
    bytes_in: outcome.bytesIn ?? null,
  };
}

function subjectOf({ identifiedSubject, principal }: Exchange): string | null {
  return identifiedSubject ?? (principal.subject === '' ? null : principal.subject);
}

/**
 * A record as a JSON object in one line, without its closing brace so that members can follow, and
 * `auditRecordBytesMax` bytes at most with what the chain adds. JSON escapes CR, LF and ESC, and lone surrogates; DEL,
 * the C1 controls and the Unicode line ends, which a terminal or a log viewer may still obey, are escaped here.
 */
export function serialize(record: AuditRecord | EventRecord, context: RecordContext): string {
  const told = context.pseudonyms.hide(record);
  const text = told.stage === 'event' ? oneLine(told, context) : lineOf(told, context);
  // Three bytes a character are the most that UTF-8 takes of UTF-16.
  if (text.length * 3 <= ownBytesMax || Buffer.byteLength(text) <= ownBytesMax) return text;
  return oneLine({ ...cut(told), cut: true }, context);
}

/** Less what the chain adds. */
const ownBytesMax = auditRecordBytesMax - 256;

function oneLine(record: object, { replica, configDigest }: RecordContext): string {
  return escaped({ ...record, replica, config_digest: configDigest }).slice(0, -1);
}

/** What `oneLine` would say, member by member: there is one for each request, and few of its texts need an escape. */
function lineOf(record: AuditRecord, context: RecordContext): string {
  return `{"timestamp":${record.timestamp},"method":"${inQuotes(record.method)}","path":"${inQuotes(record.path)}"\
,"query_params":"${inQuotes(record.query_params)}","client_ip":"${inQuotes(record.client_ip)}"\
,"user_agent":${quoted(record.user_agent)},"status_code":${record.status_code}\
,"process_time":${record.process_time},"auth_type":"${inQuotes(record.auth_type)}"\
,"content_length":${quoted(record.content_length)},"stage":"${record.stage}","id":"${record.id}"\
,"request_id":"${inQuotes(record.request_id)}","trace_id":${quoted(record.trace_id)}\
,"principal":${quoted(record.principal)},"credential_id":${quoted(record.credential_id)}\
,"route":${quoted(record.route)},"decision":${quoted(record.decision)},"code":${quoted(record.code)}\
,"reason":${quoted(record.reason)},"findings":${record.findings === null ? null : escaped(record.findings)}\
,"upstream_time":${record.upstream_time},"bytes_out":${record.bytes_out},"bytes_in":${record.bytes_in}\
${endOf(context)}`;
}

/** The members that stand last in every line, as long as the configuration is in force. */
const ends = new WeakMap<RecordContext, string>();

function endOf(context: RecordContext): string {
  const known = ends.get(context);
  if (known !== undefined) return known;
  const end = `,"replica":${quoted(context.replica)},"config_digest":${quoted(context.configDigest)}`;
  ends.set(context, end);
  return end;
}

/** What stands in JSON as it is. */
const plain = /^[ !#-[\]-~]*$/;

function quoted(value: string | null): string | null {
  return value === null ? null : `"${inQuotes(value)}"`;
}

function inQuotes(value: string): string {
  return plain.test(value) ? value : escaped(value).slice(1, -1);
}

function escaped(value: unknown): string {
  return JSON.stringify(value).replace(/[\x7f-\x9f\u2028\u2029]/g, escapeCharacter);
}

/** Every text that somebody else may have chosen, shortened: a character may take six bytes. */
function cut(record: AuditRecord | EventRecord): object {
  const entries = Object.entries(record).map(([name, value]) => [
    name,
    typeof value === 'string' ? value.slice(0, auditCutCharsMax) : value,
  ]);
  return Object.fromEntries(entries);
}

function escapeCharacter(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;
}

/** Microseconds are as fine as it gets. */
function seconds(ms: number): number {
  return Math.round(ms * 1000) / 1e6;
}

function optionalText(value: string | undefined): string | null {
  return value === undefined ? null : text(value);
}

/** Bounded, and without a credential that was put where none belongs. Masked first: half a key is no key to a mask. */
function text(value: string): string {
  return maskCredentials(value).slice(0, auditFieldCharsMax);
}

const secretParameter =
  /token|secret|passw|passphrase|^pass$|pwd|(?:api|access|private)[_-]?key|^key$|auth|signature|^sig$|^code$|credential|session|jwt|assertion/i;

/** Masks the values of secret-looking parameters; the rest of the query stays as it was sent. */
export function maskQuery(query: string): string {
  if (query === '') return query;
  return query.split('&').map(maskParameter).join('&');
}

/** Some servers split at `;` too, so a secret behind one counts; masked to the next `&`, since it may hold a `;`. */
function maskParameter(parameter: string): string {
  const pieces = parameter.split(';');
  const secretAt = pieces.findIndex((piece) => secretParameter.test(decoded(nameOf(piece) ?? '')));
  if (secretAt === -1) return parameter;
  return [...pieces.slice(0, secretAt), `${nameOf(pieces[secretAt] ?? '')}=***`].join(';');
}

function nameOf(piece: string): string | undefined {
  const mark = piece.indexOf('=');
  return mark === -1 ? undefined : piece.slice(0, mark);
}

/** Byte by byte, so that one bad escape in a name does not hide the others. */
function decoded(name: string): string {
  return name.replace(/%([0-9a-f]{2})/gi, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
}

/** Both patterns below ask for so many characters in a row. */
const maskedCharsMin = 20;

/** An API key (whatever its prefix) keeps its public id, a JWT nothing; `%5F` and `%2E` are read as what they stand for. */
export function maskCredentials(value: string): string {
  if (value.length < maskedCharsMin) return value;
  return value
    .replace(/([a-z][a-z0-9]{1,14}(?:_|%5f)[0-9A-Za-z]{12}(?:_|%5f))[0-9A-Za-z]{20,}/gi, '$1***')
    .replace(/(?:[\w.-]|%2e|%2d|%5f){20,}/gi, maskToken);
}

/** Each run of a token's characters is looked at once: searching for whole tokens would take quadratic time. */
function maskToken(run: string): string {
  const start = run.indexOf('eyJ');
  return start !== -1 && /\.|%2e/i.test(run.slice(start)) ? `${run.slice(0, start)}***` : run;
}
