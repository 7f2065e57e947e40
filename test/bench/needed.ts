/** The real programs that a comparison needs; where this is root on Debian they are installed. */
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';

const needed: ReadonlyArray<readonly [isThere: () => boolean, debianPackage: string]> = [
  [() => runs('wrk', '-v'), 'wrk'],
  [() => runs('nginx', '-v'), 'nginx'],
  [() => existsSync('/usr/lib/nginx/modules/ngx_http_lua_module.so'), 'libnginx-mod-http-lua'],
  [() => existsSync('/usr/share/lua/5.1/nginx/redis.lua'), 'lua-nginx-redis'],
  [() => runs('redis-server', '--version'), 'redis-server'],
  [() => runs('curl', '--version'), 'curl'],
  [() => runs('taskset', '--version'), 'util-linux'],
];

/** @throws naming the packages that are missing and could not be installed */
export function installNeeded(): void {
  const missing = () => needed.filter(([isThere]) => !isThere()).map(([, name]) => name);
  const packages = missing();
  if (packages.length === 0) return;
  if (process.getuid?.() === 0 && existsSync('/etc/debian_version')) install(packages);
  const still = missing();
  if (still.length > 0)
    throw new Error(`The comparison needs, as Debian calls them: apt-get install ${still.join(' ')}`);
}

function runs(program: string, flag: string): boolean {
  return spawnSync(program, [flag], { stdio: 'ignore' }).error === undefined;
}

/** Debian starts what it installs: a policy says no, so that no server of the machine's own is left running. */
function install(packages: readonly string[]): void {
  process.stdout.write(`installing ${packages.join(', ')}\n`);
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive', RUNLEVEL: '1' };
  const quiet = { stdio: ['ignore', 'ignore', 'inherit'] as ['ignore', 'ignore', 'inherit'], env };
  spawnSync('apt-get', ['update', '-q'], quiet);
  spawnSync('apt-get', ['install', '-y', '-q', '--no-install-recommends', ...packages], quiet);
}
