import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Ajv2020 } from 'ajv/dist/2020.js';
import fc from 'fast-check';
import t from 'tap';
import { parse as parseYaml } from 'yaml';
import { gatewayJsonSchema } from '../../src/config/json-schema.ts';
import { loadConfig } from '../../src/config/load.ts';
import { ConfigError } from '../../src/config/problem.ts';
import { least, parse } from './reading.ts';

const shippedPath = join(import.meta.dirname, '../../gateway.yaml');
const shipped = readFileSync(shippedPath, 'utf8');

/** The skeleton of the design, word for word where it is configuration. */
const skeleton = `version: 1
listen: { host: "\${LISTEN_HOST:-127.0.0.1}", port: "\${PORT:-8000}" }  # tls: { cert, key, client_ca }, trusted_proxies: [], timeouts, limits
operations: { host: "\${OPERATIONS_HOST:-127.0.0.1}", port: "\${OPERATIONS_PORT:-9464}" }
database: \${DATABASE_URL:-sqlite:./data/portcullis.db}               # sqlite:///./x.db is accepted as well
auth:
  tokens: { secrets: ["\${SECRET_KEY:-}"], issuer: portcullis, audience: tool-registry, access_lifetime: 30m, refresh_lifetime: 7d }
  issuers: []
  api_keys: { prefix: mcp_ }
  staleness_max: 2m
rate_limits:
  redis: \${REDIS_URL:-}      # redis:// rediss:// redis+sentinel://h1,h2/master redis+cluster://h1,h2
  replicas: 1                # the declared number, for \`local\`
  classes:
    public: { rate: 100/minute }
    read: { rate: "\${REQUESTS_PER_MINUTE:-60}/minute" }
    write: { rate: 20/minute }
    admin: { rate: 10/minute }
    delete: { rate: 10/minute }                                      # when_redis_is_away: local (default) | closed | open
audit:
  sinks:
    - { type: file, path: "\${AUDIT_LOG_FILE:-audit.log}" }
upstreams:
  registry: { url: "\${REGISTRY_URL:-http://127.0.0.1:8081}" }        # or unix:/run/app/app.sock; timeouts, connections
routes:
  - { path: /tools, methods: [GET, HEAD], upstream: registry, permission: read, class: read }
  - { path: /tools/*, methods: [GET, HEAD], upstream: registry, permission: read, class: read }
  # … create, update, delete; no methods means any; permission: none makes a route public; /* is the catch-all
endpoints: { prefix: /, identity: true, docs: true, health: true }   # each can be off; a sidecar that only verifies has all off
log: { level: info }                                                 # pino, JSON on standard error; standard output is the audit's
`;

t.test('the shipped gateway.yaml holds the defaults of the design', async (t) => {
  const { config, warnings, digest } = loadConfig({ path: shippedPath, env: {} });
  t.strictSame(warnings, []);
  t.match(digest, /^[0-9a-f]{16}$/);
  t.match(config, {
    listen: { host: '127.0.0.1', port: 8000 },
    operations: { host: '127.0.0.1', port: 9464 },
    database: 'sqlite:./data/portcullis.db',
    auth: {
      tokens: {
        secrets: [''],
        issuer: 'portcullis',
        audience: 'tool-registry',
        access_lifetime: 30 * 60_000,
        refresh_lifetime: 7 * 86_400_000,
      },
      api_keys: { prefix: 'mcp_' },
      passwords: { memory: 19 * 1024 ** 2, iterations: 2, parallelism: 1 },
    },
    audit: { sinks: [{ type: 'file', path: 'audit.log' }] },
    upstreams: { registry: { urls: ['http://127.0.0.1:8081'], openapi: '/openapi.json' } },
    endpoints: { prefix: '/', identity: true, docs: true, health: true },
    cors: { allowed_origins: [] },
    log: { level: 'info' },
  });
  const perMinute = Object.entries(config.rate_limits.classes).map(([name, one]) => [name, one.capacity]);
  t.strictSame(Object.fromEntries(perMinute), { public: 100, read: 60, write: 20, admin: 10, delete: 10 });
});

