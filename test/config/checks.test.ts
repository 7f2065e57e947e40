import t from 'tap';
import { least, linesOf, parse, routed } from './reading.ts';

const strong = 'Kq3vT8xZp1LmW5nB7yRd0cFhJ2gSaUeQ';

const route = (fields: string) => `  - { upstream: registry, permission: read, class: read, ${fields} }\n`;

t.test('a target bound that the head could never hold is told', async (t) => {
  t.strictSame(linesOf(`${least}listen: { limits: { header_bytes: 4KiB } }\n`), [
    '9:19 listen.limits.target_bytes: is no less than listen.limits.header_bytes, which includes it. Write a smaller one.',
  ]);
});

t.test('a route that names nothing is told with the nearest name, or with all of them', async (t) => {
  const source = `${routed}  - { path: /a, upstream: registy, permission: read, class: raed }
  - { path: /b, upstream: elsewhere, permission: read, class: nightly }
`;
  t.strictSame(linesOf(source), [
    '11:27 routes.0.upstream: there is no upstream "registy". Did you mean registry?',
    '11:61 routes.0.class: there is no class "raed". Did you mean read?',
    '12:27 routes.1.upstream: there is no upstream "elsewhere". Write registry, or add it under upstreams.',
    '12:63 routes.1.class: there is no class "nightly". Write public, read, write or admin, or add it under rate_limits.classes.',
  ]);
});

t.test('a name that came from a variable is not shown', async (t) => {
  const lines = linesOf(`${routed}  - { path: /a, upstream: "\${UP}", permission: read, class: read }\n`, {
    UP: 'hunter2',
  });
  t.strictSame(lines, [
    '11:27 routes.0.upstream: there is no upstream of this name (the value comes from UP). Write registry, or add it under upstreams.',
  ]);
});

t.test('a name like one on the prototype of objects is unknown like any other', async (t) => {
  t.match(linesOf(`${routed}  - { path: /a, upstream: constructor, permission: read, class: valueof }\n`), [
    /there is no upstream "constructor"/,
    /there is no class "valueof"/,
  ]);
});

t.test('two routes for one path and method are told at the second', async (t) => {
  const alike = (first: string, second: string) =>
    linesOf(routed + route(`path: /a${first}`) + route(`path: /a${second}`));
  const said = (method: string) => [
    `12:64 routes.1.path: is the same path as routes.0 on line 11, which takes ${method} already. Give each of them methods of its own, or remove one.`,
  ];
  t.strictSame(alike(', methods: [GET, HEAD]', ', methods: [POST, HEAD]'), said('HEAD'));
  t.strictSame(alike('', ', methods: [POST]'), said('every method'));
  t.strictSame(alike(', methods: [POST]', ''), said('POST'));
  t.strictSame(alike('', ''), said('every method'));
  t.strictSame(alike(', methods: [GET]', ', methods: [POST]'), []);
  t.strictSame(alike('', '/*'), [], 'the most specific wins, so these two are not alike');
});

t.test('a method given twice is told', async (t) => {
  t.strictSame(linesOf(routed + route('path: /a, methods: [GET, GET]')), [
    '11:77 routes.0.methods: has GET twice. Write it once.',
  ]);
});

/** Paths that no request could ever have, and what is said of them. */
const unreachable: ReadonlyArray<readonly [path: string, said: string]> = [
  ['tools', 'does not start with /. Write a path such as /tools or /tools/*.'],
  ['//tools', 'has an empty segment (//), and such requests are refused. Write a single /.'],
  ['/a//b', 'has an empty segment (//), and such requests are refused. Write a single /.'],
  ['/a/../b', 'has a segment . or .., and such requests are refused. Write the path that is meant.'],
  ['/a/.', 'has a segment . or .., and such requests are refused. Write the path that is meant.'],
  [
    '/a;x/b',
    'has a ; and such requests are refused, since servers differ on what follows it. Write the path without it.',
  ],
  ['/a%2fb', 'has a percent-escape, which is never matched. Write the part before it, and end it with /*.'],
  ['/a\\b', 'has a backslash, and such requests are refused. Write /.'],
  [
    '/a?b=c',
    'has a query or a fragment, which are no part of a path. Write the path without ? and # and what follows them.',
  ],
  [
    '/a#b',
    'has a query or a fragment, which are no part of a path. Write the path without ? and # and what follows them.',
  ],
  [
    '/tools*',
    'has a * that is not a last segment of its own. Write /* at the end, as in /tools/*; it spans segments.',
  ],
  [
    '/*/tools',
    'has a * that is not a last segment of its own. Write /* at the end, as in /tools/*; it spans segments.',
  ],
  [
    '/tools/{id}',
    'has a parameter; the part that varies is not named here. Write the part before it, and end it with /*.',
  ],
  [
    '/tools/:id',
    'has a parameter; the part that varies is not named here. Write the part before it, and end it with /*.',
  ],
  ['/é', 'has a character that never stands in a request. Write the part before it, and end it with /*.'],
];

