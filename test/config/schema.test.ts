import t from 'tap';
import { rateClassOf } from '../../src/config/schema.ts';
import { least, linesOf, parse, routed } from './reading.ts';

t.test('a misspelt key is told at the key, with the one that was meant', async (t) => {
  t.strictSame(linesOf(`${least}listen:\n  prot: 80\n  trusted-proxies: []\n`), [
    '10:3 listen.prot: is not a key here. Did you mean port?',
    '11:3 listen.trusted-proxies: is not a key here. Did you mean trusted_proxies?',
  ]);
  t.strictSame(
    linesOf(
      `${routed}  - { path: /a, upstream: registry, premission: read, permission: read, class: read }\n`,
    ),
    ['11:37 routes.0.premission: is not a key here. Did you mean permission?'],
  );
  t.strictSame(linesOf(`${least}log: { colour: red }\n`), [
    '9:8 log.colour: is not a key here. Remove it; the keys here: level.',
  ]);
  t.strictSame(
    linesOf(`${least}constructor: 1\n`).map((line) => line.slice(0, 40)),
    ['9:1 constructor: is not a key here. Remo'],
  );
});

t.test('a key with control characters does not reach the terminal', async (t) => {
  t.match(linesOf(`${least}"\\e[31mred": 1\n`)[0], /^9:1 "\\u001b\[31mred": is not a key here/);
});

t.test('a missing key is told at the map that lacks it, with what to write', async (t) => {
  t.strictSame(linesOf(`${routed}  - { path: /a, upstream: registry }\n`), [
    '11:5 routes.0.permission: is missing. Write one of create, read, update, delete, admin, any or none (any is any verified caller, none makes the route public).',
    '11:5 routes.0.class: is missing. Write a name of 1 to 63 of a-z, 0-9, _ and -, starting with a letter.',
  ]);
  t.match(linesOf('log: {}\n'), [
    /^1:1 version: is missing\. Write 1\.$/,
    /^1:1 rate_limits: is missing\. Write a map with the keys redis, replicas, deadline, classes\.$/,
    /^1:1 audit: is missing\. Write a map with the keys sinks, readers, signing_key, .*\.$/,
  ]);
});

t.test('an empty key is told at the key', async (t) => {
  t.strictSame(linesOf(`${least}endpoints:\nlog:\n  level:\n`), [
    '9:1 endpoints: is empty. Write a map with the keys prefix, identity, docs, health.',
    '11:3 log.level: is empty. Write one of fatal, error, warn, info, debug or silent.',
  ]);
});

/** One value that is wrong, at line 9: what is said of it. */
const endpointSaid =
  'must be empty, or a URL such as http://127.0.0.1:4318, without credentials, query or fragment (OTLP over HTTP, not gRPC)';
