/** An explanation of a limit that is used up, and of buckets that are asked and not taken from. */
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { buildGateway } from '../src/assemble.ts';
import { MemoryBuckets } from '../src/bucket/memory.ts';
import { rateClassOf } from '../src/config/schema.ts';
import { openIssuers } from '../src/credentials/issuers.ts';
import { KnownCredentials } from '../src/credentials/known.ts';
import { VerifiedCredentials } from '../src/credentials/verified.ts';
import { downstreamBounds } from '../src/downstream-bounds.ts';
import { explainRequest } from '../src/explanation.ts';
import type { Gateway } from '../src/gateway.ts';
import { openIdentity } from '../src/identity/store.ts';
import { openTunnels } from '../src/upgrade.ts';
import { parse } from './config/reading.ts';
import { FakeClock } from './support/fake-clock.ts';

async function start(t: Test) {
  const { config } = parse(`version: 1
database: sqlite:${join(t.testdir(), 'portcullis.db')}
rate_limits:
  classes: { public: { rate: 3/minute }, read: { rate: 1/minute }, write: { rate: 1/minute }, admin: { rate: 1/minute } }
audit: { sinks: [{ type: file, path: audit.log }] }
`);
  const clock = new FakeClock();
  const identity = await openIdentity({ config, clock, onError: () => undefined });
  t.teardown(() => identity.close());
  const [issuers] = await openIssuers({ issuers: [], clock, onFetch: () => undefined });
  const recorder: Gateway['recorder'] = {
    begin: () => t.fail('the recorder is told of nothing'),
    attempt: async () => t.fail('the recorder is told of nothing'),
    complete: () => t.fail('the recorder is told of nothing'),
    refusedByParser: () => t.fail('the recorder is told of nothing'),
  } as unknown as Gateway['recorder'];
  const buckets = new MemoryBuckets(clock);
  const built = buildGateway({
    config,
    clock,
    identity,
    issuers,
    verified: new VerifiedCredentials({ clock, entriesMax: 1, stalenessMaxMs: 1 }),
    recorder,
    tracing: undefined,
    buckets,
    failureBuckets: new MemoryBuckets(clock),
    known: new KnownCredentials(),
    upstreams: new Map(),
    tunnels: openTunnels(config, () => undefined),
    tls: undefined,
    version: '0.0.0-test',
    isDraining: () => false,
    auditEndpoints: () => [],
  });
  const gateway = { ...built, buckets };
  const publicClass = rateClassOf(config, 'public');
  if (publicClass === undefined) throw new Error('there is no class public');
  const ask = (changes: object = {}) =>
    explainRequest(gateway, downstreamBounds(config), {
      method: 'GET',
      target: '/health',
      from: '192.0.2.1',
      ...changes,
    });
  return { gateway, publicClass, ask };
}

t.test('a bucket that is empty refuses, and is told', async (t) => {
  const { gateway, publicClass, ask } = await start(t);
  gateway.buckets.take(publicClass, '@192.0.2.1', 3);
  t.match(await ask(), {
    decision: 'deny',
    status: 429,
    code: 'rate_limited',
    principal: { kind: 'anonymous' },
    permission: { needed: 'none', granted: true },
    bucket: { class: 'public', partition: 'principal', key: '@192.0.2.1', remaining: 0, admitted: false },
    destination: null,
  });
  t.match(await ask({ from: '192.0.2.2' }), { decision: 'allow', bucket: { remaining: 2 } });
});

t.test('asked any number of times, a bucket holds what it held', async (t) => {
  const { gateway, publicClass, ask } = await start(t);
  gateway.buckets.take(publicClass, '@192.0.2.1', 2);
  for (let count = 0; count < 10; count += 1)
    t.match(await ask(), { decision: 'allow', bucket: { remaining: 0 } });
  t.equal(gateway.buckets.peek(publicClass, '@192.0.2.1', 1).remaining, 0);
  t.equal(gateway.buckets.peek(publicClass, '@192.0.2.1', 1).admitted, true);
});
