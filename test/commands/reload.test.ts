/** The program follows its gateway.yaml: written in place, swapped as a ConfigMap is, and asked to by SIGHUP. */
import { once } from 'node:events';
import { mkdirSync, readFileSync, renameSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { type Program, programEnv, startProgram } from '../support/program.ts';

async function startService(name: string): Promise<string> {
  const server = createServer((_request, response) => response.end(name)).listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

const [one, two] = [await startService('one'), await startService('two')];

/** One public route to a service. */
const yamlFor = (url: string, more = '') => `version: 1
listen: { port: "\${PORT}" }
operations: { port: "\${OPERATIONS_PORT}" }
database: \${DATABASE_URL}
rate_limits: { classes: { public: { rate: 1000000/minute }, read: { rate: 1/minute }, write: { rate: 1/minute }, admin: { rate: 1/minute } } }
audit: { sinks: [{ type: file, path: "\${AUDIT_LOG_FILE}" }] }
upstreams: { service: { url: "${url}" } }
routes: [{ path: /service, methods: [GET], upstream: service, permission: none, class: public }]
log: { level: info }
${more}`;

interface Started {
  readonly program: Program;
  readonly traffic: string;
  answer(): Promise<string>;
  metric(name: string): Promise<string | undefined>;
}

async function start(t: Test, config: string, directory: string): Promise<Started> {
  const env = { ...programEnv(directory), LOG_LEVEL: 'info' };
  const program = startProgram(['start', '--config', config], env);
  t.teardown(() => program.stop('SIGKILL'));
  let line: RegExpExecArray | null = null;
  await until(async () => {
    line = /"traffic":"([^"]+)","operations":"([^"]+)"/.exec(program.stderr());
    return line !== null;
  });
  const [, traffic = '', operations = ''] = line ?? [];
  return {
    program,
    traffic,
    answer: async () => (await fetch(`${traffic}/service`)).text(),
    metric: async (name) => {
      const text = await (await fetch(`${operations}/metrics`)).text();
      return new RegExp(`^portcullis_${name} (\\S+)$`, 'm').exec(text)?.[1];
    },
  };
}

/** Well above the time a change takes to be seen (0.4 s), also where only the poll sees it (10 s). */
async function until(done: () => Promise<boolean>): Promise<void> {
  for (let tries = 0; !(await done()); tries += 1) {
    if (tries > 600) throw new Error('it was never seen');
    await sleep(50);
  }
}

t.test('written in place: taken; half of it, or nonsense: refused, and the old one stays', async (t) => {
  const directory = t.testdir();
  const config = join(directory, 'gateway.yaml');
  writeFileSync(config, yamlFor(one));
  const { program, answer, metric } = await start(t, config, directory);
  t.equal(await answer(), 'one');
  writeFileSync(config, yamlFor(two));
  await until(async () => (await answer()) === 'two');
  t.equal(await metric('config_last_reload_successful'), '1');

  writeFileSync(config, yamlFor(one, 'routse: []\n'));
  await until(async () => (await metric('config_last_reload_successful')) === '0');
  t.equal(await answer(), 'two');
  t.match(program.stderr(), /gateway\.yaml:10:1: routse: is not a key here\. Did you mean routes\?/);

  writeFileSync(config, yamlFor(one).replace(/^listen:.*$/m, 'listen: { port: 1 }'));
  await until(async () => /listen\.port cannot change while the gateway runs/.test(program.stderr()));
  t.equal(await answer(), 'two');

  writeFileSync(config, yamlFor(one));
  await until(async () => (await answer()) === 'one');
  t.equal(await metric('config_last_reload_successful'), '1', 'mended');
  t.equal((await program.stop()).exitCode, 0);
  const log = readFileSync(join(directory, 'audit.log'), 'utf8');
  t.strictSame(
    [...log.matchAll(/"event":"(reload_\w+)"/g)].map(([, event]) => event),
    ['reload_accepted', 'reload_refused', 'reload_refused', 'reload_accepted'],
  );
});

t.test('a file that is written bit by bit is taken once it is whole', async (t) => {
  const directory = t.testdir();
  const config = join(directory, 'gateway.yaml');
  writeFileSync(config, yamlFor(one));
  const { program, answer, metric } = await start(t, config, directory);
  const whole = yamlFor(two);
  for (let length = 0; length <= whole.length; length += 60) {
    writeFileSync(config, whole.slice(0, length));
    await sleep(20);
  }
  writeFileSync(config, whole);
  await until(async () => (await answer()) === 'two');
  t.equal(await metric('config_last_reload_successful'), '1');
  t.notMatch(program.stderr(), /was not taken/, 'no half of it was looked at');
});

t.test('as a ConfigMap: the swap of its link is seen, and no request fails', async (t) => {
  const directory = t.testdir();
  const mount = join(directory, 'mount');
  mkdirSync(mount);
  const version = (name: string, text: string) => {
    mkdirSync(join(mount, name));
    writeFileSync(join(mount, name, 'gateway.yaml'), text);
    symlinkSync(name, join(mount, '..data_tmp'));
    renameSync(join(mount, '..data_tmp'), join(mount, '..data'));
  };
  version('..1', yamlFor(one));
  symlinkSync(join('..data', 'gateway.yaml'), join(mount, 'gateway.yaml'));
  const { answer } = await start(t, join(mount, 'gateway.yaml'), directory);
  let stop = false;
  const load = (async () => {
    const seen = new Set<string>();
    while (!stop) seen.add(await answer());
    return seen;
  })();
  await sleep(200);
  version('..2', yamlFor(two));
  await until(async () => (await answer()) === 'two');
  stop = true;
  t.strictSame([...(await load)].sort(), ['one', 'two']);
});

t.test('SIGHUP takes what X_FILE names anew, and opens the audit log again', async (t) => {
  const directory = t.testdir({ url: one });
  const config = join(directory, 'gateway.yaml');
  writeFileSync(config, yamlFor(`\${SERVICE_URL}`));
  process.env.SERVICE_URL_FILE = join(directory, 'url');
  t.teardown(() => {
    delete process.env.SERVICE_URL_FILE;
  });
  const { program, answer } = await start(t, config, directory);
  t.equal(await answer(), 'one');
  const log = join(directory, 'audit.log');
  renameSync(log, `${log}.1`);
  writeFileSync(join(directory, 'url'), two);
  program.child.kill('SIGHUP');
  await until(async () => (await answer()) === 'two');
  await until(async () => readFileSync(log, 'utf8').includes('/service'));
  t.pass('both');
});