const wrong: ReadonlyArray<readonly [yaml: string, said: string]> = [
  ['tracing: { endpoint: collector:4317 }', `9:22 tracing.endpoint: ${endpointSaid}`],
  ['tracing: { endpoint: "http://me:hunter2@c" }', `9:22 tracing.endpoint: ${endpointSaid}`],
  ['tracing: { endpoint: "http://c/?key=1" }', `9:22 tracing.endpoint: ${endpointSaid}`],
  ['tracing: { sample_ratio: 1.5 }', '9:26 tracing.sample_ratio: must be a number from 0 to 1 such as 0.1'],
  ['tracing: { sample_ratio: "" }', '9:26 tracing.sample_ratio: must be a number from 0 to 1 such as 0.1'],
  [
    'tracing: { headers: { A: ü } }',
    '9:26 tracing.headers.A: must be the value of a header, in printable ASCII',
  ],
  [
    'listen: 80',
    '9:9 listen: must be a map with the keys host, port, tls, trusted_proxies, timeouts, limits, drain',
  ],
  [
    'listen: { host: "a b" }',
    '9:17 listen.host: must be a host or address such as 127.0.0.1, without a port',
  ],
  ['listen: { port: 1.5 }', '9:17 listen.port: must be a whole number from 0 to 65535'],
  ['listen: { port: -1 }', '9:17 listen.port: must be a whole number from 0 to 65535'],
  ['listen: { port: [1] }', '9:17 listen.port: must be a whole number from 0 to 65535'],
  [
    'listen: { trusted_proxies: [10.0.0.0/8, 0.0.0.0/0] }',
    '9:41 listen.trusted_proxies.1: must be an address or network such as 10.0.0.0/8 or fd00::/8, not of length 0',
  ],
  [
    'listen: { trusted_proxies: [nginx] }',
    '9:29 listen.trusted_proxies.0: must be an address or network such as 10.0.0.0/8 or fd00::/8, not of length 0',
  ],
  [
    'listen: { timeouts: { idle: 30 } }',
    '9:29 listen.timeouts.idle: must be a duration from 100ms to 1h, written like 30s (ms, s, m, h, d)',
  ],
  [
    'listen: { timeouts: { idle: 30sec } }',
    '9:29 listen.timeouts.idle: must be a duration from 100ms to 1h, written like 30s (ms, s, m, h, d)',
  ],
  [
    'listen: { timeouts: { idle: 2h } }',
    '9:29 listen.timeouts.idle: must be a duration from 100ms to 1h, written like 30s (ms, s, m, h, d)',
  ],
  [
    'auth: { passwords: { memory: 19MB } }',
    '9:30 auth.passwords.memory: must be a size from 128KiB to 1GiB, written like 64KiB (B, KiB, MiB, GiB)',
  ],
  [
    'auth: { lockout: { new_address_wait: 1h } }',
    '9:38 auth.lockout.new_address_wait: must be a duration from 1s to 10m, written like 30s (ms, s, m, h, d)',
  ],
  [
    'auth: { failures: { rate: 30/min } }',
    '9:27 auth.failures.rate: must be a rate from 1 to 1000000 per second, minute, hour or day, written like 60/minute',
  ],
  [
    'auth: { failures: { rate: 999997/day } }',
    '9:19 auth.failures: must be a rate with a burst of at most 52124, to be counted exactly',
  ],
  [
    'auth: { api_keys: { prefix: MCP } }',
    '9:29 auth.api_keys.prefix: must be 2 to 15 of a-z and 0-9, then _, such as mcp_',
  ],
  [
    'auth: { tokens: { secrets: abc } }',
    '9:28 auth.tokens.secrets: must be a list of up to 8 secrets, of which the first is the newest',
  ],
  ['endpoints: { docs: yes }', '9:20 endpoints.docs: must be true or false'],
  ['endpoints: { prefix: gateway/ }', '9:22 endpoints.prefix: must be / or a path such as /gateway'],
  ['log: { level: loud }', '9:15 log.level: must be one of fatal, error, warn, info, debug or silent'],
  ['routes: {}', '9:9 routes: must be a list of routes'],
  [
    'upstreams: { Registry: { url: "http://a" } }',
    '9:14 upstreams.Registry: must be a name of 1 to 63 of a-z, 0-9, _ and -, starting with a letter',
  ],
  [
    'upstreams: { a: { url: "http://a/x" } }',
    '9:24 upstreams.a.url: must be a URL such as http://127.0.0.1:8081 or unix:/run/app/app.sock, without a path (https is not in this version)',
  ],
  [
    'cors: { allowed_origins: [https://a.example/] }',
    '9:26 cors.allowed_origins: must be a list, or one text with commas, each item an origin such as https://app.example.com, without a path, or *',
  ],
  [
    'headers: { set: { X-Frame-Options: 1 } }',
    '9:36 headers.set.X-Frame-Options: must be the value of a header',
  ],
];

for (const [yaml, said] of wrong) {
  t.test(`wrong: ${yaml}`, async (t) => t.strictSame(linesOf(`${least}${yaml}\n`), [said]));
}

