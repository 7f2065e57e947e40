/**
 * What leases cost and save. First many replicas in one process, with skewed demand, against a real Redis whose clock
 * is set by the simulation; then one replica by the real clock, with leases and without.
 *
 *     node test/bench/leases.ts
 */

import { Away } from '../../src/bucket/away.ts';
import { Leases } from '../../src/bucket/leases.ts';
import { RedisBuckets } from '../../src/bucket/redis.ts';
import { ScriptStore, type Sender } from '../../src/bucket/script-store.ts';
import { systemClock } from '../../src/clock.ts';
import type { RateClass } from '../../src/exchange.ts';
import { RedisConnections } from '../../src/redis/connections.ts';
import { parseRedisUrl } from '../../src/redis/url.ts';
import { clockKey, scriptWithSetClock } from '../bucket/set-clock.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { startRedis, until } from '../support/redis.ts';

const teardowns: Array<() => unknown> = [];
const redis = await startRedis({ teardown: (callback) => teardowns.push(callback) });
const connections = new RedisConnections(parseRedisUrl(redis.url));
const client = connections.client('bench', () => undefined);
await until(() => client.isUp);

let trips = 0;
const counting: Sender = {
  send: (command, ...args) => {
    trips += 1;
    return client.send(command, ...args);
  },
};

const say = (line: string) => process.stdout.write(`${line}\n`);
const patient = 60_000;

/** A public class that leases, and the same that does not. */
const perSecond = 10_000;
const rateClass: RateClass = { name: 'bench', capacity: perSecond, refillUnits: 1, refillPeriodUs: 100 };
const small: RateClass = {
  ...rateClass,
  name: 'small',
  capacity: 999,
  refillUnits: 1,
  refillPeriodUs: 1_001,
};

try {
  say('One caller, 10,000 a second, over so many replicas; of the demand, half comes to a tenth of them.');
  say('| replicas | demand | asked | allowed | admitted | under | round trips a request |');
  say('| --- | --- | --- | --- | --- | --- | --- |');
  for (const replicas of [1, 10, 100, 1_000]) {
    for (const demand of [0.5, 2]) say(await simulate(replicas, demand));
  }
  say('');
  say('One replica, one caller, by the clock:');
  say('| | requests | round trips a request | CPU a request |');
  say('| --- | --- | --- | --- |');
  say(await measure('with leases', rateClass));
  say(await measure('without', small));
} finally {
  await connections.close();
  for (const teardown of teardowns.reverse()) await teardown();
}

/** @param demand as a part of the rate */
async function simulate(replicas: number, demand: number): Promise<string> {
  const stepMs = 20;
  const durationMs = 3_000;
  const startUs = 1_800_000_000_000_000;
  const clock = new FakeClock(startUs / 1_000);
  const store = new ScriptStore(counting, patient, scriptWithSetClock);
  const partition = `simulation ${replicas} ${demand}`;
  const all = Array.from({ length: replicas }, () => {
    const empties = { untilMs: 0 };
    const leases = new Leases({
      store,
      clock,
      onFault: (_, fault) => {
        throw fault;
      },
      away: () => {
        throw new Error('nobody is away');
      },
      onAnswer: () => undefined,
      onEmpty: ({ retryInMs }) => {
        empties.untilMs = clock.nowMs + retryInMs;
      },
      mayAsk: () => true,
    });
    return { leases, empties };
  });
  let asked = 0;
  let admitted = 0;
  trips = 0;
  let backlog = 0;
  for (let elapsedMs = 0; elapsedMs < durationMs; elapsedMs += stepMs) {
    await client.send('SET', clockKey, startUs + elapsedMs * 1_000);
    clock.nowMs = startUs / 1_000 + elapsedMs;
    backlog += (perSecond * demand * stepMs) / 1_000;
    const decisions: Array<Promise<boolean>> = [];
    while (backlog >= 1) {
      backlog -= 1;
      asked += 1;
      const isBusy = asked % 2 === 0;
      const index = Math.floor(Math.random() * Math.max(1, isBusy ? replicas / 10 : replicas));
      const replica = all[index];
      if (replica === undefined || clock.nowMs < replica.empties.untilMs) continue;
      decisions.push(
        Promise.resolve(replica.leases.take(rateClass, partition, 1)).then((one) => one.admitted),
      );
    }
    admitted += (await Promise.all(decisions)).filter(Boolean).length;
  }
  const perRequest = trips / asked;
  const allowed = Math.min(asked, rateClass.capacity + (perSecond * (durationMs - stepMs)) / 1_000);
  for (const { leases } of all) await leases.close();
  if (admitted > allowed) throw new Error(`${admitted} were admitted, ${allowed} allowed`);
  const under = ((100 * (allowed - admitted)) / allowed).toFixed(1);
  return `| ${replicas} | ${demand * 100} % | ${asked} | ${allowed} | ${admitted} | ${under} % | ${perRequest.toFixed(3)} |`;
}

async function measure(name: string, one: RateClass): Promise<string> {
  const buckets = new RedisBuckets({
    sender: counting,
    isCluster: false,
    clock: systemClock,
    away: new Away({ clock: systemClock, replicas: 1, policies: new Map() }),
    deadlineMs: 1_000,
    onTurn: () => undefined,
  });
  buckets.connected(true, undefined);
  await until(async () => (await buckets.take(one, 'warm-up', 1)).source !== 'local');
  const requests = 40_000;
  const partitions = Array.from({ length: 8 }, (_, index) => `caller ${index}`);
  trips = 0;
  const before = process.cpuUsage();
  for (let index = 0; index < requests; index += 10) {
    await Promise.all(
      Array.from({ length: 10 }, (_, more) =>
        // Without leases, many callers, so that none is known to be empty.
        buckets.take(one, one === small ? `${index + more}` : (partitions[more % 8] ?? ''), 1),
      ),
    );
  }
  const used = process.cpuUsage(before);
  const perRequestUs = ((used.user + used.system) / requests).toFixed(1);
  const perRequest = (trips / requests).toFixed(4);
  await buckets.close();
  return `| ${name} | ${requests} | ${perRequest} | ${perRequestUs} µs |`;
}