for (const [path, said] of unreachable) {
  t.test(`a route for ${path} is refused`, async (t) => {
    t.strictSame(linesOf(routed + route(`path: '${path}'`)), [`11:64 routes.0.path: ${said}`]);
  });
}

t.test('paths that requests do have are taken', async (t) => {
  for (const path of ['/', '/*', '/tools', '/tools/', '/tools/*', "/a.b/c-d_e~f/!$&'()+,=@"]) {
    t.strictSame(linesOf(routed + route(`path: "${path}"`)), [], path);
  }
});

t.test('a large body is not inspected', async (t) => {
  t.strictSame(linesOf(routed + route('path: /a, inspect: json, max_body: 1GiB')), [
    '11:93 routes.0.max_body: is too large for a body that is inspected, since it is held in memory. Write at most 16MiB, or inspect: none.',
  ]);
});

t.test("the classes that the gateway's own endpoints need must be there", async (t) => {
  const source = (classes: string, identity: boolean) =>
    `version: 1\nrate_limits:\n  classes: ${classes}\naudit: { sinks: [{ type: file, path: a }] }\nendpoints: { identity: ${identity} }\n`;
  t.strictSame(linesOf(source('{ read: { rate: 60/minute } }', true)), [
    '3:12 rate_limits.classes: the class public is missing: unknown paths and public endpoints take from it. Add public: { rate: 60/minute }.',
    '3:12 rate_limits.classes: the class write is missing: /auth/logout and /auth/change-password take from it. Add write: { rate: 60/minute }.',
    '3:12 rate_limits.classes: the class admin is missing: the endpoints under /admin take from it. Add admin: { rate: 60/minute }.',
  ]);
  t.strictSame(linesOf(source('{ public: { rate: 60/minute } }', false)), []);
});

t.test('a route does not take the paths where the gateway answers itself', async (t) => {
  for (const path of [
    '/auth/login',
    '/auth/*',
    '/admin/*',
    '/.well-known/jwks.json',
    '/docs',
    '/docs/*',
    '/openapi.json',
    '/health',
  ]) {
    t.match(
      linesOf(routed + route(`path: ${path}`)),
      [/^11:64 routes\.0\.path: is where the gateway answers itself\. Write another path, /],
      path,
    );
  }
  for (const path of ['/*', '/.well-known/*', '/authors', '/docs.html', '/healthy']) {
    t.strictSame(linesOf(routed + route(`path: ${path}`)), [], path);
  }
});

t.test('endpoints that are off, or behind a prefix, leave their paths to routes', async (t) => {
  t.strictSame(linesOf(`${routed}${route('path: /health')}endpoints: { health: false }\n`), []);
  t.strictSame(linesOf(`${routed}${route('path: /health')}endpoints: { prefix: /gateway }\n`), []);
  t.strictSame(linesOf(`${routed}${route('path: /gateway/health')}endpoints: { prefix: /gateway }\n`), [
    "11:64 routes.0.path: is where the gateway answers itself. Write another path, move the gateway's with endpoints.prefix, or turn endpoints.health off.",
  ]);
});

