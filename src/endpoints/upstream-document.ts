/** An upstream's own OpenAPI document, asked for seldom and within bounds; without an answer the page does without. */
import type { Clock } from '../clock.ts';
import type { Upstream } from '../http/upstream.ts';
import { openapiBytesMax, openapiFreshMs, openapiTimeoutMs } from '../limits.ts';

export interface OpenApiDocument {
  readonly openapi?: string;
  readonly info?: unknown;
  readonly paths?: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
  readonly components?: {
    readonly schemas?: Readonly<Record<string, unknown>>;
    readonly securitySchemes?: unknown;
  };
}

const nothing: OpenApiDocument = {};

export class UpstreamDocument {
  readonly #upstream: Upstream;
  readonly #path: string;
  readonly #clock: Clock;
  #last: Promise<OpenApiDocument> = Promise.resolve(nothing);
  #staleAtMs = 0;

  constructor(upstream: Upstream, path: string, clock: Clock) {
    this.#upstream = upstream;
    this.#path = path;
    this.#clock = clock;
  }

  /** What the upstream said within the last half minute; one question however many ask at once. Never rejects. */
  read(): Promise<OpenApiDocument> {
    const nowMs = this.#clock.monotonicMs();
    if (nowMs >= this.#staleAtMs) {
      this.#staleAtMs = nowMs + openapiFreshMs;
      this.#last = this.#fetch().catch(() => {
        this.#staleAtMs = 0;
        return nothing;
      });
    }
    return this.#last;
  }

  async #fetch(): Promise<OpenApiDocument> {
    const pool = this.#upstream.next()?.pool;
    if (pool === undefined) return nothing;
    const { statusCode, body } = await pool.request({
      path: this.#path,
      method: 'GET',
      headers: { accept: 'application/json' },
      headersTimeout: openapiTimeoutMs,
      bodyTimeout: openapiTimeoutMs,
      signal: AbortSignal.timeout(openapiTimeoutMs),
    });
    const chunks: Buffer[] = [];
    let bytes = 0;
    for await (const chunk of body) {
      bytes += chunk.length;
      if (bytes > openapiBytesMax) throw new Error('the document is too large');
      chunks.push(chunk);
    }
    if (statusCode !== 200) throw new Error(`status ${statusCode}`);
    const document: unknown = JSON.parse(Buffer.concat(chunks).toString());
    return typeof document === 'object' && document !== null ? document : nothing;
  }
}
