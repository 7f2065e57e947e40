/** `npm test`: finds or installs the real programs the tests talk to, then style, types, unused code, tests. */
import { type SpawnSyncOptions, spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { postgresPrograms } from './postgres.ts';
import { pythonWith } from './python.ts';

interface Needed {
  readonly program: string;
  /** Where it is not simply on the path. */
  readonly isThere?: () => boolean;
  /** The Debian package that has it. */
  readonly debianPackage: string;
  readonly why: string;
}

const needed: readonly Needed[] = [
  { program: 'promtool', debianPackage: 'prometheus', why: 'checks what /metrics says' },
  {
    program: 'curl',
    debianPackage: 'curl',
    why: 'runs the commands that the README and the first start print',
  },
  {
    program: 'postgres',
    isThere: () => postgresPrograms() !== undefined,
    debianPackage: 'postgresql',
    why: 'is the database that several gateways can share',
  },
  {
    program: 'redis-server',
    debianPackage: 'redis-server',
    why: 'is the Redis that counts for several gateways',
  },
  { program: 'redis-sentinel', debianPackage: 'redis-sentinel', why: 'watches over Redis in a failover' },
  {
    program: 'nginx',
    // It knows no --version.
    isThere: () => spawnSync('nginx', ['-v'], { stdio: 'ignore' }).error === undefined,
    debianPackage: 'nginx-light',
    why: 'stands in front of the gateway as the README shows it',
  },
  { program: 'openssl', debianPackage: 'openssl', why: 'makes keys and certificates as operators do' },
  { program: 'kubectl', debianPackage: 'kubernetes-client', why: 'renders the manifests as it applies them' },
  { program: 'chromium', debianPackage: 'chromium', why: 'opens the API page as a person would' },
  ...(['jwt', 'cryptography'] as const).map((module) => ({
    program: `python3 with ${module}`,
    isThere: () => pythonWith(module) !== undefined,
    debianPackage: `python3-${module}`,
    why: 'runs the example in Python of the README',
  })),
  {
    program: 'jq',
    debianPackage: 'jq',
    why: 'counts in the audit log what an alert of the README asks about',
  },
  { program: 'sqlite3', debianPackage: 'sqlite3', why: 'backs the embedded database up as the README does' },
  {
    program: 'pg_dump',
    debianPackage: 'postgresql-client',
    why: 'backs PostgreSQL up as the README does; psql of the same package brings it back',
  },
  { program: 'pgrep', debianPackage: 'procps', why: 'finds the processes of that database' },
];

const steps: ReadonlyArray<readonly [title: string, command: string, ...args: string[]]> = [
  ['format and lint', 'biome', 'check', '--config-path=.ci/style.json', '--error-on-warnings', '.'],
  ['types', 'tsc', '--noEmit'],
  ['unused code', 'knip'],
  ['tests', 'tap', ...process.argv.slice(2)],
];

process.exitCode = main();

function main(): number {
  if (!haveAll()) return 1;
  for (const [title, command, ...args] of steps) {
    process.stdout.write(`\n# ${title}: ${[command, ...args].join(' ')}\n`);
    const { status, error } = spawnSync(command, args, { stdio: 'inherit' });
    if (error !== undefined)
      process.stderr.write(`${command} did not start: ${error.message}. Run npm ci first.\n`);
    if (status !== 0) return status ?? 1;
  }
  return 0;
}

/** A missing program is installed where that can be done, else named: a test never skips for want of one. */
function haveAll(): boolean {
  const missing = needed.filter((one) => !isThere(one));
  if (missing.length === 0) return true;
  if (isRootOnDebian()) install(missing.map(({ debianPackage }) => debianPackage));
  const still = missing.filter((one) => !isThere(one));
  for (const { program, debianPackage, why } of still) {
    process.stderr.write(
      `The tests need ${program} (it ${why}): on Debian, apt-get install ${debianPackage}\n`,
    );
  }
  return still.length === 0;
}

function isThere({ program, isThere: look }: Needed): boolean {
  if (look !== undefined) return look();
  return spawnSync(program, ['--version'], { stdio: 'ignore' }).error === undefined;
}

function isRootOnDebian(): boolean {
  try {
    return (
      process.getuid?.() === 0 && /^ID(?:_LIKE)?=.*debian/m.test(readFileSync('/etc/os-release', 'utf8'))
    );
  } catch {
    return false;
  }
}

function install(packages: readonly string[]): void {
  process.stdout.write(`# installing ${packages.join(', ')}\n`);
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  const quiet: SpawnSyncOptions = { stdio: ['ignore', 'ignore', 'inherit'], env };
  spawnSync('apt-get', ['update', '-q'], quiet);
  spawnSync('apt-get', ['install', '-y', '-q', '--no-install-recommends', ...packages], quiet);
}