t.test('the shipped routes are the table of the design', async (t) => {
  const { config } = loadConfig({ path: shippedPath, env: {} });
  t.strictSame(
    config.routes.map((route) => [
      route.methods?.join(),
      route.path,
      route.permission,
      route.class,
      route.inspect,
      route.max_body,
    ]),
    [
      ['GET,HEAD', '/tools', 'read', 'read', 'none', undefined],
      ['GET,HEAD', '/tools/*', 'read', 'read', 'none', undefined],
      ['POST', '/tools', 'create', 'write', 'tools', 262_144],
      ['PUT,PATCH', '/tools/*', 'update', 'write', 'tools', 262_144],
      ['DELETE', '/tools/*', 'delete', 'delete', 'none', undefined],
    ],
  );
});

t.test('every value of an environment is a variable of the shipped file', async (t) => {
  const { config } = loadConfig({
    path: shippedPath,
    env: {
      LISTEN_HOST: '0.0.0.0',
      PORT: '1',
      OPERATIONS_HOST: '127.0.0.2',
      OPERATIONS_PORT: '2',
      DATABASE_URL: 'sqlite:///./mcp_registry.db',
      SECRET_KEY: 'Kq3vT8xZp1LmW5nB7yRd0cFhJ2gSaUeQ',
      API_KEY_HMAC_KEY: 'Zq3vT8xZp1LmW5nB7yRd0cFhJ2gSaUeQ',
      REQUESTS_PER_MINUTE: '3',
      ALLOWED_ORIGINS: 'https://yourdomain.com,https://api.yourdomain.com',
      AUDIT_LOG_FILE: '/var/log/audit.log',
      REGISTRY_URL: 'unix:/run/registry.sock',
      LOG_LEVEL: 'debug',
    },
  });
  t.match(config, {
    listen: { host: '0.0.0.0', port: 1 },
    operations: { host: '127.0.0.2', port: 2 },
    database: 'sqlite:///./mcp_registry.db',
    auth: {
      tokens: { secrets: ['Kq3vT8xZp1LmW5nB7yRd0cFhJ2gSaUeQ'] },
      api_keys: { hmac_keys: ['Zq3vT8xZp1LmW5nB7yRd0cFhJ2gSaUeQ'] },
    },
    rate_limits: { classes: { read: { capacity: 3 } } },
    cors: { allowed_origins: ['https://yourdomain.com', 'https://api.yourdomain.com'] },
    audit: { sinks: [{ path: '/var/log/audit.log' }] },
    upstreams: { registry: { urls: ['unix:/run/registry.sock'] } },
    log: { level: 'debug' },
  });
});

t.test('the skeleton of the design is a configuration', async (t) => {
  t.strictSame(parse(skeleton).warnings, []);
});

t.test('the JSON Schema for editors takes the shipped file, variables and all', async (t) => {
  const validate = new Ajv2020({ strict: false, validateFormats: false }).compile(gatewayJsonSchema());
  t.ok(validate(parseYaml(shipped)), JSON.stringify(validate.errors));
  t.ok(validate(parseYaml(skeleton)), JSON.stringify(validate.errors));
  t.notOk(validate({ ...parseYaml(shipped), lisen: {} }));
});

t.test('a problem is printed as file:line:column: path: what is wrong. What to write', async (t) => {
  const file = join(t.testdir(), 'my.yaml');
  writeFileSync(file, shipped.replace('    permission: create', '    permision: create'));
  const error = t.throws(() => loadConfig({ path: file, env: {} }), ConfigError);
  const at = shipped.slice(0, shipped.indexOf('    permission: create')).split('\n').length;
  t.equal(
    String(error),
    [
      `${file}:${at - 3}:5: routes.2.permission: is missing. Write one of create, read, update, delete, admin, any or none (any is any verified caller, none makes the route public).`,
      `${file}:${at}:5: routes.2.permision: is not a key here. Did you mean permission?`,
    ].join('\n'),
  );
});

