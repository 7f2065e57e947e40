/**
 * What each phase of a request seen before costs, as a share of what a request costs the bare floor in the same run:
 * `node test/bench/shares.ts`. Phases are run in a loop, on objects like those of a real request, which is less than
 * they cost between everything else; so the shares are for comparing with themselves, not for adding up.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { Pool } from 'undici';
import { Chain } from '../../src/audit/chain.ts';
import { noPseudonyms } from '../../src/audit/pseudonyms.ts';
import { recordOf, serialize } from '../../src/audit/record.ts';
import { MemoryBuckets } from '../../src/bucket/memory.ts';
import { systemClock } from '../../src/clock.ts';
import type { Assertions } from '../../src/credentials/assertions.ts';
import { KnownCredentials } from '../../src/credentials/known.ts';
import { never, VerifiedCredentials } from '../../src/credentials/verified.ts';
import type { Exchange } from '../../src/exchange.ts';
import { writeAnswerHead } from '../../src/http/answer-head.ts';
import { CheckedResponse } from '../../src/http/checked-response.ts';
import { Cors } from '../../src/http/cors.ts';
import type { ResponsePolicy } from '../../src/http/response.ts';
import { RouteTable } from '../../src/http/route-table.ts';
import { SecurityHeaders } from '../../src/http/security-headers.ts';
import { type Authentication, authenticate } from '../../src/phases/authenticate.ts';
import { authorize } from '../../src/phases/authorize.ts';
import { inspectBody } from '../../src/phases/inspect-body.ts';
import { limitRate } from '../../src/phases/limit-rate.ts';
import { matchRoute, type Routing } from '../../src/phases/match-route.ts';
import { rewriteHeaders } from '../../src/phases/rewrite-headers.ts';
import { Metrics } from '../../src/telemetry/metrics.ts';
import { exchangeOf, principalOf, readClass, routeOf } from '../support/exchange.ts';
import { freePort } from '../support/free-port.ts';
import { cpuSecondsOf } from './machine.ts';

export interface Share {
  readonly phase: string;
  readonly us: number;
  /** Of the floor's whole request. */
  readonly share: number;
}

const apiKey = 'mcp_4fXabcdefghi_000000000000000000000000000000000000ab';
const rounds = 12;
const callsARound = 4_000;

/** @returns µs a request of bare node:http and undici, and each phase's share of that */
export async function measureShares(): Promise<{ floorUs: number; shares: Share[] }> {
  const floorUs = await floorOf();
  const shares = Object.entries(await phases()).map(([phase, run]) => {
    const us = leastOf(run);
    return { phase, us, share: us / floorUs };
  });
  return { floorUs, shares };
}

/** Others may use the machine too, so the least of several rounds counts. */
function leastOf(run: () => unknown): number {
  let least = Number.POSITIVE_INFINITY;
  for (let round = 0; round < rounds; round += 1) {
    const before = process.cpuUsage();
    for (let call = 0; call < callsARound; call += 1) run();
    const { user, system } = process.cpuUsage(before);
    least = Math.min(least, (user + system) / callsARound);
  }
  return least;
}

/** One request in all its states, so that each phase can be run by itself, again and again. */
async function phases(): Promise<Record<string, () => unknown>> {
  const rateClass = { ...readClass, capacity: 1_000_000, refillUnits: 1, refillPeriodUs: 1 };
  const route = routeOf({ template: '/tools/*', rateClass });
  const routing = routingTo(route);
  const authentication = await knowing(apiKey);
  const cors = new Cors([]);
  const policy: ResponsePolicy = {
    security: new SecurityHeaders(),
    cors,
    clock: systemClock,
    stallMs: 30_000,
    isDraining: () => false,
  };
  const buckets = new MemoryBuckets(systemClock);
  const metrics = new Metrics({ version: '0', nodeVersion: '0' });
  const chain = new Chain();
  const context = { replica: 'gateway-0', configDigest: '0'.repeat(64), pseudonyms: noPseudonyms };
  const exchange = exchangeOf({
    target: '/tools/4fXk2m9Qa1Zr',
    headers: ['X-API-Key', apiKey, 'User-Agent', 'bench/1.0', 'Accept', '*/*'],
  });
  const found = matchRoute(routing, exchange);
  const principal = await authenticate(authentication, exchange, found);
  const permit = authorize(cors, exchange, found, principal);
  limitRate(buckets, exchange, permit);
  exchange.outcome.status = 200;
  exchange.outcome.upstreamMs = 1.5;
  return {
    'match route': () => matchRoute(routing, exchange),
    authenticate: () => authenticate(authentication, exchange, found),
    authorize: () => authorize(cors, exchange, found, principal),
    'limit rate': () => limitRate(buckets, exchange, permit),
    'inspect body': () => inspectBody(exchange, permit),
    'rewrite headers': () => rewriteHeaders(noAssertions, exchange, permit),
    'head of the answer': () => {
      const response = new CheckedResponse(exchange.request);
      writeAnswerHead(policy, { ...exchange, response }, 200, answerOfUpstream);
    },
    'audit record': () => chain.commit(chain.seal(serialize(recordOf(exchange, 'complete', 2.5), context))),
    metrics: () => {
      metrics.requestBegins();
      metrics.requestEnds(exchange, 2.5);
    },
  };
}

