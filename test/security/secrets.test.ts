/**
 * CWE-532, CWE-209: secrets in every place where one is configured or presented, and every output of the real programs
 * searched for them.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { freePort } from '../support/free-port.ts';
import { logIn } from '../support/gateway.ts';
import { HttpReceiver } from '../support/http-receiver.ts';
import { startOtlpReceiver } from '../support/otlp-receiver.ts';
import { type Program, programEnv, runProgram, startProgram } from '../support/program.ts';
import { sendRaw } from '../support/raw-client.ts';

const mark = (name: string) => `Zq7${name}Xw93kLmPv48sTbNc61rHy05gDf82`;
const configured = {
  SECRET_KEY: mark('tokens'),
  API_KEY_HMAC_KEY: mark('hmac'),
  AUDIT_PSEUDONYM_KEY: mark('pseudonyms'),
  AUDIT_TOKEN: mark('receiver'),
  OTLP_TOKEN: mark('collector'),
  ADMIN_PASSWORD: mark('chief'),
  USER_PASSWORD: mark('user'),
};
const redisPassword = mark('redis');

/** Everything that came out, and whether one of the secrets is in it. */
class Outputs {
  readonly #said: Array<readonly [where: string, text: string]> = [];
  readonly secrets = new Set<string>([...Object.values(configured), redisPassword]);

  add(where: string, text: string): void {
    this.#said.push([where, text]);
  }

  /** Also as they could be written down: in base64, and percent-encoded. */
  check(t: Test): void {
    for (const [where, text] of this.#said) {
      const leaked = [...this.secrets].filter((secret) =>
        formsOf(secret).some((form) => text.includes(form)),
      );
      t.same(
        leaked.map((secret) => secret.slice(0, 16)),
        [],
        where,
      );
    }
  }
}

function formsOf(secret: string): string[] {
  // Of a longer text in base64 it would be cut at another place: its middle, at each of the three.
  const encoded = [0, 1, 2].map((cut) => Buffer.from(secret.slice(cut)).toString('base64').slice(4, 24));
  return [secret, encodeURIComponent(secret), ...encoded];
}

async function started(t: Test, yaml: string, extra: object) {
  const directory = t.testdir({ 'gateway.yaml': yaml });
  const config = join(directory, 'gateway.yaml');
  const port = await freePort();
  const env = {
    ...programEnv(directory),
    ...configured,
    ...extra,
    PORT: String(port),
    OPERATIONS_PORT: String(await freePort()),
    LOG_LEVEL: 'debug',
    TRACE_SAMPLE_RATIO: '1',
  };
  return { directory, config, env, url: `http://127.0.0.1:${port}` };
}

async function up(url: string, program: Program): Promise<void> {
  for (let tries = 0; tries < 400; tries += 1) {
    const answer = await fetch(`${url}/health`).catch(() => undefined);
    if (answer?.status === 200) return;
    await sleep(50);
  }
  throw new Error(program.stderr());
}

