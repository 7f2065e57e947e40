import { fork } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, statSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { join } from 'node:path';
import t from 'tap';
import {
  asserted,
  gateway,
  plainTool,
  program,
  runRegistry,
  sender,
  settings,
  statusOverSocket,
  temporaryDirectory,
} from './registry.ts';

t.test('it keeps its tools over a restart, and ends cleanly on SIGTERM and SIGINT', async (t) => {
  const environment = settings(temporaryDirectory(t));
  const first = runRegistry(t, environment);
  const { json } = await sender(await first.listening())('POST', '/tools', plainTool('kept'));
  first.child.kill('SIGTERM');
  t.equal(await first.ended(), 0);
  for (const line of first.stderr().trim().split('\n')) t.equal(JSON.parse(line).level, 'info', line);
  const second = runRegistry(t, environment);
  const read = await sender(await second.listening())('GET', `/tools/${json.id}`);
  t.strictSame(read.json, json);
  second.child.kill('SIGINT');
  t.equal(await second.ended(), 0);
});

t.test('its files are for its own user only', async (t) => {
  const directory = temporaryDirectory(t);
  const registry = runRegistry(t, settings(directory));
  await registry.listening();
  t.equal(statSync(join(directory, 'data')).mode & 0o777, 0o700);
  t.equal(statSync(join(directory, 'data/registry.db')).mode & 0o777, 0o600);
});

t.test('what is in flight when it is told to stop is finished', async (t) => {
  const registry = runRegistry(t, settings(temporaryDirectory(t)));
  const { hostname, port } = new URL(await registry.listening());
  const body = JSON.stringify(plainTool('late'));
  const socket = connect(Number(port), hostname).setEncoding('utf8');
  let answer = '';
  socket.on('data', (text) => {
    answer += text;
  });
  const { 'x-auth-assertion': assertion } = asserted('POST', '/tools', {});
  socket.write(
    `POST /tools HTTP/1.1\r\nHost: x\r\nX-Auth-Assertion: ${assertion}\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n`,
  );
  // The server has the head once it has answered another request on a connection opened later.
  await sender(`http://${hostname}:${port}`)('GET', '/health');
  registry.child.kill('SIGTERM');
  while (!registry.stderr().includes('is stopping')) await once(registry.child.stderr ?? socket, 'data');
  socket.write(body);
  await once(socket, 'close');
  t.match(answer, /^HTTP\/1.1 201 /);
  t.equal(await registry.ended(), 0);
});

t.test('it refuses an address that other machines can reach, and says what to write', async (t) => {
  const directory = temporaryDirectory(t);
  const environment = { REGISTRY_LISTEN: '0.0.0.0:0', REGISTRY_ALLOW_NON_LOOPBACK: 'yes' };
  const registry = runRegistry(t, settings(directory, environment));
  t.equal(await registry.ended(), 1);
  t.match(registry.stderr(), /other machines can reach.*write 127\.0\.0\.1:\d+ or unix:/);
  t.equal(registry.stderr().trim().split('\n').length, 1);
  t.notOk(existsSync(join(directory, 'data')), 'and leaves nothing behind');
});

t.test('it listens on such an address when told so in so many words', async (t) => {
  const registry = runRegistry(
    t,
    settings(temporaryDirectory(t), {
      REGISTRY_LISTEN: '0.0.0.0:0',
      REGISTRY_ALLOW_NON_LOOPBACK: 'yes-i-know-the-registry-has-no-authentication-of-its-own',
    }),
  );
  const { port } = new URL(await registry.listening());
  t.equal((await sender(`http://127.0.0.1:${port}`)('GET', '/health')).status, 200);
});

t.test('an empty variable is one that is not set', async (t) => {
  const registry = runRegistry(
    t,
    settings(temporaryDirectory(t), { LOG_LEVEL: '', REGISTRY_ALLOW_NON_LOOPBACK: '' }),
  );
  t.match(await registry.listening(), /^http:/);
});

t.test('settings that cannot be used are one sentence and exit code 1', async (t) => {
  const wrong: Array<[Record<string, string>, RegExp]> = [
    [{ REGISTRY_LISTEN: 'nonsense' }, /REGISTRY_LISTEN is "nonsense".*write 127/],
    [{ REGISTRY_DATABASE_URL: 'mysql://u:hunter2@h/d' }, /REGISTRY_DATABASE_URL is neither.*Write one such/],
    [{ REGISTRY_DATABASE_URL: 'postgres://u:hunter2@h' }, /REGISTRY_DATABASE_URL names no database/],
    [
      { REGISTRY_DATABASE_URL: 'postgres://u:hunter2@127.0.0.1:9/d' },
      /127\.0\.0\.1:9\/d cannot be used.*REFUSED/,
    ],
    [{ REGISTRY_DATABASE_URL: '', REGISTRY_DATABASE_URL_FILE: '/none' }, /"\/none", which cannot be read/],
    [{ REGISTRY_DATABASE_URL_FILE: '/none' }, /are both set/],
    [{ LOG_LEVEL: 'loud' }, /LOG_LEVEL is "loud".*write one of/],
    [{ REGISTRY_JWKS: '' }, /REGISTRY_JWKS is not set: write the URL.*9464.*off/],
    [{ REGISTRY_JWKS: '/none' }, /REGISTRY_JWKS names no file.*\/none cannot be read/],
    [{ REGISTRY_JWKS: 'http://gateway.example/jwks' }, /not https and not on this machine/],
    [{ REGISTRY_JWKS: 'parent' }, /no process that names the URL/],
  ];
  for (const [more, sentence] of wrong) {
    const registry = runRegistry(t, settings(temporaryDirectory(t), more));
    t.equal(await registry.ended(), 1, JSON.stringify(more));
    t.match(registry.stderr(), sentence);
    t.equal(registry.stderr().trim().split('\n').length, 1, registry.stderr());
    t.notMatch(registry.stderr(), 'hunter2');
  }
});

