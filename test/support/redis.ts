/** Real Redis servers for the tests of one file: one, a cluster, one behind Sentinels; they end with the tests. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { Redis } from 'ioredis';

interface Test {
  teardown(callback: () => unknown): void;
}

/** One `redis-server`. */
export interface TestRedis {
  readonly port: number;
  /** `redis://127.0.0.1:port`, without user and password. */
  readonly url: string;
  /** A command past every layer of ours. */
  command(name: string, ...args: Array<string | number>): Promise<unknown>;
  /** kill -9. */
  kill(): Promise<void>;
  /** Starts it again where it was, empty unless it had written its data down. */
  start(): Promise<void>;
  /** Connections stay open, and nothing is answered. */
  freeze(): void;
  thaw(): void;
}

export interface TlsFiles {
  /** The authority that signed the server's certificate, which is for 127.0.0.1 and localhost. */
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
}

/**
 * A server that keeps nothing.
 * @param options `settings`: lines of redis.conf; `tls`: it takes TLS only
 */
export async function startRedis(
  t: Test,
  { settings = [], tls }: { settings?: readonly string[]; tls?: TlsFiles } = {},
): Promise<TestRedis> {
  const server = await makeServer(t, 'redis-server', settings, tls);
  await server.start();
  return server;
}

export interface TestCluster {
  readonly nodes: readonly TestRedis[];
  /** `redis+cluster://…` of all nodes. */
  readonly url: string;
  /** Moves a slot, with what is in it, to another node. */
  moveSlot(slot: number, to: TestRedis): Promise<void>;
  /** The node that has a slot. */
  nodeOf(slot: number): Promise<TestRedis>;
}

const slotCount = 16_384;

/** Three masters, without replicas. */
export async function startRedisCluster(t: Test): Promise<TestCluster> {
  const settings = ['cluster-enabled yes', 'cluster-node-timeout 2000', 'cluster-require-full-coverage no'];
  const nodes = await Promise.all([0, 1, 2].map(() => startRedis(t, { settings })));
  const share = Math.ceil(slotCount / nodes.length);
  const first = nodes[0] as TestRedis;
  for (const [index, node] of nodes.entries()) {
    await node.command('CLUSTER', 'SET-CONFIG-EPOCH', index + 1);
    const last = Math.min(slotCount, (index + 1) * share) - 1;
    await node.command('CLUSTER', 'ADDSLOTSRANGE', index * share, last);
    await first.command('CLUSTER', 'MEET', '127.0.0.1', node.port);
  }
  for (const node of nodes) {
    await until(async () => {
      const info = String(await node.command('CLUSTER', 'INFO'));
      return (
        /cluster_state:ok/.test(info) && /cluster_slots_ok:16384/.test(info) && /known_nodes:3/.test(info)
      );
    });
  }
  const idOf = async (node: TestRedis) => String(await node.command('CLUSTER', 'MYID'));
  const nodeOf = async (slot: number) => {
    const ranges = (await first.command('CLUSTER', 'SLOTS')) as Array<[number, number, [string, number]]>;
    const port = ranges.find(([from, to]) => slot >= from && slot <= to)?.[2][1];
    const found = nodes.find((node) => node.port === port);
    if (found === undefined) throw new Error(`slot ${slot} is nowhere`);
    return found;
  };
  return {
    nodes,
    url: `redis+cluster://${nodes.map(({ port }) => `127.0.0.1:${port}`).join(',')}`,
    nodeOf,
    moveSlot: async (slot, to) => {
      const from = await nodeOf(slot);
      if (from === to) return;
      const [fromId, toId] = [await idOf(from), await idOf(to)];
      await to.command('CLUSTER', 'SETSLOT', slot, 'IMPORTING', fromId);
      await from.command('CLUSTER', 'SETSLOT', slot, 'MIGRATING', toId);
      // While keys move, the old node answers ASK for those that are gone.
      await delay(300);
      const keys = (await from.command('CLUSTER', 'GETKEYSINSLOT', slot, 1_000)) as string[];
      if (keys.length > 0) await from.command('MIGRATE', '127.0.0.1', to.port, '', 0, 5_000, 'KEYS', ...keys);
      for (const node of [to, ...nodes.filter((one) => one !== to)])
        await node.command('CLUSTER', 'SETSLOT', slot, 'NODE', toId);
    },
  };
}