/** Secrets that anyone can try, or guess. */
const weak: ReadonlyArray<readonly [secret: string, fault: string]> = [
  ['short', 'is shorter than 32 bytes'],
  ['your-super-secret-key-change-this', 'is a published default that anyone can try'],
  ['your-production-secret-key', 'is a published default that anyone can try'],
  ['changeme-changeme-changeme-changeme', 'is a published default that anyone can try'],
  ['mcp_-tn1XqqtdGub5NAzzn_qSoLrvJv9gmMwB0y-kfLDsak', 'is a published default that anyone can try'],
  ['secretsecretsecretsecretsecretsecret', 'repeats itself and can be guessed'],
  ['a'.repeat(64), 'repeats itself and can be guessed'],
  ['1234567890123456789012345678901234567890', 'repeats itself and can be guessed'],
  ['abcabbacabcbacabcbabcabcbacbabacbabcb', 'repeats itself and can be guessed'],
];

for (const [secret, fault] of weak) {
  t.test(`a secret that ${fault}: ${secret.slice(0, 20)}`, async (t) => {
    t.strictSame(linesOf(`${least}auth: { tokens: { secrets: ["${secret}"] } }\n`), [
      `9:29 auth.tokens.secrets.0: ${fault}. Write one made by: openssl rand -base64 48`,
    ]);
    t.strictSame(linesOf(`${least}auth: { api_keys: { hmac_keys: ["\${KEY}"] } }\n`, { KEY: secret }), [
      `9:33 auth.api_keys.hmac_keys.0: ${fault} (the value comes from KEY). Write one made by: openssl rand -base64 48`,
    ]);
  });
}

t.test('a secret stands once, and for one purpose', async (t) => {
  t.strictSame(
    linesOf(
      `${least}auth:\n  tokens: { secrets: [${strong}, ${strong}] }\n  api_keys: { hmac_keys: ["${strong}"] }\n`,
    ),
    [
      '10:57 auth.tokens.secrets.1: is the same secret as one above it. Write one made by: openssl rand -base64 48',
      '11:27 auth.api_keys.hmac_keys.0: is the same secret as one above it. Write one made by: openssl rand -base64 48',
    ],
  );
});

t.test('strong secrets are taken, and empty ones do not count', async (t) => {
  t.strictSame(linesOf(`${least}auth: { tokens: { secrets: ["", "", ${strong}] } }\n`), []);
});

t.test('an access token does not outlive its refresh token', async (t) => {
  t.strictSame(linesOf(`${least}auth: { tokens: { access_lifetime: 2h, refresh_lifetime: 1h } }\n`), [
    '9:36 auth.tokens.access_lifetime: is longer than auth.tokens.refresh_lifetime. Write a shorter one, such as 30m.',
  ]);
});

t.test('a lock grows, and one address alone does not slow down all others', async (t) => {
  t.strictSame(linesOf(`${least}auth: { lockout: { first: 2h, longest: 1h } }\n`), [
    '9:27 auth.lockout.first: is longer than auth.lockout.longest. Write a shorter one.',
  ]);
  const equal = 'one_address: { rate: 10/hour }, all_addresses: { rate: 10/hour }';
  t.strictSame(linesOf(`${least}auth: { lockout: { ${equal} } }\n`), [
    '9:67 auth.lockout.all_addresses: is no more than auth.lockout.one_address: one address could slow down all others. Write a higher rate, such as 50/hour.',
  ]);
});

t.test('the head of a request has no more time than the whole of it', async (t) => {
  t.strictSame(linesOf(`${least}listen: { timeouts: { request: 5s } }\n`), [
    '9:21 listen.timeouts.headers: is longer than listen.timeouts.request, which includes it. Write a shorter one, or a longer request.',
  ]);
});

t.test('traffic and operations do not share an address', async (t) => {
  const said = ['10:38 operations.port: is the port that traffic listens on. Write another, such as 9464.'];
  const shared = (host: string, port: number) =>
    linesOf(
      `${least}listen: { host: ${host}, port: ${port} }\noperations: { host: 127.0.0.1, port: ${port} }\n`,
    );
  t.strictSame(shared('127.0.0.1', 8000), said);
  t.strictSame(shared('0.0.0.0', 8000), said);
  t.strictSame(shared('127.0.0.2', 8000), []);
  t.strictSame(shared('127.0.0.1', 0), [], '0 is any free port');
});