t.test('no secret that was configured or presented comes out anywhere', async (t) => {
  const outputs = new Outputs();
  const receiver = await HttpReceiver.start(t);
  const collector = await startOtlpReceiver();
  t.teardown(() => collector.close());
  const yaml = readFileSync('gateway.yaml', 'utf8')
    .replace('headers: {}', `headers: { Authorization: "Bearer \${OTLP_TOKEN}" }`)
    .replace('pseudonymize: []', 'pseudonymize: [user_agent]')
    .replace(
      /^ {4}- \{ type: file, path: .*$/m,
      `$&\n    - { type: stdout }\n    - { type: http, url: "${receiver.url}", token: "\${AUDIT_TOKEN}" }`,
    );
  const { directory, config, env, url } = await started(t, yaml, {
    REDIS_URL: `redis://someone:${redisPassword}@127.0.0.1:9/0`,
    OTEL_EXPORTER_OTLP_ENDPOINT: collector.url,
  });
  const run = async (args: string[], input = '') => {
    const { exitCode, stdout, stderr } = await runProgram([...args, '--config', config], env, input);
    outputs.add(`${args.join(' ')} (${exitCode})`, stdout + stderr);
    return stdout;
  };
  // What is shown once is not said there, and is a secret from then on.
  const made = await runProgram(['setup', '--json', '--config', config], env);
  t.equal(made.exitCode, 0, made.stderr);
  const setup = JSON.parse(made.stdout);
  outputs.secrets.add(setup.key.slice(-44));
  await run(['check']);
  await run(['user', 'create', '--username', 'ada', '--permissions', 'read']);
  await run(['user', 'reset-password', 'ada']);

  const program = startProgram(['start', '--config', config], env);
  t.teardown(() => program.stop('SIGKILL'));
  await up(url, program);
  const token = await logIn(url, 'admin', configured.ADMIN_PASSWORD);
  const login = await fetch(`${url}/auth/api-key-login`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ api_key: setup.key }),
  });
  const { access_token, refresh_token } = (await login.json()) as Record<string, string>;
  const tampered = `${token.slice(0, -8)}AAAAAAAA`;
  const mistyped = `${setup.key.slice(0, -1)}${setup.key.endsWith('A') ? 'B' : 'A'}`;
  const presented = [setup.key, mistyped, token, tampered, access_token ?? '', refresh_token ?? ''];
  for (const secret of presented) outputs.secrets.add(secret.slice(-40));

  for (const secret of presented) {
    const header = { 'content-type': 'application/json' };
    for (const [path, init] of [
      ['/tools', { headers: { authorization: `Bearer ${secret}` } }],
      ['/tools', { headers: { authorization: `Basic ${Buffer.from(`a:${secret}`).toString('base64')}` } }],
      ['/tools', { headers: { 'x-api-key': secret } }],
      ['/tools', { headers: { 'x-api-key': secret, authorization: `Bearer ${secret}` } }],
      ['/tools', { headers: { cookie: `session=${secret}`, 'user-agent': `curl ${secret}` } }],
      ['/tools', { headers: { 'x-request-id': secret, traceparent: secret, origin: `https://${secret}` } }],
      [`/tools?api_key=${secret}&q=${secret}&Access%5FToken=${secret}`, {}],
      [`/tools/${secret}`, {}],
      [`/${secret}`, { headers: { authorization: `Bearer ${token}` } }],
      ['/auth/refresh', { method: 'POST', headers: header, body: JSON.stringify({ refresh_token: secret }) }],
      ['/auth/api-key-login', { method: 'POST', headers: header, body: JSON.stringify({ api_key: secret }) }],
      [
        '/auth/login',
        { method: 'POST', headers: header, body: JSON.stringify({ username: 'ada', password: secret }) },
      ],
      ['/auth/login', { method: 'POST', headers: header, body: `{"password": "${secret}` }],
      [
        '/auth/change-password',
        {
          method: 'POST',
          headers: { ...header, authorization: `Bearer ${token}` },
          body: JSON.stringify({ current_password: secret, new_password: 'x' }),
        },
      ],
    ] as const) {
      const answer = await fetch(url + path, init as RequestInit);
      // A new pair is given to whoever has the right to it.
      const said = answer.ok ? '' : await answer.text();
      outputs.add(
        `${path.slice(0, 30)} ${JSON.stringify(init).slice(0, 60)}: ${answer.status}`,
        said + JSON.stringify([...answer.headers]),
      );
    }
    for (const raw of [
      `GET /tools HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ${secret}\r\nAuthorization: Bearer ${secret}\r\n\r\n`,
      `GET /tools HTTP/1.1\r\nHost: a\r\nX-API-Key ${secret}\r\n\r\n`,
      `GET /tools HTTP/9.9\r\nHost: a\r\nX-API-Key: ${secret}\r\n\r\n`,
      `CONNECT ${secret}:443 HTTP/1.1\r\nHost: a\r\nProxy-Authorization: Bearer ${secret}\r\n\r\n`,
      `POST /tools HTTP/1.1\r\nHost: a\r\nX-API-Key: ${secret}\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n`,
    ])
      outputs.add(`raw ${raw.slice(0, 20)}`, JSON.stringify(await sendRaw(url, raw)));
  }
  for (const path of [
    '/auth/me',
    '/admin/users',
    '/admin/api-keys',
    '/admin/audit?page_size=100',
    '/openapi.json',
  ])
    outputs.add(
      path,
      await (await fetch(url + path, { headers: { authorization: `Bearer ${token}` } })).text(),
    );
  const operations = `http://127.0.0.1:${env.OPERATIONS_PORT}`;
  for (const path of ['/metrics', '/.well-known/jwks.json', '/readyz'])
    outputs.add(
      `operations ${path}`,
      await (
        await fetch(operations + path, { headers: { accept: 'application/openmetrics-text; version=1.0.0' } })
      ).text(),
    );

  // A configuration that is wrong beside every secret.
  writeFileSync(config, `${yaml}\nlisten: { port: "\${SECRET_KEY}", hosts: "\${AUDIT_TOKEN}" }\n`);
  program.child.kill('SIGHUP');
  await sleep(1_000);
  await run(['check']);
  writeFileSync(
    config,
    yaml.replace(/^log: .*$/m, `log: { level: "\${ADMIN_PASSWORD}" }\nextra: "\${OTLP_TOKEN}"`),
  );
  program.child.kill('SIGHUP');
  await sleep(1_000);
  await run(['check', '--json']);
  writeFileSync(config, yaml);
  await run(['explain', 'GET', `/tools?key=x`, '--key-stdin'], setup.key);
  await run(['explain', 'GET', '/tools', '--token-stdin', '--json'], token);
  await run(['explain', 'GET', '/tools', '--key', mistyped]);
  await run(['key', 'disable', setup.key]);
  await run(['key', 'list', '--json']);
  await run(['user', 'list']);
  const { stdout, stderr, exitCode } = await program.stop();
  t.equal(exitCode, 0);
  outputs.add('standard output', stdout);
  outputs.add('standard error', stderr);
  outputs.add('the audit log', readFileSync(join(directory, 'audit.log'), 'utf8'));
  outputs.add('what the receiver of the audit log took', receiver.lines.join('\n'));
  outputs.add(
    'the spans',
    JSON.stringify(collector.spans, (_, value) => (typeof value === 'bigint' ? String(value) : value)),
  );
  t.ok(receiver.lines.length > 50, 'the receiver was told');
  t.ok(collector.spans.length > 50, 'the collector was told');
  t.match(stderr, /not taken/, 'the bad configurations were seen');
  outputs.check(t);
});

