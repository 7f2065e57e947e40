/** `workers`: what several processes cannot share is refused with a place and a way out. */
import t from 'tap';
import { parseConfig } from '../../src/config/load.ts';
import { ConfigError, formatProblem } from '../../src/config/problem.ts';
import { shareOfOne } from '../../src/workers/share.ts';

const yaml = (lines: string) => `
version: 1
rate_limits: { classes: { public: { rate: 1/minute }, read: { rate: 1/minute }, write: { rate: 1/minute }, admin: { rate: 1/minute } } }
${lines}
`;

function problemsOf(lines: string): string[] {
  try {
    parseConfig(yaml(lines), { file: 'gateway.yaml', env: {} });
    return [];
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return error.problems.map(formatProblem);
  }
}

const file = '{ type: file, path: audit.log }';

t.test('one process is what there is unless it is said otherwise', async (t) => {
  const { config } = parseConfig(yaml(`audit: { sinks: [${file}] }`), { file: 'gateway.yaml', env: {} });
  t.equal(config.workers, 1);
});

t.test('a database in the memory of one process', async (t) => {
  const lines = `audit: { sinks: [${file}] }\ndatabase: "sqlite::memory:"`;
  t.strictSame(problemsOf(lines), []);
  t.match(problemsOf(`${lines}\nworkers: 2`), [/database: is in the memory of one process/]);
});

t.test('a folder in which one process keeps what its sink could not deliver', async (t) => {
  const spill = '{ type: http, url: "https://x.example/", spill: { path: ./spill } }';
  const lines = `audit: { sinks: [${file}, ${spill}] }`;
  t.strictSame(problemsOf(lines), []);
  t.match(problemsOf(`${lines}\nworkers: 2`), [/audit\.sinks\.1\.spill: is the folder of one process/]);
});

t.test('fewer connections than workers', async (t) => {
  const lines = `audit: { sinks: [${file}] }\nlisten: { limits: { connections_per_address: 3 } }`;
  t.strictSame(problemsOf(`${lines}\nworkers: 3`), []);
  t.match(problemsOf(`${lines}\nworkers: 4`), [/connections_per_address: is less than workers/]);
});

t.test('the parts of all workers together are never more than the whole', async (t) => {
  const lines = `audit: { sinks: [${file}], readers: { max: 0 } }
workers: 3
listen: { limits: { connections: 100, connections_per_address: 7 } }
upstreams: { app: { url: "http://127.0.0.1:1", connections: 64, pending: 10 } }`;
  const { config } = parseConfig(yaml(lines), { file: 'gateway.yaml', env: {} });
  const { listen, upstreams, audit, rate_limits, websockets } = shareOfOne(config);
  t.match(listen.limits, { connections: 33, connections_per_address: 2 });
  t.match(upstreams.app, { connections: 21, pending: 3 });
  t.equal(audit.readers.max, 0, 'none stays none');
  t.equal(websockets.open, 85);
  t.equal(rate_limits.replicas, 3, 'while Redis is away, a worker is one of so many');
});