t.test('any origin stands alone', async (t) => {
  t.strictSame(linesOf(`${least}cors: { allowed_origins: "*,https://a.example" }\n`), [
    '9:26 cors.allowed_origins: has * beside other origins, which then mean nothing. Write the origins alone, or * alone.',
  ]);
  t.strictSame(linesOf(`${least}cors: { allowed_origins: "*" }\n`), []);
});

t.test('only security headers are set here', async (t) => {
  const source = `${least}headers:\n  set:\n    Transfer-Encoding: chunked\n    X-Frame-Option: DENY\n    x-frame-options: DENY\n    X-Frame-Options: ""\n`;
  t.strictSame(linesOf(source), [
    '11:5 headers.set.Transfer-Encoding: is not a security header. Write one of X-Content-Type-Options, X-Frame-Options, X-XSS-Protection, Strict-Transport-Security, Referrer-Policy, Permissions-Policy or Content-Security-Policy.',
    '12:5 headers.set.X-Frame-Option: is not a security header. Did you mean X-Frame-Options?',
    '14:5 headers.set.X-Frame-Options: is set twice, in another case. Remove one of the two.',
  ]);
});

t.test('all problems are told at once, in the order of the file, whatever kind they are', async (t) => {
  const source = `version: 1
version: 1
listen: { port: "\${PORT}", hots: a, timeouts: { headers: 2m } }
rate_limits: { classes: { public: { rate: fast } } }
audit: { sinks: [{ type: file, path: a }] }
upstreams: { registry: { url: ftp://x } }
routes:
  - { path: /a, upstream: registry, permission: read }
  - { path: /b/../c, upstream: registri, permission: read, class: public }
  - { path: /health, upstream: registry, permission: none, class: pulbic }
endpoints: { identity: false }
`;
  t.match(linesOf(source), [
    /^2:1 version: is given twice/,
    /^3:17 listen\.port: the variable PORT is not set/,
    /^3:28 listen\.hots: is not a key here\. Did you mean host\?/,
    /^4:43 rate_limits\.classes\.public\.rate: must be a rate /,
    /^6:31 upstreams\.registry\.url: must be a URL /,
    /^8:5 routes\.0\.class: is missing/,
    /^9:13 routes\.1\.path: has a segment \. or \.\./,
    /^9:32 routes\.1\.upstream: there is no upstream "registri"\. Did you mean registry\?/,
    /^10:13 routes\.2\.path: is where the gateway answers itself/,
    /^10:67 routes\.2\.class: there is no class "pulbic"\. Did you mean public\?/,
  ]);
});

t.test('what is allowed and yet worth a second look is a warning', async (t) => {
  const { warnings } = parse(`${routed}  - { path: /a, upstream: registry, permission: none, class: public }
  - { path: /b, methods: [GET], upstream: registry, permission: none, class: public, forward_credentials: true }
listen: { host: 0.0.0.0 }
`);
  t.strictSame(
    warnings.map(({ line, column, path, message }) => `${line}:${column} ${path}: ${message}`),
    [
      '11:49 routes.0.permission: anyone may change things here without a credential',
      "12:107 routes.1.forward_credentials: the upstream sees its callers' credentials",
      '13:17 listen.host: credentials reach this address without TLS',
    ],
  );
});

t.test('a shared database needs the secrets that an embedded one has generated', async (t) => {
  const yaml = `${least}database: postgres://u:hunter2@db/p\nauth: { tokens: { secrets: ["\${SECRET_KEY:-}"] } }\n`;
  t.strictSame(linesOf(yaml), [
    '10:7 auth.api_keys.hmac_keys: is empty, and PostgreSQL is shared: nothing is generated beside it. Set API_KEY_HMAC_KEY, or write one made by: openssl rand -base64 48',
    '10:28 auth.tokens.secrets: is empty, and PostgreSQL is shared: nothing is generated beside it. Set SECRET_KEY, or write one made by: openssl rand -base64 48',
  ]);
  const given = `auth: { tokens: { secrets: [${strong}] }, api_keys: { hmac_keys: [Z${strong}] } }\n`;
  t.strictSame(linesOf(`${least}database: postgres://u:hunter2@db/p\n${given}`), []);
});

