import t from 'tap';
import { z } from 'zod';
import { plainJson } from '../../src/config/inspection-schema.ts';
import type { Endpoint } from '../../src/endpoints/endpoint.ts';
import type { Refusal } from '../../src/errors.ts';
import { anonymous, type Body, type Exchange, type Route } from '../../src/exchange.ts';
import { Cors } from '../../src/http/cors.ts';
import { compileBodySchema } from '../../src/inspection/body-schema.ts';
import { Inspection } from '../../src/inspection/inspection.ts';
import type { RuleAction, RuleName } from '../../src/inspection/rules.ts';
import { authorize } from '../../src/phases/authorize.ts';
import { inspectBody } from '../../src/phases/inspect-body.ts';
import { exchangeOf, routeOf } from '../support/exchange.ts';

interface Sending {
  readonly body?: string | Buffer | undefined;
  readonly type?: string | undefined;
  readonly headers?: readonly string[];
}

/** What a route makes of a body sent with its length. */
function inspected(route: Partial<Route>, { body, type, headers = [] }: Sending): Promise<Body> {
  return inspecting(sending({ body, type, headers }), route);
}

function sending({ body, type, headers = [] }: Sending): Exchange {
  const length = body === undefined ? [] : ['Content-Length', String(Buffer.byteLength(body))];
  const typed = type === undefined ? [] : ['Content-Type', type];
  const exchange = exchangeOf({ method: 'POST', headers: [...length, ...typed, ...headers] });
  if (body !== undefined) exchange.request.push(body);
  exchange.request.push(null);
  return exchange;
}

async function inspecting(exchange: Exchange, route: Partial<Route>): Promise<Body> {
  const permit = authorize(new Cors([]), exchange, routeOf({ permission: 'none', ...route }), anonymous);
  return inspectBody(exchange, permit);
}

const json = {
  inspection: new Inspection({ bounds: plainJson.limits, rules: plainJson.rules, schema: undefined }),
};
/** Every rule refuses but those that are told otherwise. */
function ruled(rules: Partial<Record<RuleName, RuleAction>>): Pick<Route, 'inspection'> {
  const all = {
    script: 'refuse',
    bidi: 'refuse',
    invisible: 'refuse',
    control: 'refuse',
    numbers: 'refuse',
  } as const;
  return {
    inspection: new Inspection({ bounds: plainJson.limits, rules: { ...all, ...rules }, schema: undefined }),
  };
}

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

for (const [rule, name, body, place] of [
  ['script', 'a script element', '{"description": "<script>hunter2"}', 'The value at /description'],
  ['script', 'one in escapes', '{"d": "\\u003cscr\\u0069pt>hunter2"}', 'The value at /d'],
  ['script', 'a handler in a list', '{"tags": ["a", "<svg/onload=hunter2>"]}', 'The value at /tags/1'],
  ['script', 'one in a key', '{"a": {"<script>hunter2": 1}}', 'A key of the object at /a'],
  ['bidi', 'Trojan Source', '{"name": "hunter2\\u202e"}', 'The value at /name'],
  ['invisible', 'a hidden space', '"hunter2\u200b"', 'The value at the top'],
  ['control', 'an escape sequence', '["hunter2\\u001b[31m"]', 'The value at /0'],
  ['numbers', 'infinity', '{"n": 1e400}', 'The value at /n'],
] as const)
  t.test(`${name} is refused by the rule ${rule}, by place and never by text`, async (t) => {
    const error = await inspected(ruled({}), { body, type }).catch((reason: unknown) => reason);
    t.match(error, { code: 'content_refused', status: 422 });
    t.match((error as Refusal).detail, new RegExp(`^${place} holds .*\\(rule ${rule}\\)\\.$`));
    t.notMatch((error as Refusal).detail, /hunter2/);
    t.match(await inspected(ruled({ [rule]: 'off' }), { body, type }), { kind: 'whole' }, 'off');
    t.match(await inspected(ruled({ [rule]: 'report' }), { body, type }), { kind: 'whole' }, 'report');
  });

t.test('what is found stands on the exchange, once a rule', async (t) => {
  const body = '["<script>", "\\u202e", "<script>", "\\u0000"]';
  const exchange = sending({ body, type });
  const route = ruled({ script: 'report', bidi: 'report' });
  await t.rejects(inspecting(exchange, route), { code: 'content_refused' });
  t.strictSame(exchange.findings, [
    { rule: 'script', action: 'report' },
    { rule: 'bidi', action: 'report' },
    { rule: 'control', action: 'refuse' },
  ]);
});

t.test('text that looks like SQL is text', async (t) => {
  const body = `{"q": "' OR 1=1; DROP TABLE tools; -- O'Reilly <3 SELECT"}`;
  t.match(await inspected(ruled({}), { body, type }), { kind: 'whole' });
});

t.test('a route may name its content types, inspected or not', async (t) => {
  const contentTypes = ['application/json', 'multipart/form-data'];
  const refused = { code: 'unsupported_media_type' };
  const form = 'multipart/form-data; boundary=x';
  t.match(await inspected({ contentTypes }, { body: 'x', type: form }), { kind: 'stream' });
  await t.rejects(inspected({ contentTypes }, { body: 'x', type: 'multipart/form-data' }), refused);
  await t.rejects(inspected({ contentTypes }, { body: 'x', type: 'text/plain' }), refused);
  await t.rejects(inspected({ contentTypes }, { body: 'x' }), refused);
  const one = { ...json, contentTypes: ['application/merge-patch+json'] };
  await t.rejects(inspected(one, { body: '{}', type }), refused);
  await t.rejects(inspected(json, { body: '{}', type: 'application/json; charset=utf-16' }), refused);
});

t.test('a schema is met, by a body that is there', async (t) => {
  const schema = compileBodySchema('{"type":"object","required":["name"]}');
  const inspection = new Inspection({ bounds: plainJson.limits, rules: plainJson.rules, schema });
  t.match(await inspected({ inspection }, { body: '{"name":1}', type }), { kind: 'whole' });
  await t.rejects(inspected({ inspection }, { body: '{}', type }), {
    code: 'validation_failed',
    status: 422,
  });
  await t.rejects(inspected({ inspection }, {}), { code: 'malformed_body' });
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