export interface TestSentinels {
  /** `redis+sentinel://…/mymaster`. */
  readonly url: string;
  readonly master: TestRedis;
  readonly replica: TestRedis;
  /** Until the Sentinels name this server. */
  promoted(server: TestRedis): Promise<void>;
}

const masterName = 'mymaster';

/** A master and a replica of it, watched by three Sentinels that act after a second. */
export async function startRedisSentinels(t: Test): Promise<TestSentinels> {
  const master = await startRedis(t);
  const replica = await startRedis(t, { settings: [`replicaof 127.0.0.1 ${master.port}`] });
  await until(async () => /master_link_status:up/.test(String(await replica.command('INFO', 'replication'))));
  const watch = [
    `sentinel monitor ${masterName} 127.0.0.1 ${master.port} 2`,
    `sentinel down-after-milliseconds ${masterName} 1000`,
    `sentinel failover-timeout ${masterName} 5000`,
  ];
  const sentinels = await Promise.all(
    [0, 1, 2].map(async () => {
      const sentinel = await makeServer(t, 'redis-sentinel', watch);
      await sentinel.start();
      return sentinel;
    }),
  );
  for (const sentinel of sentinels) {
    await until(async () => {
      const state = String(await sentinel.command('SENTINEL', 'MASTER', masterName));
      return /num-slaves,1,/.test(state) && /num-other-sentinels,2,/.test(state);
    });
  }
  return {
    url: `redis+sentinel://${sentinels.map(({ port }) => `127.0.0.1:${port}`).join(',')}/${masterName}`,
    master,
    replica,
    promoted: async (server) => {
      for (const sentinel of sentinels) {
        await until(async () => {
          const [, port] = (await sentinel.command(
            'SENTINEL',
            'GET-MASTER-ADDR-BY-NAME',
            masterName,
          )) as string[];
          return Number(port) === server.port;
        });
      }
      await until(async () => /role:master/.test(String(await server.command('INFO', 'replication'))));
    },
  };
}

/** An authority, and a certificate of it for 127.0.0.1 and localhost. */
export function makeTlsFiles(t: Test): TlsFiles {
  const directory = mkdtempSync('/tmp/portcullis-tls-');
  t.teardown(() => rmSync(directory, { recursive: true, force: true }));
  const make = (...args: string[]) => {
    const { status, stderr, error } = spawnSync('openssl', args, { cwd: directory, encoding: 'utf8' });
    if (status !== 0) throw error ?? new Error(`openssl: ${stderr}`);
  };
  const fresh = [
    'req',
    '-x509',
    '-newkey',
    'ec',
    '-pkeyopt',
    'ec_paramgen_curve:P-256',
    '-nodes',
    '-days',
    '2',
  ];
  make(...fresh, '-subj', '/CN=authority', '-keyout', 'ca.key', '-out', 'ca.pem');
  const signed = ['-CA', 'ca.pem', '-CAkey', 'ca.key', '-addext', 'basicConstraints=critical,CA:FALSE'];
  const named = ['-subj', '/CN=redis', '-addext', 'subjectAltName=IP:127.0.0.1,DNS:localhost'];
  make(...fresh, ...signed, ...named, '-keyout', 'server.key', '-out', 'server.pem');
  const path = (name: string) => join(directory, name);
  return { ca: path('ca.pem'), cert: path('server.pem'), key: path('server.key') };
}

export async function until(condition: () => boolean | Promise<boolean>, waitMs = 30_000): Promise<void> {
  const deadlineMs = performance.now() + waitMs;
  while (!(await condition())) {
    if (performance.now() > deadlineMs) throw new Error(`it did not happen within ${waitMs} ms`);
    await delay(25);
  }
}