t.test('the database’s URL may come from a file', async (t) => {
  const directory = temporaryDirectory(t);
  writeFileSync(join(directory, 'url'), `sqlite:${directory}/from-file.db\n`);
  const more = { REGISTRY_DATABASE_URL: '', REGISTRY_DATABASE_URL_FILE: join(directory, 'url') };
  await runRegistry(t, settings(directory, more)).listening();
  t.ok(existsSync(join(directory, 'from-file.db')));
});

t.test('a port that is in use is named', async (t) => {
  const taken = createServer().listen(0, '127.0.0.1');
  await once(taken, 'listening');
  t.teardown(() => taken.close());
  const address = `127.0.0.1:${(taken.address() as AddressInfo).port}`;
  const registry = runRegistry(t, settings(temporaryDirectory(t), { REGISTRY_LISTEN: address }));
  t.equal(await registry.ended(), 1);
  t.match(registry.stderr(), `${address} is in use: stop what listens there`);
});

t.test('it listens on a Unix socket that its group may use, and removes it in the end', async (t) => {
  const directory = temporaryDirectory(t);
  const path = join(directory, 'registry.sock');
  const registry = runRegistry(t, settings(directory, { REGISTRY_LISTEN: `unix:${path}` }));
  t.equal(await registry.listening(), `unix:${path}`);
  t.equal(statSync(path).mode & 0o777, 0o660);
  t.equal(await statusOverSocket(path, '/health'), 200);
  const second = runRegistry(t, settings(directory, { REGISTRY_LISTEN: `unix:${path}` }));
  t.equal(await second.ended(), 1);
  t.match(second.stderr(), /is in use/);
  t.equal(await statusOverSocket(path, '/health'), 200);
  registry.child.kill('SIGTERM');
  t.equal(await registry.ended(), 0);
  t.notOk(existsSync(path));
});

t.test('a socket that a killed registry left behind is replaced', async (t) => {
  const directory = temporaryDirectory(t);
  const path = join(directory, 'registry.sock');
  const environment = settings(directory, { REGISTRY_LISTEN: `unix:${path}` });
  const killed = runRegistry(t, environment);
  await killed.listening();
  killed.child.kill('SIGKILL');
  await killed.ended();
  t.ok(existsSync(path));
  const registry = runRegistry(t, environment);
  await registry.listening();
  t.equal(await statusOverSocket(path, '/health'), 200);
});

t.test('a parent that forks it is told the URL, and its end is the end', async (t) => {
  const child = fork(program, { env: settings(temporaryDirectory(t)), execArgv: [], silent: true });
  t.teardown(() => child.kill('SIGKILL'));
  const [message] = await once(child, 'message');
  t.match(message.listening, /^http:\/\/127\.0\.0\.1:\d+$/);
  t.equal((await sender(message.listening)('GET', '/health')).status, 200);
  child.disconnect();
  const [code] = await once(child, 'exit');
  t.equal(code, 0);
});

t.test('a parent that forks it is told why it cannot start', async (t) => {
  const env = settings(temporaryDirectory(t), { REGISTRY_LISTEN: '0.0.0.0:1' });
  const child = fork(program, { env, execArgv: [], silent: true });
  const ended = once(child, 'exit');
  const [message] = await once(child, 'message');
  t.match(message.failed, /other machines can reach/);
  t.equal((await ended)[0], 1);
});

t.test(
  'without the gateway’s assertion it is 401, unless it was told to let anyone in, which it warns of',
  async (t) => {
    const guarded = runRegistry(t, settings(temporaryDirectory(t)));
    t.equal((await sender(await guarded.listening(), 'unsigned')('GET', '/tools')).status, 401);
    const open = runRegistry(t, settings(temporaryDirectory(t), { REGISTRY_JWKS: 'off' }));
    t.equal((await sender(await open.listening(), 'unsigned')('GET', '/tools')).status, 200);
    t.match(open.stderr(), /"level":"warn".*REGISTRY_JWKS is off/);
  },
);

t.test('issuer and audience are the gateway’s to choose', async (t) => {
  const names = { REGISTRY_ISSUER: 'https://gate.example', REGISTRY_AUDIENCE: 'tools' };
  const registry = runRegistry(t, settings(temporaryDirectory(t), names));
  const send = sender(await registry.listening(), 'unsigned');
  const request = { method: 'GET', target: '/tools' };
  const claims = { iss: 'https://gate.example', aud: 'tools' };
  const sendWith = (assertion: string) => send('GET', '/tools', undefined, { 'x-auth-assertion': assertion });
  t.equal((await sendWith(gateway.assertion(request, { claims }))).status, 200);
  t.equal((await sendWith(gateway.assertion(request))).status, 401);
});
