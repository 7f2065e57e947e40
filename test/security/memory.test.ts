/** Attack 35 on the program itself: what its memory does while clients hold on to all they can get. */
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { programEnv, startProgram } from '../support/program.ts';
import { edgeYaml } from './edge.ts';

const mebibyte = 1024 ** 2;
const moreBytesMax = 64 * mebibyte;

interface Target {
  readonly traffic: URL;
  /** Resident memory, in bytes. */
  resident(): Promise<number>;
  open(first: string): Socket;
  /** Closes what was opened. */
  leave(): void;
}

/** The upstream reads what it is sent, and then answers 50 MB to whoever asks for /open/large, and nothing for /open/silent. */
async function start(t: Test): Promise<Target> {
  const block = Buffer.alloc(mebibyte, 'a');
  const upstream = createServer((request, response) => {
    request.resume();
    if (request.url === '/open/silent') return undefined;
    if (request.url !== '/open/large') return request.on('end', () => response.end('ok'));
    let left = 50;
    const more = () => {
      while (left > 0 && !response.destroyed) {
        left -= 1;
        if (!response.write(block)) return response.once('drain', more);
      }
      return response.end();
    };
    return more();
  });
  upstream.listen(0, '127.0.0.1');
  await once(upstream, 'listening');
  const directory = t.testdir();
  const file = join(directory, 'gateway.yaml');
  writeFileSync(file, edgeYaml().replace('response: 2s', 'response: 30s'));
  const program = startProgram(['start', '--config', file], {
    ...programEnv(directory),
    LOG_LEVEL: 'info',
    REGISTRY_URL: `http://127.0.0.1:${(upstream.address() as AddressInfo).port}`,
  });
  const sockets: Socket[] = [];
  t.teardown(async () => {
    target.leave();
    await program.stop('SIGKILL');
    upstream.closeAllConnections();
    upstream.close();
  });
  const said = (name: string) => new RegExp(`"${name}":"([^"]+)"`).exec(program.stderr())?.[1];
  for (let tries = 0; tries < 1_000 && said('operations') === undefined; tries += 1) await pause(20);
  const traffic = new URL(said('traffic') ?? '');
  const target = {
    traffic,
    resident: async () => {
      const metrics = await (await fetch(`${said('operations')}/metrics`)).text();
      return Number(/^process_resident_memory_bytes (\d+)/m.exec(metrics)?.[1]);
    },
    leave: () => {
      for (const socket of sockets.splice(0)) socket.destroy();
    },
    open: (first: string) => {
      const socket = connect(Number(traffic.port), traffic.hostname);
      socket.on('error', () => undefined);
      socket.write(first);
      sockets.push(socket);
      return socket;
    },
  };
  await warmUp(target);
  return target;
}

/** What every program grows by in its first requests is no attack's doing. */
async function warmUp({ traffic, resident }: Target): Promise<void> {
  for (let round = 0; round < 30; round += 1) {
    await Promise.all(
      Array.from({ length: 100 }, async () => (await fetch(`${traffic.origin}/health`)).arrayBuffer()),
    );
    await resident();
  }
  await (await fetch(`${traffic.origin}/open/large`)).arrayBuffer();
}

/** The highest it gets over rest while `attack` goes on for `ms`. */
async function growth(target: Target, ms: number, attack: () => void): Promise<number> {
  const rest = await target.resident();
  attack();
  let peak = 0;
  for (const endMs = performance.now() + ms; performance.now() < endMs; await pause(200))
    peak = Math.max(peak, await target.resident());
  return peak - rest;
}

async function staysWithinBounds(t: Test, target: Target, ms: number, attack: () => void): Promise<void> {
  const grown = await growth(target, ms, attack);
  t.comment(`${Math.round(grown / mebibyte)} MiB over rest`);
  t.ok(grown <= moreBytesMax, `${Math.round(grown / mebibyte)} MiB over rest`);
  t.equal((await fetch(`${target.traffic.origin}/health`)).status, 200, 'others are served');
  target.leave();
}

const target = await start(t);

t.test('attack 35: 500 slow-header clients, each with most of a head', async (t) => {
  await staysWithinBounds(t, target, 5_000, () => {
    for (let count = 0; count < 500; count += 1) {
      const socket = target.open(`GET /open/x HTTP/1.1\r\nHost: a\r\nX-A: ${'a'.repeat(12_000)}`);
      const drip = setInterval(() => socket.write('a'), 500);
      socket.on('close', () => clearInterval(drip));
    }
  });
});

t.test('attack 35: 300 bodies at 1 byte a second, streamed and inspected', async (t) => {
  await staysWithinBounds(t, target, 5_000, () => {
    for (let count = 0; count < 300; count += 1) {
      const path = count % 2 === 0 ? '/open/x' : '/json/x';
      const socket = target.open(
        `POST ${path} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n"${'a'.repeat(16_000)}`,
      );
      const drip = setInterval(() => socket.write('a'), 1_000);
      socket.on('close', () => clearInterval(drip));
    }
  });
});

t.test('attack 35: 50 MB for each of 60 clients who read nothing', async (t) => {
  await staysWithinBounds(t, target, 5_000, () => {
    for (let count = 0; count < 60; count += 1)
      target.open('GET /open/large HTTP/1.1\r\nHost: a\r\n\r\n').pause();
  });
});

// Garbage of a million requests, if all were parsed: 400 MiB and more.
t.test('500 clients who send as many requests behind one another as fit, and read nothing', async (t) => {
  // A fresh one: where another attack has made room already, this one takes less.
  const target = await start(t);
  await staysWithinBounds(t, target, 5_000, () => {
    for (let count = 0; count < 500; count += 1)
      target.open('GET /health HTTP/1.1\r\nHost: a\r\n\r\n'.repeat(2_000)).pause();
  });
});

// 400 KiB of each, if all were read before their turn: 120 MiB. More clients than these find no place at the upstream.
t.test('300 clients who send bodies behind a request that is not answered', async (t) => {
  const target = await start(t);
  const body = `POST /open/x HTTP/1.1\r\nHost: a\r\nContent-Length: 60000\r\n\r\n${'b'.repeat(60_000)}`;
  await staysWithinBounds(t, target, 5_000, () => {
    for (let count = 0; count < 300; count += 1)
      target.open(`GET /open/silent HTTP/1.1\r\nHost: a\r\n\r\n${body.repeat(7)}`);
  });
});

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
