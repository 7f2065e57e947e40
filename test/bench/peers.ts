/** What is compared, each a process of its own, all on one core; what drives and serves them is on the other. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import Database from 'better-sqlite3';
import { Redis } from 'ioredis';
import { generateApiKey } from '../../src/credentials/api-key.ts';
import { keySeal } from '../../src/credentials/key-hmac.ts';
import { freePort } from '../support/free-port.ts';
import { signed, type TestKey, testKey } from '../support/issuer.ts';

/** The core that peers are on; one is under load at a time. */
export const peerCore = 0;
/** The core of wrk, the upstream and Redis. */
export const toolCore = 1;

export interface Peer {
  readonly url: string;
  readonly pid: number;
}

const here = import.meta.dirname;
const nginxModules = '/usr/lib/nginx/modules';

/** Everything that one comparison starts, and ends. */
export class Bench implements AsyncDisposable {
  readonly directory: string;
  readonly #children: ChildProcess[] = [];
  readonly #issuer: TestKey = testKey('EdDSA');
  #upstream = '';
  #bodies = '';
  #redis = 0;

  constructor(directory: string) {
    this.directory = directory;
  }

  /** Where the requests of every peer end. */
  async startTools(): Promise<void> {
    const port = await freePort();
    const conf = this.#write(
      'upstream.conf',
      template('upstream.conf', { DIRECTORY: this.directory, PORT: port }),
    );
    this.#start(toolCore, 'nginx', ['-c', conf]);
    this.#upstream = `http://127.0.0.1:${port}`;
    const bodies = await freePort();
    this.#start(toolCore, process.execPath, [join(here, 'peers/sink.ts'), String(bodies)]);
    this.#bodies = `http://127.0.0.1:${bodies}`;
    this.#redis = await freePort();
    this.#start(toolCore, 'redis-server', [
      ...['--port', String(this.#redis), '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no'],
      ...['--dir', this.directory],
    ]);
    await reachable(this.#upstream);
    await reachable(`${this.#bodies}/`);
  }

  get redisUrl(): string {
    return `redis://127.0.0.1:${this.#redis}`;
  }

