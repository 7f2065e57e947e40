/**
 * What would become of a request, and why: the request goes through the same parser and the same `handle()` as one
 * from the network, on a gateway that takes nothing from a bucket and stops where something would be done.
 */
import { Duplex } from 'node:stream';
import type { AuditRecord } from './audit/record.ts';
import type { Buckets } from './bucket/buckets.ts';
import type { MemoryBuckets } from './bucket/memory.ts';
import { createDownstream, type DownstreamOptions } from './downstream.ts';
import { errorKinds } from './errors.ts';
import type { Exchange, PartitionedClass, Principal, RateClass, RateDecision, Route } from './exchange.ts';
import type { Gateway } from './gateway.ts';
import { Generations } from './generations.ts';
import { explanationMsMax } from './limits.ts';

/** A request to be explained; it has no body. */
export interface Asked {
  readonly method: string;
  readonly target: string;
  /** The address that the connection comes from. */
  readonly from: string;
  /** Sent as X-API-Key. */
  readonly key?: string | undefined;
  /** Sent as a bearer token. */
  readonly token?: string | undefined;
}

/** What each phase found; `null` for a phase that was not reached. */
export interface Explanation {
  readonly decision: 'allow' | 'deny' | 'error';
  /** What the gateway answers; `null` when it is for the upstream or an endpoint to say. */
  readonly status: number | null;
  readonly code: string | null;
  /** Why a credential fails, which the caller is not told. */
  readonly reason: string | null;
  readonly detail: string | null;
  readonly client_address: string;
  readonly route:
    | (Pick<Route, 'permission' | 'cost'> & { readonly path: string; readonly class: string })
    | null;
  readonly principal:
    | (Pick<Principal, 'kind' | 'subject' | 'owner'> & {
        readonly permissions: readonly string[];
      })
    | null;
  readonly permission: { readonly needed: string; readonly granted: boolean } | null;
  readonly bucket: ExplainedBucket | null;
  /** Where it goes: an upstream's name, or the gateway's own endpoint. */
  readonly destination: { readonly kind: 'upstream' | 'local'; readonly name: string } | null;
}

export interface ExplainedBucket {
  readonly class: string;
  readonly partition: string;
  /** Who shares it; see `limitRate`. */
  readonly key: string;
  readonly cost: number;
  readonly capacity: number;
  /** Units left once this request has passed, or as it was refused. */
  readonly remaining: number;
  readonly admitted: boolean;
}

/**
 * Explains a request.
 * @param bounds of the listener, since what is past them is refused too
 * @param gateway one that serves nobody else: its failed credentials are counted as they always are
 * @throws when no decision was made in time
 */
export async function explainRequest(
  gateway: Gateway & { readonly buckets: MemoryBuckets },
  bounds: Omit<DownstreamOptions, 'reports' | 'tls'>,
  asked: Asked,
): Promise<Explanation> {
  const { promise, resolve, reject } = Promise.withResolvers<Explanation>();
  const late = setTimeout(
    () => reject(new Error(`no decision within ${explanationMsMax} ms`)),
    explanationMsMax,
  );
  const connection = new Nowhere(asked.from);
  try {
    const buckets = new Peeked(gateway.buckets);
    const witnessed = { ...gateway, buckets, recorder: new Witness(buckets, resolve) };
    const server = createDownstream(
      new Generations({ gateway: witnessed, close: async () => {} }, () => {}),
      { ...bounds, reports: { connections: () => {}, connectionRefused: () => {} }, tls: undefined },
    );
    server.emit('connection', connection);
    connection.push(headOf(asked));
    return await promise;
  } finally {
    clearTimeout(late);
    connection.destroy();
  }
}

function headOf({ method, target, key, token }: Asked): string {
  const lines = [
    `${method} ${target} HTTP/1.1`,
    'Host: localhost',
    ...(key === undefined ? [] : [`X-API-Key: ${key}`]),
    ...(token === undefined ? [] : [`Authorization: Bearer ${token}`]),
  ];
  return `${lines.join('\r\n')}\r\n\r\n`;
}

/** The server's side of a connection; what is answered on it is read by nobody. */
class Nowhere extends Duplex {
  readonly remoteAddress: string;
  /** Its pace is nobody's concern. */
  readonly bytesRead = 0;
  readonly bytesWritten = 0;

