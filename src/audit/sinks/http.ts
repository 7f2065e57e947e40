/** A receiver over HTTP: batches of JSON lines (`application/x-ndjson`), with a bearer token or a client certificate. */
import type { buildConnector as connectors, Dispatcher } from 'undici';
import { readTextFile } from '../../config/text-file.ts';
import { buildConnector, Pool } from '../../http/undici.ts';
import { LaterError, type Receiver, UnacceptableError } from './delivery.ts';

export interface HttpReceiverOptions {
  readonly url: string;
  /** Sent as `Authorization: Bearer`. */
  readonly token: string | undefined;
  /** Holds one; read for each batch, so that a rotated one is used at once. */
  readonly tokenFile: string | undefined;
  /** Files in PEM; read for each connection. */
  readonly tls: {
    readonly ca?: string | undefined;
    readonly cert?: string | undefined;
    readonly key?: string | undefined;
  };
  /** From the first byte to the end of the answer. */
  readonly timeoutMs: number;
}

/** An answer is read to its end, so that the connection can be used again; a long one is not worth that. */
const answerBytesMax = 64 * 1024;

/** What it means when the receiver has read the batch and sends it back. */
const unacceptable = new Set([400, 413, 422]);

export class HttpReceiver implements Receiver {
  readonly #options: HttpReceiverOptions;
  readonly #pool: Pool;
  readonly #path: string;

  constructor(options: HttpReceiverOptions) {
    this.#options = options;
    const url = new URL(options.url);
    this.#path = `${url.pathname}${url.search}`;
    this.#pool = new Pool(url.origin, {
      connections: 1,
      pipelining: 1,
      allowH2: false,
      connect: connectorOf(options),
      headersTimeout: options.timeoutMs,
      bodyTimeout: options.timeoutMs,
    });
  }

  async send(lines: readonly string[], signal: AbortSignal): Promise<void> {
    const { statusCode, headers, body } = await this.#pool.request({
      path: this.#path,
      method: 'POST',
      headers: {
        'content-type': 'application/x-ndjson',
        ...authorizationOf(this.#token()),
      },
      body: lines.join(''),
      signal: AbortSignal.any([signal, AbortSignal.timeout(this.#options.timeoutMs)]),
    });
    await readThrough(body);
    if (statusCode >= 200 && statusCode < 300) return;
    const message = `the receiver answered ${statusCode}`;
    if (unacceptable.has(statusCode)) throw new UnacceptableError(message);
    throw new LaterError(message, retryAfterMs(headers['retry-after'], Date.now()));
  }

  close(): Promise<void> {
    return this.#pool.destroy();
  }

  #token(): string | undefined {
    const { token, tokenFile } = this.#options;
    return tokenFile === undefined ? token : readTextFile(tokenFile).trim();
  }
}

/** A new one for each connection: a certificate that was renewed is used from the next one on. */
function connectorOf({ tls, timeoutMs }: HttpReceiverOptions): connectors.connector {
  return (options, callback) => {
    try {
      const connect = buildConnector({
        timeout: timeoutMs,
        // Said here, so that no variable of the environment says otherwise.
        rejectUnauthorized: true,
        ...(tls.ca !== undefined && { ca: readTextFile(tls.ca) }),
        ...(tls.cert !== undefined && { cert: readTextFile(tls.cert) }),
        ...(tls.key !== undefined && { key: readTextFile(tls.key) }),
      });
      connect(options, callback);
    } catch (error) {
      callback(error as Error, null);
    }
  };
}

function authorizationOf(token: string | undefined): Record<string, string> {
  return token === undefined || token === '' ? {} : { authorization: `Bearer ${token}` };
}

/** Cut off in the middle, it throws: nobody knows what the receiver has taken. */
async function readThrough(body: Dispatcher.ResponseData['body']): Promise<void> {
  let bytes = 0;
  for await (const chunk of body) {
    bytes += (chunk as Buffer).length;
    if (bytes > answerBytesMax) return;
  }
}

/** RFC 9110 §10.2.3: seconds, or a date. 0 where it says nothing that can be read. */
export function retryAfterMs(header: string | string[] | undefined, nowMs: number): number {
  if (typeof header !== 'string') return 0;
  if (/^\d{1,9}$/.test(header)) return Number(header) * 1000;
  // Date.parse alone makes a date of almost anything.
  const date = / GMT$/.test(header) ? Date.parse(header) : Number.NaN;
  return Number.isNaN(date) ? 0 : Math.max(0, date - nowMs);
}