/** Asked by no route here. */
const noAssertions = {} as Assertions;

const answerOfUpstream = [
  ...['Server', 'nginx', 'Date', 'Mon, 23 Nov 2026 00:00:00 GMT', 'Content-Type', 'application/json'],
  ...['Content-Length', '110', 'Connection', 'keep-alive'],
].map((text) => Buffer.from(text));

function routingTo(route: Exchange['route'] & object): Routing {
  const table = new RouteTable();
  table.add(route.template, ['GET'], route);
  for (let index = 0; index < 9; index += 1) table.add(`/fill/${index}/*`, ['GET'], route);
  const limits = { headersMax: 100, targetBytesMax: 8_192 };
  return { table, preflight: route, refusalClass: route.rateClass, limits };
}

/** One who has seen this key. */
async function knowing(text: string): Promise<Authentication> {
  const verified = new VerifiedCredentials({ clock: systemClock, entriesMax: 1_000, stalenessMaxMs: 1e9 });
  verified.proven(systemClock.monotonicMs());
  const verify = async () => ({ principal: principalOf(), endsAt: never });
  await verified.verify({ authType: 'ApiKey', text }, { credentialId: undefined, verify });
  const unused = {} as Authentication;
  return { ...unused, verified, known: new KnownCredentials(), certificates: undefined };
}

/** µs of processor time that a request costs the bare pass-through. */
async function floorOf(): Promise<number> {
  const body = JSON.stringify({ id: '4fXk2m9Qa1Zr', text: 'a'.repeat(70) });
  const server = createServer((_, response) => {
    response.writeHead(200, { 'Content-Type': 'application/json', 'Content-Length': body.length });
    response.end(body);
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const port = await freePort();
  const to = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const { NODE_OPTIONS: _, ...env } = process.env;
  const bare = spawn(process.execPath, [join(import.meta.dirname, 'peers/bare.ts'), String(port), to], {
    env,
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  const pool = new Pool(`http://127.0.0.1:${port}`, { connections: 32 });
  try {
    return await leastOfBare(pool, bare.pid ?? 0);
  } finally {
    await pool.destroy();
    bare.kill('SIGKILL');
    server.closeAllConnections();
    server.close();
  }
}

async function leastOfBare(pool: Pool, pid: number): Promise<number> {
  const headers = { 'X-API-Key': apiKey };
  const ask = async () => {
    const { statusCode, body } = await pool.request({ method: 'GET', path: '/tools/4fXk2m9Qa1Zr', headers });
    await body.dump();
    if (statusCode !== 200) throw new Error(`the floor answers ${statusCode}`);
  };
  await answered(ask);
  let least = Number.POSITIVE_INFINITY;
  for (let round = 0; round < 6; round += 1) {
    const before = cpuSecondsOf(pid);
    let left = callsARound;
    const worker = async () => {
      while (left-- > 0) await ask();
    };
    await Promise.all(Array.from({ length: 32 }, worker));
    // The first one warms up.
    if (round > 0) least = Math.min(least, ((cpuSecondsOf(pid) - before) * 1e6) / callsARound);
  }
  return least;
}

async function answered(ask: () => Promise<void>): Promise<void> {
  for (let tries = 0; tries < 100; tries += 1) {
    try {
      return await ask();
    } catch {
      await delay(50);
    }
  }
  throw new Error('the floor does not answer');
}

if (import.meta.main) {
  const { floorUs, shares } = await measureShares();
  process.stdout.write(`bare: ${floorUs.toFixed(1)} µs a request\n`);
  for (const { phase, us, share } of shares)
    process.stdout.write(
      `${us.toFixed(2).padStart(7)} µs ${(share * 100).toFixed(1).padStart(6)} %  ${phase}\n`,
    );
}
