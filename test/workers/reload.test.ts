/** Workers go over to another configuration together, or none does. The real program. */
import { renameSync, writeFileSync } from 'node:fs';
import t from 'tap';
import { linesOf } from '../support/audit.ts';
import { startCrew, statusesOf, writeConfig } from '../support/crew.ts';
import { until } from '../support/redis.ts';

t.test('another configuration is taken by all workers, and a bad one by none', async (t) => {
  const crew = await startCrew(t);
  const route = (path: string) => `\n  - { path: ${path}/*, upstream: app, permission: none, class: public }`;
  const all = async (path: string) =>
    new Set((await Promise.all(Array.from({ length: 8 }, () => crew.get(path)))).map(({ status }) => status));
  writeConfig(crew.config, { sections: { routes: route('/new') } });
  crew.program.child.kill('SIGHUP');
  await until(() => crew.program.stderr().includes('the workers have taken the configuration'));
  t.strictSame(await all('/new/x'), new Set([200]));
  t.strictSame(await all('/open/x'), new Set([401]));
  t.equal(await crew.metric('portcullis_config_last_reload_successful'), 1);
  writeConfig(crew.config, { sections: { routes: route('/worse'), database: 'sqlite:./other.db' } });
  crew.program.child.kill('SIGHUP');
  await until(async () => (await crew.metric('portcullis_config_last_reload_successful')) === 0);
  t.strictSame(await all('/new/x'), new Set([200]));
  t.match(crew.program.stderr(), /database cannot change while the gateway runs/);
  await crew.program.stop();
  const events = (await crew.auditFiles()).flatMap(linesOf).map((line) => JSON.parse(line).event);
  t.equal(events.filter((event) => event === 'reload_accepted').length, 2, 'by each');
  t.equal(events.filter((event) => event === 'reload_refused').length, 1, 'told once');
});

t.test('a worker that does not answer: no other goes over either, and it is told who did not', async (t) => {
  const crew = await startCrew(t);
  const [, second = 0] = crew.workerIds();
  process.kill(second, 'SIGSTOP');
  t.teardown(() => process.kill(second, 'SIGCONT'));
  writeConfig(crew.config, {
    sections: { routes: '\n  - { path: /new/*, upstream: app, permission: none, class: public }' },
  });
  crew.program.child.kill('SIGHUP');
  await until(() => crew.program.stderr().includes('the configuration was not taken'));
  process.kill(second, 'SIGCONT');
  t.match(crew.program.stderr(), /worker 2 does not answer/);
  t.equal(await crew.metric('portcullis_config_last_reload_successful'), 0);
  t.strictSame(await statusesOf(crew, '/open/x', 8), { 200: 8 });
  t.strictSame(await statusesOf(crew, '/new/x', 8), { 401: 8 });
});

t.test('a worker that starts after a reload starts with what is in force', async (t) => {
  const crew = await startCrew(t);
  writeConfig(crew.config, {
    sections: { routes: '\n  - { path: /new/*, upstream: app, permission: none, class: public }' },
  });
  crew.program.child.kill('SIGHUP');
  await until(() => crew.program.stderr().includes('the workers have taken the configuration'));
  // A file that is bad by now is nothing to it.
  writeFileSync(crew.config, 'version: 2\n');
  // One after the other: without any, the free port that was given is given back.
  for (const pid of crew.workerIds()) await crew.kill(pid);
  t.strictSame(await statusesOf(crew, '/new/x', 8), { 200: 8 });
});

t.test('SIGHUP opens the audit log anew in every worker', async (t) => {
  const crew = await startCrew(t);
  await statusesOf(crew, '/open/x', 10);
  const [path = ''] = (await crew.auditFiles()).slice(-1);
  await until(() => linesOf(path).filter((line) => line.includes('"path":"/open/x"')).length === 10);
  renameSync(path, `${path}.old`);
  crew.program.child.kill('SIGHUP');
  await until(() => crew.program.stderr().includes('the workers have taken the configuration'));
  await statusesOf(crew, '/open/y', 10);
  await crew.program.stop();
  t.equal(linesOf(path).filter((line) => line.includes('"path":"/open/y"')).length, 10);
  t.equal((await crew.command(['audit', 'verify', `${path}.old`, path])).exitCode, 0);
});