/** What the design names and this version does not do: told, never skipped in silence. */
t.test('an upstream has url or urls, and no address twice', async (t) => {
  const said = (keys: string) => linesOf(`${least}upstreams: { a: { ${keys} } }\n`);
  t.match(said('connections: 1'), [/^9:\d+ upstreams\.a: must be a map with either url or urls/]);
  t.match(said('url: "http://a", urls: ["http://b"]'), [/either url or urls/]);
  t.match(said('urls: ["http://a", "http://a"]'), [
    /upstreams\.a\.urls: must be a list of 1 to 32 URLs, none of them twice/,
  ]);
  t.strictSame(said('urls: ["http://a", "unix:/b"], health: { path: /health }'), []);
  t.match(said('url: "http://a", health: {}'), [/health\.path/]);
});

const notYet: ReadonlyArray<readonly [yaml: string, said: RegExp]> = [
  ['workers: 33', /^9:10 workers: must be a whole number from 1 to 32/],
  [
    'database: mysql://x',
    /^9:11 database: is neither a SQLite nor a PostgreSQL URL\. Write one such as sqlite:/,
  ],
];

for (const [yaml, said] of notYet) {
  t.test(`not in this version: ${yaml}`, async (t) => {
    const lines = linesOf(`${least}${yaml}\n`);
    t.match(lines, [said]);
    t.notMatch(lines.join(), 'hunter2');
  });
}

t.test('what cannot be a Redis, or a number of replicas, is told with its place', async (t) => {
  const told = (written: string) =>
    linesOf(
      `version: 1\nrate_limits:\n  ${written}\n  classes: { public: { rate: 1/second } }\naudit: { sinks: [{ type: file, path: a }] }\nendpoints: { identity: false }\n`,
    );
  t.strictSame(told('redis: redis://:hunter2@127.0.0.1:6379/1'), []);
  t.strictSame(told('replicas: 10000'), []);
  t.match(told('redis: http://x:hunter2@y'), [
    /^3:10 rate_limits\.redis: is not a Redis URL\. Write one such as/,
  ]);
  t.match(told('redis: redis+sentinel://h1,h2'), [/^3:10 .*does not say which master.*h1,h2\/mymaster/]);
  t.match(told('redis: 7'), [/^3:10 rate_limits\.redis: must be a URL such as redis:/]);
  for (const replicas of ['0', '10001', '1.5', '-1'])
    t.strictSame(told(`replicas: ${replicas}`), [
      '3:13 rate_limits.replicas: must be a whole number from 1 to 10000',
    ]);
  t.strictSame(told('deadline: 1s'), []);
  for (const deadline of ['0ms', '2s', '50'])
    t.match(told(`deadline: ${deadline}`), [
      /^3:13 rate_limits\.deadline: must be a duration from 5ms to 1s/,
    ]);
});

t.test('a class says who decides while Redis is away; a bucket that no Redis holds cannot', async (t) => {
  const policy = (word: string) =>
    linesOf(`${least.replace(/(read: \{ rate: [^,}]+)/, `$1, when_redis_is_away: ${word}`)}`);
  for (const word of ['local', 'closed', 'open']) t.strictSame(policy(word), []);
  t.match(policy('never'), [/when_redis_is_away: must be one of local, closed or open/]);
  t.match(linesOf(`${least}auth: { failures: { rate: 5/minute, when_redis_is_away: open } }\n`), [
    /auth\.failures\.when_redis_is_away: is not a key here/,
  ]);
});

for (const rate of [
  '0/minute',
  '-1/minute',
  '1e308/minute',
  '1000001/second',
  '60/fortnight',
  '1.5/second',
  '""',
])
  t.test(`no rate: ${rate}`, async (t) => {
    const lines = linesOf(least.replace(/(read: \{ rate: )[^,} ]+/, `$1${rate}`));
    t.match(lines, [/^\d+:\d+ rate_limits\.classes\.read\.rate: must be a rate from 1 to 1000000/]);
  });

