/** GET /admin/audit, a page of the log, newest first, and /admin/audit/stream, the log as it is written. */
import { z } from 'zod';
import type { Filter } from '../audit/reading/filter.ts';
import { type Place, parsePlace, placeText } from '../audit/reading/place.ts';
import { type LogReader, ReadingError } from '../audit/reading/reader.ts';
import { Refusal } from '../errors.ts';
import type { Exchange } from '../exchange.ts';
import {
  auditFieldCharsMax,
  auditPageBudgetMs,
  auditPageBytesMax,
  auditPageLinesDefault,
  auditPageLinesMax,
  auditStreamBudgetMs,
  auditStreamBytes,
  auditStreamHeartbeatMs,
  auditStreamLines,
  auditStreamPollMs,
  auditStreamRecheckMs,
} from '../limits.ts';
import type { Answer, BodyWriter, Call, Endpoint } from './endpoint.ts';

export interface AuditEndpointDeps {
  readonly reader: LogReader;
  /** Which process answers: its files are all it knows. */
  readonly replica: string;
  /** Streams open at once. */
  readonly readersMax: number;
  /** Writes what the log has buffered. */
  flush(): Promise<void>;
  isDraining(): boolean;
  /** Whether the credential of a request under way still verifies, and still is an admin's. */
  isStillAdmin(exchange: Exchange): Promise<boolean>;
}

const time = z.iso.datetime({
  offset: true,
  local: true,
  error: 'a time in ISO 8601, like 2030-12-31T23:59:59Z; without a zone it is UTC',
});

const filterFields = {
  principal: z.string().min(1).max(512).optional().meta({ description: 'Such as user:… or key:…' }),
  path: z.string().min(1).max(auditFieldCharsMax).optional().meta({ description: 'The whole path' }),
  status: z
    .string()
    .regex(/^[1-5](?:\d\d|xx)$/, { error: 'a status such as 404, or a class such as 4xx' })
    .optional(),
  decision: z.enum(['allow', 'deny', 'error']).optional(),
  code: z
    .string()
    .regex(/^[a-z_]{1,64}$/, { error: 'an error code such as permission_denied' })
    .optional(),
  from: time.optional(),
  to: time.optional().meta({ description: 'Not included' }),
};

const pageQuery = z.strictObject({
  ...filterFields,
  limit: z.coerce.number().int().min(1).max(auditPageLinesMax).default(auditPageLinesDefault),
  cursor: z.string().max(1_024).optional().meta({ description: 'The `next_cursor` of the page before' }),
});
const streamQuery = z.strictObject(filterFields);

/** What a record says is in the README; records of later versions may say more. */
const pageSchema = z.object({
  replica: z.string().meta({ description: 'Whose log this is' }),
  items: z.array(z.looseObject({ timestamp: z.number(), stage: z.string() })),
  next_cursor: z.string().nullable().meta({ description: 'Older records; null at the end of the log' }),
});

const admin = { method: 'GET', permission: 'admin', rateClass: 'admin', durable: true } as const;

export function auditEndpoints(deps: AuditEndpointDeps): Endpoint[] {
  const readers = new Readers(deps.readersMax);
  return [
    {
      ...admin,
      path: '/admin/audit',
      summary: 'Records of this replica’s audit log, newest first',
      querySchema: pageQuery,
      answers: { 200: { description: 'A page of the log', schema: pageSchema } },
      answer: ({ query }) => page(deps, query as unknown as z.output<typeof pageQuery>),
    },
    {
      ...admin,
      path: '/admin/audit/stream',
      summary: 'This replica’s audit log as it is written: server-sent events, resumed by Last-Event-ID',
      querySchema: streamQuery,
      answers: { 200: { description: 'text/event-stream: one record an event, as JSON' } },
      answer: (call) => stream(deps, readers, call),
    },
  ];
}