  /** @param upstream `bodies` leads to what takes and gives large ones */
  async startBare(upstream: 'app' | 'bodies' = 'app', nodeOptions: readonly string[] = []): Promise<Peer> {
    const port = await freePort();
    const to = upstream === 'app' ? this.#upstream : this.#bodies;
    return this.#peer(port, process.execPath, [
      ...nodeOptions,
      join(here, 'peers/bare.ts'),
      String(port),
      to,
    ]);
  }

  async startFastify(key: string, redis: boolean): Promise<Peer> {
    const port = await freePort();
    const log = join(this.directory, `fastify-${port}.log`);
    return this.#peer(port, process.execPath, [
      ...[join(here, 'peers/fastify.ts'), String(port), this.#upstream, key, subjectOf(key), log],
      ...(redis ? [this.redisUrl] : []),
    ]);
  }

  async startNginx(key: string, redis: boolean): Promise<Peer> {
    const port = await freePort();
    const name = redis ? 'nginx-lua' : 'nginx';
    const values = {
      DIRECTORY: this.directory,
      NAME: name,
      PORT: port,
      KEY: key,
      SUBJECT: subjectOf(key),
      UPSTREAM: new URL(this.#upstream).host,
      ...(redis ? await this.#lua() : limitOfNginx()),
    };
    const conf = this.#write(`${name}.conf`, template('nginx.conf', values));
    return this.#peer(port, 'nginx', ['-c', conf]);
  }

  async #lua(): Promise<Record<string, string>> {
    const client = new Redis(this.redisUrl);
    const script = String(await client.script('LOAD', readFileSync(join(here, 'peers/take.lua'), 'utf8')));
    client.disconnect();
    const values = { REDIS_PORT: this.#redis, SCRIPT: script };
    const access = this.#write('nginx-lua.lua', template('nginx-lua.lua', values));
    return {
      MODULES: ['ndk_http_module', 'ngx_http_lua_module']
        .map((name) => `load_module ${nginxModules}/${name}.so;`)
        .join('\n'),
      HTTP: '  lua_package_path "/usr/share/lua/5.1/?.lua;;";',
      LOCATION: `      access_by_lua_file ${access};`,
    };
  }

  /** @param more what this one has beside the configuration all of them have */
  async startPortcullis(name: string, more: PortcullisOptions = {}): Promise<Portcullis> {
    const directory = join(this.directory, name);
    mkdirSync(directory);
    const [port, operations] = [await freePort(), await freePort()];
    const hmacKey = randomBytes(48).toString('base64');
    const jwks = join(directory, 'jwks.json');
    writeFileSync(jwks, JSON.stringify({ keys: [this.#issuer.jwk] }));
    const env = {
      ...process.env,
      PORT: String(port),
      OPERATIONS_PORT: String(operations),
      DATABASE_URL: `sqlite:${join(directory, 'portcullis.db')}`,
      API_KEY_HMAC_KEY: hmacKey,
      JWKS_FILE: jwks,
      CACHE_ENTRIES: String(more.cacheEntries ?? 200_000),
      REDIS_URL: more.redis === true ? this.redisUrl : '',
      AUDIT_LOG_FILE: join(directory, 'audit.log'),
      UPSTREAM_URL: this.#upstream,
      BODIES_URL: this.#bodies,
    };
    const yaml = readFileSync(join(here, 'peers/portcullis.yaml'), 'utf8');
    const config = join(directory, 'gateway.yaml');
    writeFileSync(config, yaml.replace(/^log:/m, `${manyRoutes(more.routes ?? 0)}log:`));
    const launcher = resolve(more.checkout ?? '.', 'src/portcullis.cjs');
    const setup = spawnSync(process.execPath, [launcher, 'setup', '--config', config, '--json'], {
      env,
      encoding: 'utf8',
    });
    const key = /mcp_[0-9A-Za-z]{12}_[0-9A-Za-z]{38}/.exec(setup.stdout)?.[0];
    if (key === undefined) throw new Error(`setup of ${name} failed: ${setup.stderr}`);
    const keys = addKeys(join(directory, 'portcullis.db'), hmacKey, more.keys ?? 0);
    const args = [...(more.nodeOptions ?? []), launcher, 'start', '--config', config];
    const peer = await this.#peer(port, process.execPath, args, env);
    const operationsUrl = `http://127.0.0.1:${operations}`;
    return { ...peer, key, keys: [key, ...keys], operationsUrl };
  }

  /** Tokens of an issuer that every Portcullis here believes, each another caller's. */
  tokens(count: number): string[] {
    const now = Math.floor(Date.now() / 1000);
    const header = { alg: 'EdDSA', typ: 'at+jwt', kid: this.#issuer.kid };
    return Array.from({ length: count }, (_, index) => {
      const claims = {
        iss: 'https://login.example.com',
        aud: 'bench',
        sub: `caller-${index}`,
        scope: 'read',
      };
      return signed(header, { ...claims, iat: now, exp: now + 7_200, jti: String(index) }, this.#issuer);
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // The upstream was first and is last: nobody should see it go.
    for (const child of this.#children.toReversed()) await end(child);
  }

  /** Ends one that is not needed any more. */
  async end({ pid }: Peer): Promise<void> {
    const child = this.#children.find((one) => one.pid === pid);
    if (child !== undefined) await end(child);
  }

  async #peer(port: number, program: string, args: string[], env = process.env): Promise<Peer> {
    const { pid } = this.#start(peerCore, program, args, env);
    const url = `http://127.0.0.1:${port}`;
    await reachable(url);
    return { url, pid: pid ?? 0 };
  }

  /** `taskset` becomes the program it starts, so the child's id is the program's. */
  #start(core: number, program: string, args: readonly string[], env = process.env): ChildProcess {
    const child = spawn('taskset', ['-c', String(core), program, ...args], {
      env,
      stdio: ['ignore', 'ignore', 'inherit'],
    });
    this.#children.push(child);
    return child;
  }

  #write(name: string, text: string): string {
    const path = join(this.directory, name);
    writeFileSync(path, text);
    return path;
  }
}

export interface PortcullisOptions {
  /** Where its sources are; here, unless said. */
  readonly checkout?: string;
  readonly redis?: boolean;
  /** Keys beside the first. */
  readonly keys?: number;
  /** Credentials that are remembered. */
  readonly cacheEntries?: number;
  /** Routes beside the ten. */
  readonly routes?: number;
  /** Such as `--cpu-prof`. */
  readonly nodeOptions?: readonly string[];
}

export interface Portcullis extends Peer {
  /** The key that `setup` made. */
  readonly key: string;
  /** It, and those that were added. */
  readonly keys: readonly string[];
  readonly operationsUrl: string;
}

function subjectOf(key: string): string {
  return `key:${key.split('_')[1]}`;
}

function limitOfNginx(): Record<string, string> {
  return {
    MODULES: '',
    HTTP: '  limit_req_zone $subject zone=calls:10m rate=1000000r/s;',
    LOCATION: readFileSync(join(here, 'peers/nginx-limit.conf'), 'utf8'),
  };
}

function manyRoutes(count: number): string {
  return Array.from(
    { length: count },
    (_, index) => `  - { path: /many/${index}/*, upstream: app, permission: read, class: read }\n`,
  ).join('');
}

/** Rows like the one there is, each with a secret of its own: a hundred thousand commands would take an hour. */
function addKeys(path: string, hmacKey: string, count: number): string[] {
  const database = new Database(path);
  const row = database.prepare('select * from api_keys').get() as Record<string, unknown>;
  const names = Object.keys(row);
  const insert = database.prepare(
    `insert into api_keys (${names.join(', ')}) values (${names.map((name) => `@${name}`).join(', ')})`,
  );
  const seal = keySeal([hmacKey]);
  const texts: string[] = [];
  database.transaction(() => {
    for (let index = 0; index < count; index += 1) {
      const { id, text } = generateApiKey('mcp_');
      insert.run({ ...row, ...seal.seal(text), id, name: `key ${index}` });
      texts.push(text);
    }
  })();
  database.close();
  return texts;
}

/** Workers that may read what this process writes; nginx would take `nobody`, where root starts it. */
const workersAs = process.getuid?.() === 0 ? 'user root;' : '';

function template(name: string, values: Readonly<Record<string, string | number>>): string {
  const text = readFileSync(join(here, 'peers', name), 'utf8');
  return text.replaceAll(/@@(\w+)@@/g, (_, key: string) => String({ USER: workersAs, ...values }[key] ?? ''));
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, 'exit');
  child.kill('SIGTERM');
  const force = setTimeout(() => child.kill('SIGKILL'), 10_000);
  await ended;
  clearTimeout(force);
}

async function reachable(url: string): Promise<void> {
  for (let attempt = 0; attempt < 200; attempt += 1) {
    const answer = await fetch(url).catch(() => undefined);
    await answer?.body?.cancel();
    if (answer !== undefined) return;
    await delay(100);
  }
  throw new Error(`nothing answers at ${url}`);
}