t.test('a file that cannot be read is a problem like any other', async (t) => {
  const folder = t.testdir();
  const none = join(folder, 'none.yaml');
  t.throws(() => loadConfig({ path: none, env: {} }), {
    message: `${none}:1:1: cannot be read: there is no such file. Name the file with --config.`,
  });
  t.throws(() => loadConfig({ path: folder, env: {} }), {
    message: `${folder}:1:1: cannot be read: it is a directory. Name the file with --config.`,
  });
});

t.test('X_FILE variables read real files, of bounded size', async (t) => {
  const [newer, older] = ['Kq3vT8xZp1LmW5nB7yRd0cFhJ2gSaUeQ', 'Zq3vT8xZp1LmW5nB7yRd0cFhJ2gSaUeK'];
  const files = t.testdir({ newer: `${newer}\n`, older: `${older}\n` });
  const env = { SECRET_KEY_FILE: join(files, 'newer'), SECRET_KEY_OTHER_FILE: join(files, 'older') };
  const { config } = loadConfig({ path: shippedPath, env });
  t.strictSame(config.auth.tokens.secrets, [newer, older]);
  const load = (file: string) => () => loadConfig({ path: shippedPath, env: { SECRET_KEY_FILE: file } });
  const large = join(t.testdir({ large: 'x'.repeat(65_537) }), 'large');
  t.throws(load(large), /it is too large/);
  t.throws(load('/dev/zero'), /it is not a regular file/);
});

t.test('the digest names what is in force, and no secret', async (t) => {
  const digest = (env: Record<string, string>) => loadConfig({ path: shippedPath, env }).digest;
  t.equal(digest({}), digest({ PORT: '8000' }));
  t.not(digest({}), digest({ PORT: '8001' }));
  t.equal(
    digest({ SECRET_KEY: 'Kq3vT8xZp1LmW5nB7yRd0cFhJ2gSaUeQ' }),
    digest({ SECRET_KEY: 'Zq3vT8xZp1LmW5nB7yRd0cFhJ2gSaUeQ' }),
  );
});

t.test('the digest knows which database it is, and not its password', async (t) => {
  const digest = (database: string) =>
    parse(
      `${least}database: ${database}\nauth: { tokens: { secrets: [Kq3vT8xZp1LmW5nB7yRd0cFhJ2gSaUeQ] }, api_keys: { hmac_keys: [Zq3vT8xZp1LmW5nB7yRd0cFhJ2gSaUeQ] } }\n`,
    ).digest;
  t.equal(digest('postgres://u:one@db/p'), digest('postgres://u:two@db/p'));
  t.not(digest('postgres://u:one@db/p'), digest('postgres://u:one@db/q'));
});

t.test('whatever the file holds, it is a configuration or a ConfigError', async () => {
  const holds = (source: string | Uint8Array) => {
    try {
      parse(source, { PORT: '1' });
      return true;
    } catch (error) {
      return (
        error instanceof ConfigError && error.problems.every(({ line, column }) => line >= 1 && column >= 1)
      );
    }
  };
  const piece = fc.constantFrom(
    '\n',
    '  ',
    '- ',
    ': ',
    '{',
    '}',
    '[',
    ']',
    '"',
    "'",
    `\${`,
    `\${PORT}`,
    '&a ',
    '*a',
    '!t ',
    '|',
    '#',
    '<<',
    'null',
    '1e9',
    '__proto__',
    'routes',
    '\t',
    '%',
    '---\n',
    '\u0000',
    '\ufeff',
  );
  const damaged = fc
    .tuple(fc.nat(shipped.length), fc.nat(40), fc.oneof(piece, fc.string({ maxLength: 8 })))
    .map(([at, cut, insert]) => shipped.slice(0, at) + insert + shipped.slice(at + cut));
  const assembled = fc
    .array(fc.oneof(piece, fc.string({ maxLength: 6 })), { maxLength: 30 })
    .map((all) => all.join(''));
  fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), holds), { numRuns: 200 });
  fc.assert(fc.property(assembled, holds), { numRuns: 300 });
  fc.assert(fc.property(damaged, holds), { numRuns: 150 });
});
