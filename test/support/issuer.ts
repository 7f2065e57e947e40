/** What an external issuer has: keys, tokens made by hand so that they can be wrong in any way, and an endpoint. */
import { createHmac, generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

export type TestAlgorithm = 'RS256' | 'ES256' | 'EdDSA';

export interface TestKey {
  readonly kid: string;
  readonly alg: TestAlgorithm;
  readonly privateKey: KeyObject;
  readonly publicKey: KeyObject;
  /** With kid, and nothing else that is optional. */
  readonly jwk: Readonly<Record<string, unknown>>;
}

export function testKey(alg: TestAlgorithm, kid = `${alg}-1`): TestKey {
  const { privateKey, publicKey } = generate(alg);
  return { kid, alg, privateKey, publicKey, jwk: { ...publicKey.export({ format: 'jwk' }), kid } };
}

function generate(alg: TestAlgorithm): { privateKey: KeyObject; publicKey: KeyObject } {
  if (alg === 'RS256') return generateKeyPairSync('rsa', { modulusLength: 2048 });
  return alg === 'ES256'
    ? generateKeyPairSync('ec', { namedCurve: 'P-256' })
    : generateKeyPairSync('ed25519');
}

/** A part of a token: text as it is, anything else as JSON. */
export const part = (value: unknown): string =>
  Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url');

/** A token, well signed whatever its header and payload say. */
export function signed(header: unknown, payload: unknown, { alg, privateKey }: TestKey): string {
  const input = `${part(header)}.${part(payload)}`;
  const hash = alg === 'EdDSA' ? null : 'sha256';
  const signature = sign(hash, Buffer.from(input), { key: privateKey, dsaEncoding: 'ieee-p1363' });
  return `${input}.${signature.toString('base64url')}`;
}

/** A token signed with an HMAC, as by an attacker who has only public things. */
export function hmacSigned(header: unknown, payload: unknown, key: string | Buffer): string {
  const input = `${part(header)}.${part(payload)}`;
  return `${input}.${createHmac('sha256', key).update(input).digest('base64url')}`;
}

/** All that is public of a key and could be taken for an HMAC secret (attack 22). */
export function publicForms({ publicKey, jwk }: TestKey): ReadonlyArray<string | Buffer> {
  const pem = publicKey.export({ type: 'spki', format: 'pem' }).toString();
  const { kid: _, ...bare } = jwk;
  return [
    pem,
    pem.trim(),
    publicKey.export({ type: 'spki', format: 'der' }),
    JSON.stringify(bare),
    JSON.stringify(jwk),
    Buffer.from(String(bare.n ?? bare.x), 'base64url'),
    '',
  ];
}

export const keySet = (...keys: readonly TestKey[]): string =>
  JSON.stringify({ keys: keys.map(({ jwk }) => jwk) });

export interface KeyEndpoint {
  readonly url: string;
  /** Requests so far. */
  readonly requests: IncomingMessage[];
  /** How it answers from now on. */
  answer: (request: IncomingMessage, response: ServerResponse) => void;
  close(): Promise<void>;
}

/** A real HTTP server on loopback; answers with this JWK Set until told otherwise. */
export async function keyEndpoint(body: string, port = 0): Promise<KeyEndpoint> {
  const requests: IncomingMessage[] = [];
  const server = createServer((request, response) => {
    requests.push(request);
    endpoint.answer(request, response);
  });
  const endpoint: KeyEndpoint = {
    url: await listen(server, port),
    requests,
    answer: answering(body),
    close: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
  return endpoint;
}

export const answering =
  (body: string, status = 200, contentType = 'application/json') =>
  (_request: IncomingMessage, response: ServerResponse) => {
    response.writeHead(status, { 'content-type': contentType });
    response.end(body);
  };

async function listen(server: Server, port: number): Promise<string> {
  server.listen(port, '127.0.0.1');
  await once(server, 'listening');
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}
