import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pino } from 'pino';
import t from 'tap';
import { StartError } from '../../registry/listen.ts';
import { startRegistry } from '../../registry/start.ts';
import { sender, temporaryDirectory, trustedGateway } from './registry.ts';

interface Settings {
  listen?: string;
  databaseUrl?: string;
}

function start(directory: string, settings: Settings) {
  return startRegistry({
    databaseUrl: `sqlite:${directory}/registry.db`,
    listen: '127.0.0.1:0',
    allowNonLoopback: false,
    log: pino({ level: 'silent' }),
    wallMs: Date.now,
    assertions: trustedGateway,
    ...settings,
  });
}

/** The sentence with which it refuses to start. */
async function refusal(directory: string, settings: Settings): Promise<string> {
  try {
    await (await start(directory, settings)).close();
  } catch (error) {
    if (error instanceof StartError) return error.message;
    throw error;
  }
  return 'it started';
}

t.test('loopback is listened on, by name and in both families', async (t) => {
  for (const [listen, url] of [
    ['localhost:0', /^http:\/\/127\.0\.0\.1:\d+$/],
    ['127.0.0.2:0', /^http:\/\/127\.0\.0\.2:\d+$/],
    ['[::1]:0', /^http:\/\/\[::1\]:\d+$/],
  ] as const) {
    const registry = await start(temporaryDirectory(t), { listen });
    t.match(registry.url, url);
    t.equal((await sender(registry.url)('GET', '/health')).status, 200);
    await registry.close();
  }
});

t.test('every other address is refused', async (t) => {
  const directory = temporaryDirectory(t);
  const addresses = [
    '0.0.0.0:0',
    '[::]:0',
    '192.0.2.1:1',
    '[2001:db8::1]:1',
    '[::ffff:10.0.0.1]:1',
    '128.0.0.1:1',
  ];
  for (const listen of addresses) {
    t.match(
      await refusal(directory, { listen }),
      /other machines can reach.*write 127.*REGISTRY_ALLOW_/,
      listen,
    );
  }
});

t.test('what is no address is refused with the forms there are', async (t) => {
  const directory = temporaryDirectory(t);
  const wrong = [
    '127.0.0.1',
    '127.0.0.1:',
    ':8081',
    '8081',
    '127.0.0.1:99999',
    '127.0.0.1:-1',
    '127.1:8081',
    '::1:8081',
    '[127.0.0.1]:8081',
    '[localhost]:8081',
    '[fe80::1%eth0:80',
    'example.com:80',
    'http://127.0.0.1:80',
  ];
  for (const listen of wrong) {
    t.match(await refusal(directory, { listen }), /^REGISTRY_LISTEN is ".*write 127/, listen);
  }
  for (const path of ['', `/${'x'.repeat(200)}`, '/x\0y']) {
    t.match(await refusal(directory, { listen: `unix:${path}` }), /^REGISTRY_LISTEN names.*1 to 103 bytes/);
  }
});

t.test('a socket that cannot be made is refused, and a file in its place is left alone', async (t) => {
  const directory = temporaryDirectory(t);
  const path = join(directory, 'text');
  writeFileSync(path, 'kept');
  t.match(await refusal(directory, { listen: `unix:${path}` }), 'is not a socket');
  t.equal(readFileSync(path, 'utf8'), 'kept');
  const missing = `unix:${directory}/missing/x.sock`;
  t.match(await refusal(directory, { listen: missing }), /cannot listen on unix:.*set REGISTRY_LISTEN/);
});

t.test('a database that cannot be opened is refused, and left as it is', async (t) => {
  const directory = temporaryDirectory(t);
  const text = 'This is no database, but it is long enough to look like one. '.repeat(99);
  writeFileSync(join(directory, 'text.db'), text);
  mkdirSync(join(directory, 'folder'));
  for (const [path, reason] of [
    ['text.db', /cannot open its database.*not a database.*set REGISTRY_DATABASE_URL/],
    ['text.db/x.db', /cannot open its database.*set REGISTRY_DATABASE_URL/],
    ['folder', /cannot open its database.*set REGISTRY_DATABASE_URL/],
  ] as const) {
    t.match(await refusal(directory, { databaseUrl: `sqlite:${directory}/${path}` }), reason);
  }
  t.equal(readFileSync(join(directory, 'text.db'), 'utf8'), text);
});
