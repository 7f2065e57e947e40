/** Workers come, go and change together; what they have written is proven. The real program. */

import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { join } from 'node:path';
import t from 'tap';
import { linesOf } from '../support/audit.ts';
import { type Crew, startCrew, statusesOf, writeConfig } from '../support/crew.ts';
import { programEnv, runProgram } from '../support/program.ts';
import { until } from '../support/redis.ts';

/** 0 where `audit verify` proves every record; else what it says. */
async function verified(crew: Crew): Promise<0 | string> {
  const { exitCode, stdout, stderr } = await crew.command(['audit', 'verify', ...(await crew.auditFiles())]);
  return exitCode === 0 ? 0 : `${exitCode}: ${stdout}${stderr}`;
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

t.test(
  'kill -9 of a worker: requests go on, it comes back, counters do not fall, the log is proven',
  async (t) => {
    const crew = await startCrew(t);
    await statusesOf(crew, '/open/x', 40);
    const served = () => crew.metric('portcullis_http_requests_total{route="/open/*"');
    await until(async () => (await served()) === 40);
    const [first = 0, second = 0] = crew.workerIds();
    let asked = 40;
    for (const victim of [second, first]) {
      const isBack = crew.kill(victim);
      // One connection may have been on its way to the dead one: it is told at once.
      const answers = await Promise.allSettled(Array.from({ length: 30 }, () => crew.get('/open/x')));
      const passed = answers.filter((answer) => answer.status === 'fulfilled');
      t.ok(passed.length >= 28, `${passed.length} of 30`);
      t.ok(passed.every(({ value }) => value.status === 200));
      t.ok(await crew.isReady(), 'the other one serves');
      asked += passed.length;
      // Nothing is lost to the sum that was seen once.
      await until(async () => (await served()) >= asked);
      await isBack;
      t.notOk(crew.workerIds().includes(victim));
    }
    t.equal(crew.workerIds().length, 2);
    t.equal(await crew.metric('portcullis_worker_restarts_total'), 2);
    t.match(crew.program.stderr(), /"worker":2,"pid":\d+,"code":null,"signal":"SIGKILL","restart_in_ms":100/);
    await until(async () => (await served()) === asked);
    const { exitCode } = await crew.program.stop();
    t.equal(exitCode, 0);
    t.equal(await verified(crew), 0);
  },
);

t.test('kill -9 under load, again and again: every record on disk is proven', async (t) => {
  const crew = await startCrew(t, {
    sections: { audit: `{ sinks: [{ type: file, path: "\${AUDIT_LOG_FILE}", rotate: { size: 64KiB } }] }` },
  });
  let isOver = false;
  const load = Array.from({ length: 8 }, async () => {
    while (!isOver) await crew.get('/open/x').catch(() => undefined);
  });
  for (let kill = 0; kill < 4; kill += 1) {
    // Time to write enough that the file gives way, and to sign now and then.
    await new Promise((resolve) => setTimeout(resolve, 1_200));
    const victim = crew.workerIds()[kill % 2] ?? 0;
    await crew.kill(victim);
  }
  isOver = true;
  await Promise.all(load);
  await crew.program.stop();
  t.ok((await crew.auditFiles()).length > 3, 'it was rotated meanwhile');
  t.equal(await verified(crew), 0);
});

t.test('SIGTERM lets what is under way finish in every worker, and leaves nobody behind', async (t) => {
  const crew = await startCrew(t);
  const pids = crew.workerIds();
  const slow = Array.from({ length: 6 }, () => crew.get('/open/slow'));
  await until(async () => (await crew.metric('portcullis_http_requests_in_flight')) === 6);
  const stopped = crew.program.stop('SIGTERM');
  await until(async () => !(await crew.isReady().catch(() => false)));
  crew.release();
  for (const { status, text } of await Promise.all(slow)) t.strictSame([status, text], [200, 'late']);
  t.equal((await stopped).exitCode, 0);
  t.strictSame(pids.filter(isAlive), []);
  t.equal(await verified(crew), 0);
  const ends = (await crew.auditFiles()).flatMap(linesOf).filter((line) => line.includes('"end":true'));
  t.equal(ends.length, 2, 'each has said that nothing follows');
});

t.test('a second signal ends all of them at once, whatever is under way', async (t) => {
  const crew = await startCrew(t, {
    sections: { listen: `{ port: "\${PORT}", drain: { idle: 100ms, grace: 1h } }` },
  });
  const pids = crew.workerIds();
  const slow = Array.from({ length: 4 }, () => crew.get('/open/slow').catch(() => 'cut off'));
  await until(async () => (await crew.metric('portcullis_http_requests_in_flight')) === 4);
  const stopped = crew.program.stop('SIGTERM');
  await until(async () => !(await crew.isReady().catch(() => false)));
  // Two that come within half a second are one wish.
  await new Promise((resolve) => setTimeout(resolve, 600));
  t.ok(pids.every(isAlive), 'the first one waits for what is under way');
  crew.program.child.kill('SIGTERM');
  t.equal((await stopped).exitCode, 1);
  await until(() => !pids.some(isAlive));
  t.strictSame(await Promise.all(slow), Array(4).fill('cut off'));
});

t.test(
  'a primary that is killed takes its workers with it, and what they had buffered is written',
  async (t) => {
    const crew = await startCrew(t);
    const pids = crew.workerIds();
    t.strictSame(await statusesOf(crew, '/open/x', 20), { 200: 20 });
    crew.program.child.kill('SIGKILL');
    await once(crew.program.child, 'close');
    await until(() => !pids.some(isAlive));
    const records = (await crew.auditFiles())
      .flatMap(linesOf)
      .filter((line) => line.includes('"path":"/open/x"'));
    t.equal(records.length, 20);
  },
);

t.test('what keeps a worker from starting is told once, and ends the program', async (t) => {
  const taken = createServer().listen(0, '127.0.0.1');
  await once(taken, 'listening');
  t.teardown(() => taken.close());
  const config = join(t.testdir(), 'gateway.yaml');
  writeConfig(config, { workers: 3 });
  const env = {
    ...programEnv(t.testdirName),
    APP_URL: 'http://127.0.0.1:1',
    PORT: String((taken.address() as AddressInfo).port),
  };
  const { exitCode, stderr } = await runProgram(['start', '--config', config], env);
  t.equal(exitCode, 1);
  t.equal(stderr.match(/something listens there already/g)?.length, 1, stderr);
});

t.test('rotation: every record of all workers is in one of the files, and proven', async (t) => {
  const crew = await startCrew(t, {
    sections: { audit: `{ sinks: [{ type: file, path: "\${AUDIT_LOG_FILE}", rotate: { size: 64KiB } }] }` },
  });
  for (let turn = 0; turn < 15; turn += 1) await statusesOf(crew, '/open/x', 40);
  await crew.program.stop();
  const files = await crew.auditFiles();
  t.ok(files.length > 3);
  const records = files.flatMap(linesOf).filter((line) => line.includes('"path":"/open/x"'));
  t.equal(records.length, 600);
  t.equal(await verified(crew), 0);
});

/** Tells of every module that only several processes need. */
const watch = `data:text/javascript,${encodeURIComponent(`
import { registerHooks } from 'node:module';
registerHooks({
  resolve(specifier, context, next) {
    if (/^(?:node:)?cluster$|workers\\/(?:primary|worker)\\.ts$/.test(specifier)) console.error('RESOLVED ' + specifier);
    return next(specifier, context);
  },
});`)}`;

/** For all that leaves it as it is. */
const crew = await startCrew(t, { env: { NODE_OPTIONS: `--import=${watch}` } });

t.test('several processes do load it', async (t) => {
  t.match(crew.program.stderr(), /RESOLVED node:cluster/);
});

t.test('one process loads nothing that only several need', async (t) => {
  const one = await startCrew(t, { workers: 1, env: { NODE_OPTIONS: `--import=${watch}` } });
  t.strictSame(await statusesOf(one, '/open/x', 4), { 200: 4 });
  t.strictSame(one.workerIds(), []);
  t.notMatch(one.program.stderr(), /RESOLVED/);
});

t.test('an admin sees what all workers have written', async (t) => {
  await statusesOf(crew, '/open/x', 10);
  const setup = JSON.parse((await crew.command(['setup', '--json'])).stdout) as {
    username: string;
    password: string;
  };
  const { access_token } = JSON.parse(
    (await crew.post('/auth/login', { username: setup.username, password: setup.password })).text,
  );
  const seen = async () => {
    const { text } = await crew.get('/admin/audit?path=/open/x', { authorization: `Bearer ${access_token}` });
    return (JSON.parse(text) as { items?: Array<{ replica: string }> }).items ?? [];
  };
  await until(async () => (await seen()).length === 10);
  t.equal(new Set((await seen()).map(({ replica }) => replica)).size, 2);
});

t.test('a second gateway on the database of the first is refused', async (t) => {
  const { exitCode, stderr } = await runProgram(['start', '--config', crew.config], crew.env);
  t.equal(exitCode, 1);
  t.match(stderr, /another gateway runs on this database/);
});
