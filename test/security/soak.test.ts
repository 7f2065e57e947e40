/**
 * The program under a mixture of good, bad and broken clients: memory and handles are flat in the end.
 * `SOAK_SECONDS` (8) is how long; the real thing: `SOAK_SECONDS=600 npx tap --timeout=900 test/security/soak.test.ts`.
 */
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { Agent, createServer, request as httpRequest } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { join } from 'node:path';
import t from 'tap';
import { programEnv, runProgram, startProgram } from '../support/program.ts';
import { edgeYaml } from './edge.ts';
import { Chance, mutated } from './mutations.ts';

const seconds = Number(process.env.SOAK_SECONDS ?? 8);
const mebibyte = 1024 ** 2;
const clients = 12;

interface Sample {
  readonly residentBytes: number;
  readonly handles: number;
  readonly openFiles: number;
  readonly connections: number;
  readonly inFlight: number;
}

t.test(`${seconds} s of good, bad and broken clients`, { timeout: (seconds + 120) * 1_000 }, async (t) => {
  const upstream = createServer((request, response) => {
    request.resume();
    request.on('error', () => undefined);
    if (request.url?.includes('large') === true) response.end(Buffer.alloc(2 * mebibyte));
    else if (request.url?.includes('broken') === true) response.write('half', () => response.destroy());
    else request.on('end', () => response.end('ok'));
  });
  upstream.listen(0, '127.0.0.1');
  await once(upstream, 'listening');
  const directory = t.testdir();
  const file = join(directory, 'gateway.yaml');
  writeFileSync(file, edgeYaml('timeouts: { headers: 1s, request: 2s, idle: 1s, stall: 1s }'));
  const env = {
    ...programEnv(directory),
    LOG_LEVEL: 'info',
    REGISTRY_URL: `http://127.0.0.1:${(upstream.address() as AddressInfo).port}`,
  };
  const program = startProgram(['start', '--config', file], env);
  t.teardown(async () => {
    await program.stop('SIGKILL');
    upstream.closeAllConnections();
    upstream.close();
  });
  const said = (name: string) => new RegExp(`"${name}":"([^"]+)"`).exec(program.stderr())?.[1] ?? '';
  for (let tries = 0; tries < 1_000 && said('operations') === ''; tries += 1) await pause(20);
  const create = ['key', 'create', '--config', file, '--name', 'k', '--permissions', 'read', '--json'];
  const { key } = JSON.parse((await runProgram(create, env)).stdout) as { key: string };
  const { hostname, port, origin } = new URL(said('traffic'));
  const agent = new Agent({ keepAlive: true, maxSockets: clients });
  t.teardown(() => agent.destroy());

  const sample = async (): Promise<Sample> => {
    const text = await (await fetch(`${said('operations')}/metrics`)).text();
    const value = (name: string) => Number(new RegExp(`^${name} (\\S+)`, 'm').exec(text)?.[1]);
    const handles = [...text.matchAll(/^nodejs_active_resources\{.*\} (\d+)/gm)];
    return {
      residentBytes: value('process_resident_memory_bytes'),
      handles: handles.reduce((sum, [, count]) => sum + Number(count), 0),
      openFiles: value('process_open_fds'),
      connections: value('portcullis_connections'),
      inFlight: value('portcullis_http_requests_in_flight'),
    };
  };

  let good = 0;
  const ask = (path: string, method = 'GET', body = '', cutMs = 0) =>
    new Promise<void>((resolve) => {
      const request = httpRequest(`${origin}${path}`, { agent, method, headers: { 'x-api-key': key } });
      request.on('error', () => resolve());
      request.on('response', (response) => {
        if (response.statusCode === 200) good += 1;
        response.on('error', () => undefined);
        response.on('close', () => resolve());
        response.resume();
      });
      request.end(body);
      if (cutMs > 0) setTimeout(() => request.destroy(), cutMs);
    });
  /** Sends bytes, perhaps in the way of a slow client, and leaves. */
  const throwAt = async (pieces: readonly string[], stayMs: number) => {
    const socket = connect(Number(port), hostname);
    socket.on('error', () => undefined);
    socket.resume();
    for (const piece of pieces) {
      socket.write(Buffer.from(piece, 'latin1'));
      await pause(2);
    }
    await pause(stayMs);
    socket.destroy();
  };
  const doOne = (chance: Chance, number: number): Promise<void> => {
    switch (chance.whole(8)) {
      case 0:
        return ask('/open/large');
      case 1:
        return ask('/tools/x', 'POST', 'a'.repeat(chance.whole(100_000)));
      case 2:
        return ask('/open/broken');
      case 3:
        return ask('/open/large', 'GET', '', 1 + chance.whole(10));
      case 4:
        return throwAt(mutated(7, number, key), chance.whole(30));
      case 5:
        return throwAt(
          ['POST /open/x HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n', 'a'],
          chance.whole(20),
        );
      default:
        return ask(`/tools/${number}`);
    }
  };

  const endMs = performance.now() + seconds * 1_000;
  let number = 0;
  const samples: Sample[] = [];
  const before = await sample();
  await Promise.all([
    ...Array.from({ length: clients }, async (_, lane) => {
      const chance = new Chance(lane);
      while (performance.now() < endMs) {
        number += 1;
        await doOne(chance, number);
      }
    }),
    (async () => {
      for (; performance.now() < endMs; await pause(500)) samples.push(await sample());
    })(),
  ]);
  agent.destroy();
  // All times are a second or two, and undici lets go of an idle socket after four.
  let after = await sample();
  for (
    let tries = 0;
    tries < 30 && (after.connections > 0 || after.openFiles > before.openFiles + 4);
    tries += 1
  ) {
    await pause(500);
    after = await sample();
  }
  const peak = (from: number, to: number) =>
    Math.max(
      ...samples
        .slice(Math.floor(samples.length * from), Math.ceil(samples.length * to))
        .map((one) => one.residentBytes),
    );
  const [early, late] = [peak(0, 0.5), peak(0.5, 1)];
  t.comment(
    `${number} requests, ${good} of them answered 200; resident ${mib(before.residentBytes)} before, ${mib(early)} at most in the first half, ${mib(late)} in the second, ${mib(after.residentBytes)} after; files ${before.openFiles} → ${after.openFiles}, handles ${before.handles} → ${after.handles}`,
  );
  t.ok(good > number / 4, 'good clients are served');
  t.equal(after.inFlight, 0, 'no request is left');
  t.equal(after.connections, 0, 'no connection is left');
  t.ok(after.openFiles <= before.openFiles + 4, `files ${before.openFiles} → ${after.openFiles}`);
  t.ok(after.handles <= before.handles + 4, `handles ${before.handles} → ${after.handles}`);
  t.ok(late <= early + 64 * mebibyte, `resident ${mib(early)} → ${mib(late)}`);
  t.equal(program.child.exitCode, null, 'it is alive');
  t.notMatch(
    program.stderr(),
    /"level":"(?:error|fatal)".*(?:internal_error|state is in doubt|a fault outside)/,
  );
});

function mib(bytes: number): string {
  return `${Math.round(bytes / mebibyte)} MiB`;
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
