import t from 'tap';
import { z } from 'zod';
import type { Endpoint } from '../../src/endpoints/endpoint.ts';
import { anonymous, type Body, type Route } from '../../src/exchange.ts';
import { Cors } from '../../src/http/cors.ts';
import { authorize } from '../../src/phases/authorize.ts';
import { inspectBody } from '../../src/phases/inspect-body.ts';
import { exchangeOf, routeOf } from '../support/exchange.ts';

interface Sending {
  readonly body?: string | Buffer;
  readonly type?: string;
  readonly headers?: readonly string[];
}

/** What a route makes of a body sent with its length. */
function inspected(route: Partial<Route>, { body, type, headers = [] }: Sending): Promise<Body> {
  const length = body === undefined ? [] : ['Content-Length', String(Buffer.byteLength(body))];
  const typed = type === undefined ? [] : ['Content-Type', type];
  const exchange = exchangeOf({ method: 'POST', headers: [...length, ...typed, ...headers] });
  if (body !== undefined) exchange.request.push(body);
  exchange.request.push(null);
  const permit = authorize(new Cors([]), exchange, routeOf({ permission: 'none', ...route }), anonymous);
  return inspectBody(exchange, permit);
}

const json = { inspect: 'json' } as const;
const type = 'application/json';

t.test('what is not inspected streams, within its bound', async (t) => {
  t.strictSame(await inspected({}, { body: 'x', type: 'any/thing' }), { kind: 'stream', bytesMax: 1_024 });
});

t.test('no body is none, inspected or not', async (t) => {
  t.strictSame(await inspected({}, {}), { kind: 'none' });
  t.strictSame(await inspected(json, { body: '' }), { kind: 'none' });
});

t.test('a declared length over the bound is refused before a byte is read', async (t) => {
  await t.rejects(inspected({ bodyBytesMax: 3 }, { body: 'abcd' }), { code: 'body_too_large', status: 413 });
});

t.test('JSON that passes keeps its bytes', async (t) => {
  const body = Buffer.from(' {"description": "O\'Reilly <3 SELECT", "a":1.0e2 }\n');
  const result = await inspected(json, { body, type });
  t.match(result, { kind: 'whole', value: { description: "O'Reilly <3 SELECT", a: 100 } });
  t.strictSame(result.kind === 'whole' && result.bytes, body);
});

for (const good of ['application/json', 'Application/JSON; charset=utf-8', 'application/merge-patch+json'])
  t.test(`${good} is JSON`, async (t) => {
    t.match(await inspected(json, { body: '{}', type: good }), { kind: 'whole' });
  });

for (const bad of [
  undefined,
  'text/plain',
  'application/jsonp',
  'application/x-www-form-urlencoded',
  'application/json, text/plain',
  'text/json+x',
])
  t.test(`${bad} is none`, async (t) => {
    await t.rejects(inspected(json, { body: '{}', ...(bad !== undefined && { type: bad }) }), {
      code: 'unsupported_media_type',
      status: 415,
    });
  });

t.test('attack 36: a compressed body is not unpacked, but refused', async (t) => {
  await t.rejects(inspected(json, { body: 'x', type, headers: ['Content-Encoding', 'gzip'] }), {
    code: 'unsupported_media_type',
  });
});

for (const [name, body] of [
  ['bad JSON', '{'],
  ['bad UTF-8', Buffer.from([0x22, 0xff, 0x22])],
  ['a byte-order mark', '\ufeff{}'],
  ['a poisoned prototype', '{"__proto__":{}}'],
] as const)
  t.test(`${name} is refused`, async (t) => {
    await t.rejects(inspected(json, { body, type }), { code: 'malformed_body', status: 400 });
  });

const endpoint: Endpoint = {
  method: 'POST',
  path: '/auth/login',
  permission: 'none',
  rateClass: 'public',
  durable: false,
  summary: '',
  bodySchema: z.unknown(),
  bodyTypes: ['application/json', 'application/x-www-form-urlencoded'],
  answers: {},
  answer: () => ({ status: 204 }),
};
const local = (changes: Partial<Endpoint> = {}): Pick<Route, 'destination'> => ({
  destination: { kind: 'local', endpoint: { ...endpoint, ...changes } },
});

t.test('an endpoint that takes forms reads one', async (t) => {
  const form = { body: 'username=a&password=b', type: 'application/x-www-form-urlencoded' };
  t.match(await inspected(local(), form), { value: { username: 'a', password: 'b' } });
});

t.test('an endpoint that takes none refuses it', async (t) => {
  const form = { body: 'a=b', type: 'application/x-www-form-urlencoded' };
  await t.rejects(inspected(local({ bodyTypes: ['application/json'] }), form), {
    code: 'unsupported_media_type',
  });
});

t.test('an endpoint that needs a body refuses none', async (t) => {
  await t.rejects(inspected(local(), {}), { code: 'malformed_body' });
});

t.test('where it is optional, none is an empty object', async (t) => {
  t.match(await inspected(local({ bodyOptional: true }), {}), { kind: 'whole', value: {} });
});

t.test('a refusal reads nothing', async (t) => {
  const route = { bodyBytesMax: 0, destination: { kind: 'refusal', code: 'route_not_found' } } as const;
  t.strictSame(await inspected(route, { body: 'anything' }), { kind: 'none' });
});