async function page(deps: AuditEndpointDeps, query: z.output<typeof pageQuery>): Promise<Answer> {
  const before = query.cursor === undefined ? undefined : cursorPlace(deps.replica, query.cursor);
  await deps.flush();
  const limits = { lines: query.limit, bytes: auditPageBytesMax, budgetMs: auditPageBudgetMs };
  const { found, next } = await deps.reader.page(filterOf(query), before, limits).catch((error: unknown) => {
    throw refusalOf(error, deps.replica, query.cursor);
  });
  // The lines are JSON already, and many.
  const items = found.map(({ line }) => line).join(',');
  const cursor = next === undefined ? null : `${nameText(deps.replica)}.${placeText(next)}`;
  return {
    status: 200,
    headers: { 'Content-Type': 'application/json', 'Cache-Control': 'no-store' },
    body: `{"replica":${JSON.stringify(deps.replica)},"items":[${items}],"next_cursor":${JSON.stringify(cursor)}}`,
  };
}

function nameText(replica: string): string {
  return Buffer.from(replica).toString('base64url');
}

function cursorPlace(replica: string, cursor: string): Place {
  const place = parsePlace(cursor.slice(cursor.indexOf('.') + 1));
  if (place === undefined) throw wrongCursor('is no cursor of this endpoint', replica);
  return place;
}

function wrongCursor(message: string, replica: string): Refusal {
  return new Refusal('validation_failed', {
    detail: `The cursor cannot be used here; this is replica ${replica}.`,
    errors: [{ field: 'cursor', message }],
  });
}

const indexingRetrySeconds = 5;

function refusalOf(error: unknown, replica: string, cursor: string | undefined): unknown {
  if (!(error instanceof ReadingError)) return error;
  switch (error.fault) {
    case 'unknown_place': {
      const from = Buffer.from((cursor ?? '').split('.', 1)[0] ?? '', 'base64url').toString();
      return wrongCursor(`leads to a file of replica ${from} that is not here, or not any more`, replica);
    }
    case 'indexing':
      return new Refusal('overloaded', {
        detail: 'The index of the log is being made; ask again in a moment.',
        retryAfterSeconds: indexingRetrySeconds,
      });
    case 'busy':
      return new Refusal('overloaded', { retryAfterSeconds: 1 });
    case 'failed':
      return new Refusal('internal_error', { cause: error });
  }
}

function filterOf(query: z.output<typeof streamQuery>): Filter {
  const { principal, path, status, decision, code, from, to } = query;
  return {
    principal,
    path,
    status: status === undefined ? undefined : statusRange(status),
    decision,
    code,
    fromMs: from === undefined ? undefined : timeMs(from),
    toMs: to === undefined ? undefined : timeMs(to),
  };
}

function statusRange(status: string): [from: number, to: number] {
  return [Number(status.replaceAll('x', '0')), Number(status.replaceAll('x', '9'))];
}

function timeMs(text: string): number {
  return Date.parse(/(?:Z|[+-]\d\d:?\d\d)$/.test(text) ? text : `${text}Z`);
}

/** Places for streams. */
class Readers {
  readonly #max: number;
  #open = 0;

  constructor(max: number) {
    this.#max = max;
  }

