/** A gateway between a raw client and a raw upstream, for the table of attacks: refused, or passed on byte for byte. */
import type { Socket } from 'node:net';
import type { Test } from 'tap';
import { type ByteRecorder, startByteRecorder } from '../support/byte-recorder.ts';
import { startTestGateway, type TestGateway } from '../support/gateway.ts';
import { type RawAnswer, sendRaw } from '../support/raw-client.ts';
import { readStrictly, type StrictRequest } from '../support/strict-http.ts';

/** `more` is put into `listen`. */
export const edgeYaml = (more = '') => `
version: 1
listen: { port: "\${PORT}"${more === '' ? '' : `, ${more}`} }
operations: { port: "\${OPERATIONS_PORT}" }
database: \${DATABASE_URL}
auth: { failures: { rate: 100000/minute } }
rate_limits:
  classes:
    public: { rate: 100000/minute }
    read: { rate: 100000/minute }
    write: { rate: 100000/minute }
    admin: { rate: 100000/minute }
audit: { sinks: [{ type: file, path: "\${AUDIT_LOG_FILE}", fsync: false }] }
upstreams:
  app: { url: "\${REGISTRY_URL}", timeouts: { connect: 1s, response: 2s, idle: 2s } }
routes:
  - { path: /tools, upstream: app, permission: read, class: read, max_body: 1MiB }
  - { path: /tools/*, upstream: app, permission: read, class: read, max_body: 1MiB }
  - { path: /open/*, upstream: app, permission: none, class: public, max_body: 1MiB }
  - { path: /json/*, upstream: app, permission: none, class: public, inspect: json, max_body: 1MiB }
`;

export interface Edge {
  readonly gateway: TestGateway;
  readonly recorder: ByteRecorder;
  /** A key that may read, and nothing else. */
  readonly key: string;
  readonly subject: string;
  /** `METHOD target HTTP/1.1` with a Host and the key, and `lines`. */
  head(requestLine: string, ...lines: readonly string[]): string;
  send(...pieces: readonly string[]): Promise<RawAnswer>;
  /** Asserts that it is refused, the connection closed, not a byte passed on, and one record says so. */
  refuses(t: Test, statuses: number | readonly number[], ...pieces: readonly string[]): Promise<RawAnswer>;
  /** Asserts that exactly one request arrives at the upstream, and gives it. */
  passes(t: Test, ...pieces: readonly string[]): Promise<StrictRequest>;
}

const okay = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Type: text/plain\r\n\r\nok';

/** Answers 200 to each request that has come whole; rubbish ends the connection. */
function answerWhole(): (socket: Socket, chunk: string) => void {
  const sofar = new WeakMap<Socket, { bytes: string; answered: number }>();
  return (socket, chunk) => {
    const own = sofar.get(socket) ?? { bytes: '', answered: 0 };
    sofar.set(socket, own);
    own.bytes += chunk;
    try {
      const { requests } = readStrictly(own.bytes);
      for (; own.answered < requests.length; own.answered += 1) socket.write(okay);
    } catch {
      socket.destroy();
    }
  };
}

export async function startEdge(
  t: Test,
  {
    directory = t.testdir(),
    listen = '',
    respond = answerWhole(),
  }: {
    directory?: string;
    listen?: string;
    respond?: ((socket: Socket, chunk: string) => void) | undefined;
  } = {},
): Promise<Edge> {
  const recorder = await startByteRecorder(respond);
  const gateway = await startTestGateway({
    directory,
    registryUrl: recorder.url,
    yaml: edgeYaml(listen),
  });
  t.teardown(async () => {
    await gateway.close();
    await recorder.close();
  });
  const made = await gateway.admin('POST', '/admin/api-keys', { name: 'reader', can_read: true });
  const { id, key } = (await made.json()) as { id: string; key: string };
  const send = (...pieces: readonly string[]) => sendRaw(gateway.trafficUrl, ...pieces);
  return {
    gateway,
    recorder,
    key,
    subject: `key:${id}`,
    head: (requestLine, ...lines) =>
      `${[requestLine, 'Host: gateway.example', `X-API-Key: ${key}`, ...lines].join('\r\n')}\r\n\r\n`,
    send,
    refuses: async (t, statuses, ...pieces) => {
      recorder.reset();
      const before = (await gateway.audit()).length;
      const answer = await send(...pieces);
      t.ok([statuses].flat().includes(answer.status), `${answer.status} ${answer.body}`);
      t.ok(answer.closed, 'the connection is closed');
      t.strictSame(answer.headers.get('connection'), ['close']);
      t.equal(recorder.bytes(), '', 'not one byte to the upstream');
      const records = (await gateway.audit()).slice(before);
      t.match(records, [{ status_code: answer.status, decision: 'deny' }], 'recorded as refused, once');
      t.equal(records.length, 1);
      return answer;
    },
    passes: async (t, ...pieces) => {
      recorder.reset();
      const answer = await send(...pieces);
      t.equal(answer.status, 200, answer.text);
      const sent = recorder.byConnection().filter((bytes) => bytes !== '');
      t.equal(sent.length, 1, 'one connection');
      const { requests, cutOff } = readStrictly(sent[0] ?? '');
      t.equal(requests.length, 1, 'exactly one request');
      t.equal(cutOff, '', 'and nothing behind it');
      const [request] = requests;
      if (request === undefined) throw new Error('nothing has come');
      return request;
    },
  };
}
