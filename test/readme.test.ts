/** The README tells the truth: its walk runs as it stands, and what it names is there. */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import t from 'tap';
import { programEnv, startProgram } from './support/program.ts';

const readme = readFileSync('README.md', 'utf8');
const packageJson = JSON.parse(readFileSync('package.json', 'utf8'));

t.test('the walk runs as it stands', async (t) => {
  const [, walk = ''] = /<!-- walk:.*-->\n```sh\n([\s\S]*?)```/.exec(readme) ?? [];
  t.ok(walk.length > 500);
  const directory = t.testdir();
  const program = startProgram(['quickstart'], programEnv(directory));
  t.teardown(() => program.stop('SIGKILL'));
  const said = async (pattern: RegExp) => (await program.said(pattern))[1] ?? '';
  const traffic = await said(/traffic +(\S+)/);
  const operations = await said(/metrics +(\S+)\/metrics/);
  const script = walk
    .replaceAll('http://127.0.0.1:8000', traffic)
    .replaceAll('http://127.0.0.1:9464', operations);
  const { status, stdout, stderr } = spawnSync('bash', ['-eu', '-o', 'pipefail', '-c', script], {
    encoding: 'utf8',
    cwd: directory,
    env: { ...process.env, PASSWORD: await said(/admin password +(\S+)/), KEY: await said(/API key +(\S+)/) },
  });
  t.equal(status, 0, stderr);
  const answers = stdout.split(/(?<=[}\]])(?=\{)/);
  t.match(stdout, /^\{"items":\[\],"total":0/, 'an empty list first');
  t.match(answers[1], /"name":"get_weather"/);
  t.match(answers[2], /"total":1/);
  t.match(stdout, /"title":"The weather"/, 'it was changed');
  t.match(stdout, /deleted: 204/);
  t.match(stdout, /200 .*429 /, 'the limit was reached');
  t.match(stdout, /"code":"permission_denied"/, 'the reader may not create');
  t.notMatch(stdout, /"code":"(?!permission_denied)/, 'nothing else was refused');
  t.match(stdout, /"status_code":403/, 'the log tells of it');
  t.match(stdout, /portcullis_http_requests_total\{route="\/tools",method="POST",status="403"\} 1/);
});

t.test('every dependency has its line, and no other has one', async (t) => {
  const table = /### Dependencies\n[\s\S]*?\n### /.exec(readme)?.[0] ?? '';
  for (const name of [
    ...Object.keys(packageJson.dependencies),
    ...Object.keys(packageJson.devDependencies),
  ]) {
    if (!name.startsWith('@types/')) t.ok(table.includes(name), name);
  }
  const rows = [...table.matchAll(/^\| (?!package|-)([^|]+) \|/gm)].flatMap(([, names = '']) =>
    names.split(', '),
  );
  for (const name of rows.filter((row) => !row.includes(' ')))
    t.ok(name in packageJson.dependencies, `${name} is installed`);
});

t.test('the two commands are what npm runs', async (t) => {
  t.match(packageJson.scripts.start, /quickstart/);
  t.match(readFileSync('.ci/run', 'utf8'), /^(?:exec )?npm cit$/m);
});