async function makeServer(
  t: Test,
  program: 'redis-server' | 'redis-sentinel',
  settings: readonly string[],
  tls?: TlsFiles,
): Promise<Server> {
  const folder = mkdtempSync('/tmp/portcullis-redis-');
  const server = new Server(program, folder, await freePort(), settings, tls);
  t.teardown(async () => {
    await server.kill();
    rmSync(folder, { recursive: true, force: true });
  });
  return server;
}

/** Of a range in which a cluster's second port, 10,000 above, exists too. */
async function freePort(): Promise<number> {
  for (let attempt = 0; attempt < 200; attempt += 1) {
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    server.close();
    if (port < 55_000 && !given.has(port)) {
      given.add(port);
      return port;
    }
  }
  throw new Error('no free port');
}

const given = new Set<number>();

class Server implements TestRedis {
  readonly port: number;
  readonly #program: string;
  readonly #folder: string;
  readonly #tls: TlsFiles | undefined;
  #process: ChildProcess | undefined;
  #client: Redis | undefined;

  constructor(
    program: string,
    folder: string,
    port: number,
    settings: readonly string[],
    tls: TlsFiles | undefined,
  ) {
    this.port = port;
    this.#program = program;
    this.#folder = folder;
    this.#tls = tls;
    mkdirSync(folder, { recursive: true });
    const ports =
      tls === undefined
        ? [`port ${port}`]
        : [
            'port 0',
            `tls-port ${port}`,
            `tls-cert-file ${tls.cert}`,
            `tls-key-file ${tls.key}`,
            `tls-ca-cert-file ${tls.ca}`,
            'tls-auth-clients no',
          ];
    const persistence =
      program === 'redis-server' ? ['save ""', 'appendonly no', 'enable-debug-command yes'] : [];
    const lines = ['bind 127.0.0.1', ...ports, `dir ${folder}`, ...persistence, ...settings];
    // It may hold passwords, and a Sentinel writes into it.
    writeFileSync(this.#config, `${lines.join('\n')}\n`, { mode: 0o600 });
  }

  get url(): string {
    return `${this.#tls ? 'rediss' : 'redis'}://127.0.0.1:${this.port}`;
  }

  get #config(): string {
    return join(this.#folder, 'redis.conf');
  }

  /** The shell sees the end of its input when this process ends, however it ends, and takes the server with it. */
  async start(): Promise<void> {
    const script =
      '"$0" "$@" & echo $!; read -r _; kill -CONT $! 2>/dev/null; kill -KILL $! 2>/dev/null; wait';
    const child = spawn('/bin/sh', ['-c', script, this.#program, this.#config], {
      cwd: this.#folder,
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    this.#process = child;
    let said = '';
    for await (const chunk of child.stdout.iterator({ destroyOnReturn: false })) {
      said += chunk;
      if (/Ready to accept connections|Sentinel ID is/.test(said)) break;
    }
    this.#pid = Number(/^\d+/.exec(said)?.[0]);
    if (!/Ready to accept connections|Sentinel ID is/.test(said))
      throw new Error(`${this.#program} does not start: ${said}`);
    child.stdout.resume();
  }

  #pid = 0;

  async kill(): Promise<void> {
    this.#client?.disconnect();
    this.#client = undefined;
    const child = this.#process;
    this.#process = undefined;
    if (child === undefined || child.exitCode !== null) return;
    const ended = once(child, 'exit');
    child.stdin?.end();
    await ended;
  }

  freeze(): void {
    process.kill(this.#pid, 'SIGSTOP');
  }

  thaw(): void {
    process.kill(this.#pid, 'SIGCONT');
  }

  async command(name: string, ...args: Array<string | number>): Promise<unknown> {
    this.#client ??= this.#connect();
    return this.#client.call(name, ...args);
  }

  /** As the server's default user, who may do everything unless the settings say otherwise. */
  #connect(): Redis {
    const client = new Redis({
      host: '127.0.0.1',
      port: this.port,
      enableReadyCheck: false,
      retryStrategy: (attempt) => Math.min(attempt * 20, 200),
      maxRetriesPerRequest: 100,
      ...(this.#tls && { tls: { rejectUnauthorized: false } }),
    });
    client.on('error', () => undefined);
    return client;
  }
}