  constructor(remoteAddress: string) {
    super();
    this.remoteAddress = remoteAddress;
  }

  override _read(): void {}

  override _write(_chunk: unknown, _encoding: string, done: () => void): void {
    done();
  }

  /** As sockets have it; nothing waits here. */
  setTimeout(): this {
    return this;
  }
}

/** Buckets from which nothing is taken. */
class Peeked implements Buckets {
  /** Whose bucket the limit asked last. */
  key = '';
  readonly #buckets: MemoryBuckets;

  constructor(buckets: MemoryBuckets) {
    this.#buckets = buckets;
  }

  take(rateClass: RateClass, partition: string, cost: number): RateDecision {
    this.key = partition;
    return this.#buckets.peek(rateClass, partition, cost);
  }
}

/** In the recorder's place: what it hears of first is the end of the explanation, and nothing is written down. */
class Witness {
  readonly #buckets: Peeked;
  readonly #tell: (explanation: Explanation) => void;

  constructor(buckets: Peeked, tell: (explanation: Explanation) => void) {
    this.#buckets = buckets;
    this.#tell = tell;
  }

  begin(): void {}

  fault(record: AuditRecord): void {
    this.refusedByParser(record);
  }

  /** Every phase has let it pass; what comes next would be done. */
  attempt(exchange: Exchange): Promise<void> {
    this.#tell(explanationOf(exchange, this.#buckets.key));
    return Promise.reject(new Error('explained'));
  }

  /** Never asked: `attempt` comes first, and lets nothing through. */
  async opened(): Promise<void> {}

  complete(exchange: Exchange): void {
    this.#tell(explanationOf(exchange, this.#buckets.key));
  }

  refusedByParser({ client_ip, status_code, code }: AuditRecord): void {
    this.#tell({ ...unreached, ...refusedWith(code), status: status_code, client_address: client_ip });
  }
}

const unreached = {
  decision: 'deny',
  reason: null,
  route: null,
  principal: null,
  permission: null,
  bucket: null,
  destination: null,
} as const;

function refusedWith(code: string | null): Pick<Explanation, 'code' | 'detail'> {
  const kind = code !== null && code in errorKinds ? errorKinds[code as keyof typeof errorKinds] : undefined;
  return { code, detail: kind?.detail ?? null };
}

/** As far as the phases have come. */
function explanationOf(exchange: Exchange, bucketKey: string): Explanation {
  const { route, outcome, rate, clientAddress } = exchange;
  const { decision, status, code, reason } = outcome;
  const common = {
    decision,
    status: status === 0 ? null : status,
    ...refusedWith(code ?? null),
    reason: reason ?? null,
    client_address: clientAddress,
  };
  if (route === undefined) return { ...unreached, ...common };
  const principal = principalOf(exchange, route);
  return {
    ...common,
    route: {
      path: route.template,
      permission: route.permission,
      class: route.rateClass.name,
      cost: route.cost,
    },
    principal,
    permission: principal && { needed: route.permission, granted: rate !== undefined },
    bucket: rate === undefined ? null : bucketOf(route.rateClass, route.cost, rate, bucketKey),
    destination: code === undefined ? destinationOf(route) : null,
  };
}

/** On a public route whoever asks is nobody; on any other, nobody has not been verified. */
function principalOf({ principal }: Exchange, route: Route): Explanation['principal'] {
  if (principal.kind === 'anonymous' && route.permission !== 'none') return null;
  const { kind, subject, owner, permissions } = principal;
  return { kind, subject, ...(owner !== undefined && { owner }), permissions: [...permissions] };
}

function bucketOf(
  { name, partition, capacity }: PartitionedClass,
  cost: number,
  { remaining, admitted }: RateDecision,
  key: string,
): ExplainedBucket {
  return { class: name, partition, key, cost, capacity, remaining, admitted };
}

function destinationOf({ destination, template }: Route): Explanation['destination'] {
  switch (destination.kind) {
    case 'upstream':
      return { kind: 'upstream', name: destination.upstream.name };
    case 'local':
      return { kind: 'local', name: template };
    case 'refusal':
      return null;
  }
}
