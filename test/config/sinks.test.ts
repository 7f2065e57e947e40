/** The sinks of the audit log in gateway.yaml: what may stand together, and what is said where it may not. */
import { generateKeyPairSync } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { parseConfig } from '../../src/config/load.ts';
import { ConfigError } from '../../src/config/problem.ts';

const file = '{ type: file, path: audit.log }';

function yamlOf(sinks: readonly string[], redis = ''): string {
  return [
    'version: 1',
    `rate_limits: { redis: "${redis}", classes: { public: { rate: 1/second } } }`,
    'audit:',
    '  sinks:',
    ...sinks.map((sink) => `    - ${sink}`),
    'endpoints: { identity: false }',
    '',
  ].join('\n');
}

/** `path: message` of each problem. */
function problemsOf(sinks: readonly string[], redis = ''): string[] {
  return problemsIn(yamlOf(sinks, redis));
}

function problemsIn(yaml: string): string[] {
  try {
    parseConfig(yaml, { file: 'gateway.yaml', env: {} });
    return [];
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return error.problems.map(({ path, message }) => `${path}: ${message}`);
  }
}

const good: ReadonlyArray<readonly string[]> = [
  [file],
  ['{ type: stdout }'],
  [file, '{ type: stdout }'],
  [
    file,
    '{ type: redis_stream, url: redis://127.0.0.1:6379 }',
    '{ type: http, url: https://logs.example.com/in }',
  ],
  [
    file,
    '{ type: http, url: http://127.0.0.1:9/x, token: sesame, batch: { max_size: 64KiB, max_time: 5s } }',
  ],
  [file, '{ type: http, url: http://logs/x, allow_http: true, spill: { path: spill, max_size: 1GiB } }'],
  [file, '{ type: http, url: https://a/x }', '{ type: http, name: siem, url: https://b/x }'],
];

for (const sinks of good)
  t.test(`good: ${sinks.join(', ')}`, async (t) => t.strictSame(problemsOf(sinks), []));

t.test('Redis is that of the rate limits unless the sink names its own', async (t) => {
  t.strictSame(problemsOf([file, '{ type: redis_stream }'], 'redis://127.0.0.1:6379'), []);
});

const bad: ReadonlyArray<readonly [sinks: readonly string[], said: RegExp]> = [
  [
    ['{ type: http, url: https://a/x }'],
    /^audit\.sinks: has neither a file nor stdout: a record must be out of this process/,
  ],
  [['{ type: redis_stream, url: redis://a }'], /^audit\.sinks: has neither a file nor stdout/],
  [[file, file], /^audit\.sinks\.1: is a second file/],
  [
    [file, '{ type: stdout }', '{ type: stdout }'],
    /^audit\.sinks\.2: is the second sink with the name stdout/,
  ],
  [[file, '{ type: redis_stream }'], /^audit\.sinks\.1: names no Redis/],
  [[file, '{ type: redis_stream, url: http://hunter2@a }'], /^audit\.sinks\.1\.url: is not a Redis URL/],
  [[file, '{ type: http, url: http://logs/x }'], /^audit\.sinks\.1\.url: is plain http/],
  [[file, '{ type: http, url: https://user:hunter2@logs/x }'], /^audit\.sinks\.1\.url: must be a URL/],
  [
    [file, '{ type: http, url: https://a/x, token: "hunter2 x" }'],
    /^audit\.sinks\.1\.token: must be a bearer token/,
  ],
  [
    [file, '{ type: http, url: https://a/x, token: hunter2, token_file: gone }'],
    /^audit\.sinks\.1\.token_file: stands beside token/,
  ],
  [
    [file, '{ type: http, url: https://a/x, token_file: gone }'],
    /^audit\.sinks\.1\.token_file: cannot be read/,
  ],
  [
    [file, '{ type: http, url: https://a/x, tls: { cert: gone } }'],
    /^audit\.sinks\.1\.tls: has one of cert and key/,
  ],
  [
    [
      file,
      '{ type: http, url: https://a/x, spill: { path: s } }',
      '{ type: redis_stream, url: redis://a, spill: { path: s } }',
    ],
    /^audit\.sinks\.2\.spill\.path: is the folder of another sink/,
  ],
  [[file, '{ type: kafka }'], /^audit\.sinks\.1\.type: must be one of file, stdout, redis_stream or http/],
];

for (const [sinks, said] of bad) {
  t.test(`bad: ${sinks.join(', ')}`, async (t) => {
    const problems = problemsOf(sinks);
    t.ok(
      problems.some((problem) => said.test(problem)),
      problems.join('\n'),
    );
    t.notMatch(problems.join(), 'hunter2');
  });
}

t.test('a certificate and its key are looked into', async (t) => {
  const path = join(t.testdir(), 'x.pem');
  writeFileSync(path, 'nothing of the kind');
  const problems = problemsOf([
    file,
    `{ type: http, url: https://a/x, tls: { ca: ${path}, cert: ${path}, key: ${path} } }`,
  ]);
  t.match(problems, [
    /tls\.ca: holds no certificate/,
    /tls\.cert: holds no certificate/,
    /tls\.key: holds no private key/,
  ]);
});

t.test('the digest of a configuration does not depend on a token or a password', async (t) => {
  const digest = (secret: string) =>
    parseConfig(
      yamlOf([
        file,
        `{ type: http, url: https://a/x, token: ${secret} }`,
        `{ type: redis_stream, url: "redis://:${secret}@a" }`,
      ]),
      { file: 'gateway.yaml', env: {} },
    ).digest;
  t.equal(digest('one'), digest('two'));
});

t.test('without a place to keep a generated key, one has to be named', async (t) => {
  const yaml = (more: string) => `version: 1
database: none
auth: { issuers: [{ name: corp, issuer: "https://corp.example", audience: a, discovery: true, permissions: { grant: [read] } }] }
rate_limits: { classes: { public: { rate: 1/second } } }
audit: { sinks: [{ type: stdout }]${more} }
endpoints: { identity: false, docs: false }
`;
  const said = (path: string) => [
    `${path}: is not set, and there is neither an embedded database nor a log file to keep a generated one beside`,
  ];
  const file = join(t.testdir(), 'audit.pem');
  writeFileSync(file, generateKeyPairSync('ed25519').privateKey.export({ format: 'pem', type: 'pkcs8' }));
  const key = `, signing_key: ${file}`;
  t.strictSame(problemsIn(yaml('')), said('audit.signing_key'));
  t.strictSame(problemsIn(yaml(key)), []);
  t.strictSame(problemsIn(yaml(`${key}, pseudonymize: [client_ip]`)), said('audit.pseudonym_key'));
});