t.test('a secret of the tracing endpoint that crosses a network without TLS is a warning', async (t) => {
  const warnings = (endpoint: string, headers: string) =>
    parse(`${least}tracing: { endpoint: "${endpoint}", headers: ${headers} }\n`).warnings.map(
      ({ line, column, path, message }) => `${line}:${column} ${path}: ${message}`,
    );
  t.strictSame(warnings('http://collector:4318', '{ Authorization: hunter2 }'), [
    '9:22 tracing.endpoint: the headers reach this address without TLS',
  ]);
  for (const endpoint of ['https://collector', 'http://127.0.0.1:4318', 'http://[::1]:4318', ''])
    t.strictSame(warnings(endpoint, '{ Authorization: hunter2 }'), [], endpoint);
  t.strictSame(warnings('http://collector:4318', '{ Authorization: "" }'), []);
});

t.test('a database that is reached without TLS is warned of, unless it is on this machine', async (t) => {
  const secrets = `auth: { tokens: { secrets: [${strong}] }, api_keys: { hmac_keys: [Z${strong}] } }\n`;
  const warnings = (url: string) =>
    parse(`${least}database: ${url}\n${secrets}`).warnings.map(({ path }) => path);
  t.strictSame(warnings('postgres://u@db.example/p'), ['database']);
  t.strictSame(warnings('postgres://u@db.example/p?sslmode=verify-full'), []);
  for (const local of ['localhost', '127.0.0.1', '[::1]', '%2Frun%2Fpostgresql']) {
    t.strictSame(warnings(`postgres://u@${local}/p`), [], local);
  }
});

t.test('what is wrong with a database URL is told without a word of it', async (t) => {
  for (const [url, fault] of [
    ['postgres://u:hunter2@db', /names no database/],
    ['postgres://db/p', /names no user/],
    ['postgres://u:hunter2@/p', /names no host/],
    ['postgres://u:hun/ter2@db/p', /is not a PostgreSQL URL of one host.*%2F/],
    ['postgres://u:hun@ter2@db/p', /is not a PostgreSQL URL of one host/],
    ['postgres://u:hunter2@a,b/p', /is not a PostgreSQL URL of one host/],
    ['postgres://u:hunter2@db:99999/p', /has a port that is none/],
    ['postgres://u:hunter2@db/p?sslmode=prefer', /give way to whoever stands in between.*verify-full/],
    ['postgres://u:hunter2@db/p?ssl=true', /parameter that is not known/],
    ['postgres://u:hunter2@db/p?sslrootcert=/x', /names certificates and does not use TLS/],
  ] as const) {
    const [line = ''] = linesOf(`${least}database: "\${URL}"\n`, { URL: url }).filter((one) =>
      / database: /.test(one),
    );
    t.match(line, fault);
    t.match(line, /the value comes from URL/);
    t.notMatch(line, /hunter2|hun\b/);
  }
});

t.test('an upstream that has the name of the tokens’ audience gets no assertions', async (t) => {
  const named = routed.replaceAll('registry', 'tool-registry');
  const line = (more: string) =>
    linesOf(`${named}  - { path: /a, upstream: tool-registry, permission: read, class: read${more} }\n`);
  t.match(line(', assertion: true'), [
    /routes\.0\.upstream: is also auth\.tokens\.audience.*Give the upstream another name/,
  ]);
  t.strictSame(line(''), []);
});

t.test('a route for WebSockets without GET is told', async (t) => {
  t.strictSame(linesOf(routed + route('path: /a, methods: [POST], websocket: true')), [
    '11:96 routes.0.websocket: is on a route without GET, and every WebSocket begins with one. Add GET to methods, or remove websocket.',
  ]);
  t.strictSame(linesOf(routed + route('path: /a, methods: [GET, POST], websocket: true')), []);
  t.strictSame(linesOf(routed + route('path: /a, websocket: true, stream_idle: 10m')), []);
});