  /** @throws `overloaded` */
  enter(): void {
    if (this.#open >= this.#max)
      throw new Refusal('overloaded', {
        detail: `${this.#max} streams are open, and more are not allowed.`,
        retryAfterSeconds: 30,
      });
    this.#open += 1;
  }

  leave(): void {
    this.#open -= 1;
  }
}

async function stream(deps: AuditEndpointDeps, readers: Readers, call: Call): Promise<Answer> {
  const filter = filterOf(call.query as unknown as z.output<typeof streamQuery>);
  const start = await startOf(deps, call.exchange);
  if (call.exchange.request.method !== 'HEAD') readers.enter();
  return {
    status: 200,
    headers: { 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-store', 'X-Accel-Buffering': 'no' },
    stream: (body) => {
      const live = new LiveStream(deps, call.exchange, filter, start, body);
      return live.run().finally(() => readers.leave());
    },
  };
}

interface Start {
  readonly place: Place | undefined;
  /** What came before it is lost to this reader. */
  readonly gap: boolean;
}

/** Where the reader left off, else the end of the log. */
async function startOf({ reader }: AuditEndpointDeps, { request }: Exchange): Promise<Start> {
  const last = request.headers['last-event-id'];
  if (typeof last !== 'string' || last === '') return { place: await endOf(reader), gap: false };
  const place = parsePlace(last);
  if (place !== undefined) {
    const known = await reader.follow({}, place, { lines: 1, bytes: 1, budgetMs: 1 }).then(
      () => true,
      () => false,
    );
    if (known) return { place, gap: false };
  }
  return { place: await endOf(reader), gap: true };
}

function endOf(reader: LogReader): Promise<Place | undefined> {
  return reader.end().catch((error: unknown) => {
    throw refusalOf(error, '', undefined);
  });
}

/** One reader's way along the log. It is handed the next records when it has taken the last ones. */
class LiveStream {
  readonly #deps: AuditEndpointDeps;
  readonly #exchange: Exchange;
  readonly #filter: Filter;
  readonly #body: BodyWriter;
  #place: Place | undefined;
  readonly #gap: boolean;

  constructor(deps: AuditEndpointDeps, exchange: Exchange, filter: Filter, start: Start, body: BodyWriter) {
    this.#deps = deps;
    this.#exchange = exchange;
    this.#filter = filter;
    this.#body = body;
    this.#place = start.place;
    this.#gap = start.gap;
  }

  async run(): Promise<void> {
    const { replica, isDraining } = this.#deps;
    await this.#body.write(event('hello', { replica }));
    if (this.#gap)
      await this.#body.write(event('gap', { replica, reason: 'the last event is not in this log' }));
    let recheckMs = performance.now() + auditStreamRecheckMs;
    let heartbeatMs = performance.now() + auditStreamHeartbeatMs;
    while (!this.#body.isOver) {
      if (isDraining()) return this.#end('draining');
      if (performance.now() >= recheckMs) {
        if (!(await this.#deps.isStillAdmin(this.#exchange).catch(() => false)))
          return this.#end('credential');
        recheckMs = performance.now() + auditStreamRecheckMs;
      }
      const wrote = await this.#step();
      if (wrote === 'more') continue;
      if (performance.now() >= heartbeatMs) {
        await this.#body.write(
          `: alive\n${this.#place === undefined ? '' : `id: ${placeText(this.#place)}\n`}\n`,
        );
        heartbeatMs = performance.now() + auditStreamHeartbeatMs;
      }
      await this.#body.pause(auditStreamPollMs);
    }
  }

  /** Writes what has come. */
  async #step(): Promise<'more' | 'all'> {
    const limits = { lines: auditStreamLines, bytes: auditStreamBytes, budgetMs: auditStreamBudgetMs };
    try {
      const before = this.#place;
      const { found, next } = await this.#deps.reader.follow(this.#filter, before, limits);
      this.#place = next;
      if (found.length > 0) await this.#body.write(found.map(recordEvent).join(''));
      return found.length > 0 ? 'more' : 'all';
    } catch (error) {
      if (!(error instanceof ReadingError) || error.fault !== 'unknown_place') return 'all';
      // It was so slow that the file has been rotated away under it.
      this.#place = await this.#deps.reader.end().catch(() => undefined);
      await this.#body.write(event('gap', { replica: this.#deps.replica, reason: 'the file is gone' }));
      return 'all';
    }
  }

  async #end(reason: 'draining' | 'credential'): Promise<void> {
    await this.#body.write(event('end', { reason }));
  }
}

function recordEvent({ line, place }: { readonly line: string; readonly place: Place }): string {
  // JSON may have a CR between its members, which would end the line here.
  return `id: ${placeText(place)}\ndata: ${line.replaceAll('\r', ' ')}\n\n`;
}

function event(name: string, data: object): string {
  return `event: ${name}\ndata: ${JSON.stringify(data)}\n\n`;
}