t.test('the password of a database and of a receiver that cannot be reached is not told', async (t) => {
  const outputs = new Outputs();
  const password = mark('database');
  outputs.secrets.add(password);
  const yaml = readFileSync('gateway.yaml', 'utf8');
  for (const database of [
    `postgres://someone:${password}@127.0.0.1:9/portcullis`,
    `postgres://someone:${password}@[::bad]/portcullis`,
    `postgres://someone:${password}@127.0.0.1:9/portcullis?sslmode=${password}`,
    `postgres://someone:${password}@127.0.0.1:9/portcullis?${password}=1`,
    `mysql://someone:${password}@127.0.0.1/portcullis`,
    `redis://${password}`,
  ]) {
    for (const args of [['check'], ['start'], ['explain', 'GET', '/tools']]) {
      const { config, env } = await started(t, yaml, {
        DATABASE_URL: database,
        ...(database.startsWith('postgres') && {
          REDIS_URL: `redis://x:${redisPassword}@127.0.0.1:9/notanumber`,
        }),
      });
      const { exitCode, stdout, stderr } = await runProgram([...args, '--config', config], env);
      if (args[0] !== 'check') t.equal(exitCode, 1);
      outputs.add(`${args.join(' ')} ${database.slice(0, 40)}`, stdout + stderr);
    }
  }
  outputs.check(t);
});