t.test('the forms without effect that the design ships are taken', async (t) => {
  const source = `version: 1
auth: { issuers: [], staleness_max: 2m }
rate_limits:
  redis: ""
  replicas: 1
  classes: { public: { rate: 100/minute, when_redis_is_away: local } }
audit: { sinks: [{ type: file, path: audit.log }] }
endpoints: { identity: false }
workers: 1
`;
  t.strictSame(linesOf(source), []);
});

t.test('units become numbers', async (t) => {
  const { config } = parse(
    `${routed}  - { path: /a, upstream: registry, permission: read, class: read, max_body: 1MiB }\nlisten: { timeouts: { headers: 250ms, request: 2m } }\nauth: { failures: { rate: 1000/second, burst: 5 } }\n`,
  );
  t.match(config.listen.timeouts, { headers: 250, request: 120_000 });
  t.equal(config.routes[0]?.max_body, 1_048_576);
  t.strictSame(config.auth.failures, { capacity: 5, refillUnits: 1, refillPeriodUs: 1_000 });
});

t.test('a class is found by its own name only', async (t) => {
  const { config } = parse(least);
  t.strictSame(rateClassOf(config, 'read'), {
    name: 'read',
    capacity: 60,
    refillUnits: 1,
    refillPeriodUs: 1_000_000,
    partition: 'principal',
  });
  t.equal(rateClassOf(config, 'constructor'), undefined);
  t.equal(rateClassOf(config, 'raed'), undefined);
});

t.test('origins are a list or one text with commas', async (t) => {
  const origins = (value: string) =>
    parse(`${least}cors: { allowed_origins: ${value} }\n`).config.cors.allowed_origins;
  t.strictSame(origins('"https://a.example, https://b.example:8443"'), [
    'https://a.example',
    'https://b.example:8443',
  ]);
  t.strictSame(origins('["https://a.example"]'), ['https://a.example']);
  t.strictSame(origins('""'), []);
});

t.test('how much is remembered, and how long it is believed, have bounds', async (t) => {
  const told = (auth: string) =>
    linesOf(
      `version: 1\nauth: { ${auth} }\nrate_limits: { classes: { public: { rate: 1/second } } }\naudit: { sinks: [{ type: file, path: a }] }\nendpoints: { identity: false }\n`,
    );
  t.strictSame(told('cache: { entries: 1 }, staleness_max: 3s'), []);
  t.strictSame(told('cache: { entries: 0 }'), [
    '2:27 auth.cache.entries: must be a whole number from 1 to 1000000',
  ]);
  t.match(told('staleness_max: 2s'), [/^2:24 auth\.staleness_max: must be a duration from 3s to 1d/]);
});

t.test('without a database, what leans on one is told', async (t) => {
  const yaml = (auth: string, route: string, identity: boolean) => `version: 1
database: none
auth: { ${auth} }
rate_limits: { classes: { public: &r { rate: 1/second }, read: *r, write: *r, admin: *r } }
audit: { sinks: [{ type: file, path: a }] }
upstreams: { app: { url: "http://127.0.0.1:1" } }
routes: [{ path: /x, upstream: app, permission: read, class: read${route} }]
endpoints: { identity: ${identity} }
`;
  const issuer =
    'issuers: [{ name: corp, issuer: "https://x.example", audience: a, jwks_uri: "https://x.example/k", permissions: { grant: [read] } }]';
  t.strictSame(linesOf(yaml(issuer, '', false)), []);
  t.match(linesOf(yaml('issuers: []', ', assertion: true', true)), [
    /^3:\d+ auth\.issuers: is empty/,
    /^7:\d+ routes\.0\.assertion: asks for a signature/,
    /^8:\d+ endpoints\.identity: is on/,
  ]);
});
