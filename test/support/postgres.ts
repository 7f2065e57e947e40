/** A real PostgreSQL server for the tests of one file, in a folder of its own, that ends with them. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  chownSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { delimiter, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import { freePort } from './free-port.ts';

export interface TestPostgres {
  /** A new, empty database; every test may have its own. */
  createDatabase(): Promise<string>;
  /** A connection past every layer of ours; the caller ends it. */
  connect(url: string): Promise<pg.Client>;
  /** kill -9, to the server and with it to all its connections. */
  kill(): Promise<void>;
  /** Starts it again where it was. */
  start(): Promise<void>;
  /** Stops all of its processes in their tracks: connections stay open, and nothing is answered. */
  freeze(): void;
  thaw(): void;
  readonly port: number;
  /** With `tls`: the file of the authority that signed its certificate, which is for `localhost`. */
  readonly authority: string;
}

interface Test {
  teardown(callback: () => unknown): void;
}

/** Debian keeps them apart from what is on the path. */
const debianFolder = '/usr/lib/postgresql';

/** The folder of `initdb` and `postgres`; `undefined` where there is none. */
export function postgresPrograms(): string | undefined {
  const versions = existsSync(debianFolder)
    ? readdirSync(debianFolder).sort((a, b) => Number(b) - Number(a))
    : [];
  const folders = [
    ...versions.map((version) => join(debianFolder, version, 'bin')),
    ...(process.env.PATH ?? '').split(delimiter),
  ];
  return folders.find((folder) => existsSync(join(folder, 'initdb')) && existsSync(join(folder, 'postgres')));
}

const user = 'portcullis';

/**
 * Settings of a server whose data nobody will miss when the machine dies. What was committed is in the kernel's hands
 * (`synchronous_commit` is left on), since tests kill the server and ask for it afterwards.
 */
const settings = {
  listen_addresses: '',
  fsync: 'off',
  full_page_writes: 'off',
  shared_buffers: '32MB',
  max_connections: '200',
  log_min_messages: 'log',
};

/** @param options `tls`: it also listens on a port of 127.0.0.1, for TLS with a password only */
export async function startPostgres(t: Test, { tls = false }: { tls?: boolean } = {}): Promise<TestPostgres> {
  const programs = postgresPrograms();
  if (programs === undefined) throw new Error('no PostgreSQL here: on Debian, apt-get install postgresql');
  // The path of a Unix socket has 107 bytes: not below the checkout.
  const folder = mkdtempSync('/tmp/portcullis-pg-');
  const identity = serverIdentity();
  chownSync(folder, identity.uid, identity.gid);
  const port = tls ? await freePort() : 5432;
  const server = new Server(programs, folder, identity, port);
  t.teardown(async () => {
    await server.stop();
    rmSync(folder, { recursive: true, force: true });
  });
  server.initialize();
  if (tls) server.useTls();
  await server.start();
  return server;
}

/** PostgreSQL refuses to run as root. */
function serverIdentity(): { uid: number; gid: number } {
  const { uid, gid } = { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 };
  if (uid !== 0) return { uid, gid };
  const found = /^(?:postgres|nobody):[^:]*:(\d+):(\d+):/m.exec(readFileSync('/etc/passwd', 'utf8'));
  if (found === null) throw new Error('there is neither a user postgres nor nobody to run PostgreSQL as');
  return { uid: Number(found[1]), gid: Number(found[2]) };
}

class Server implements TestPostgres {
  readonly #programs: string;
  readonly #folder: string;
  readonly #identity: { uid: number; gid: number };
  readonly port: number;
  readonly authority: string;
  #settings: Readonly<Record<string, string>> = settings;
  #shell: ChildProcess | undefined;
  #databases = 0;

  constructor(programs: string, folder: string, identity: { uid: number; gid: number }, port: number) {
    this.#programs = programs;
    this.#folder = folder;
    this.#identity = identity;
    this.port = port;
    this.authority = join(folder, 'authority.pem');
  }

  get #data(): string {
    return join(this.#folder, 'data');
  }

  initialize(): void {
    const args = ['-D', this.#data, '-U', user, '-A', 'trust', '-E', 'UTF8', '--locale=C', '--no-sync'];
    const { status, stderr } = spawnSync(join(this.#programs, 'initdb'), args, {
      ...this.#identity,
      cwd: this.#folder,
      encoding: 'utf8',
    });
    if (status !== 0) throw new Error(`initdb: ${stderr}`);
  }

  /** An authority, and a certificate of it for the name `localhost`. */
  useTls(): void {
    const make = (...args: string[]) => {
      const options = { ...this.#identity, cwd: this.#folder, encoding: 'utf8' } as const;
      const { status, stderr, error } = spawnSync('openssl', args, options);
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
    make(...fresh, '-subj', '/CN=authority', '-keyout', 'authority.key', '-out', 'authority.pem');
    const signed = [
      '-CA',
      'authority.pem',
      '-CAkey',
      'authority.key',
      '-addext',
      'basicConstraints=critical,CA:FALSE',
    ];
    const named = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost'];
    make(...fresh, ...signed, ...named, '-keyout', 'server.key', '-out', 'server.pem');
    writeFileSync(
      join(this.#data, 'pg_hba.conf'),
      'local all all trust\nhostssl all all all scram-sha-256\n',
    );
    this.#settings = {
      ...settings,
      listen_addresses: '127.0.0.1',
      ssl: 'on',
      ssl_cert_file: join(this.#folder, 'server.pem'),
      ssl_key_file: join(this.#folder, 'server.key'),
    };
  }

  async start(): Promise<void> {
    const deadlineMs = performance.now() + 30_000;
    while (!(await this.#tryStart())) {
      // The processes of one that was killed may be there for another moment.
      if (performance.now() > deadlineMs) throw new Error('PostgreSQL does not start');
      await delay(100);
    }
  }

  /** The shell sees the end of its input when this process ends, however it ends, and takes the server with it. */
  async #tryStart(): Promise<boolean> {
    const options = Object.entries(this.#settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]);
    const script = '"$0" "$@" 1>&2 & read -r _; kill -QUIT $! 2>/dev/null; wait';
    const command = [
      join(this.#programs, 'postgres'),
      '-D',
      this.#data,
      '-k',
      this.#folder,
      '-p',
      String(this.port),
      ...options,
    ];
    const shell = spawn('/bin/sh', ['-c', script, ...command], {
      ...this.#identity,
      cwd: this.#folder,
      stdio: ['pipe', 'ignore', 'pipe'],
    });
    this.#shell = shell;
    let log = '';
    for await (const chunk of shell.stderr.iterator({ destroyOnReturn: false })) {
      log += chunk;
      if (log.includes('ready to accept connections')) {
        shell.stderr.resume();
        return true;
      }
      if (log.includes('FATAL:')) break;
    }
    await this.stop();
    return false;
  }

  async stop(): Promise<void> {
    const shell = this.#shell;
    this.#shell = undefined;
    if (shell === undefined || shell.exitCode !== null) return;
    this.thaw();
    shell.stdin?.end();
    shell.stderr?.resume();
    await once(shell, 'exit');
  }

  async kill(): Promise<void> {
    const shell = this.#shell;
    process.kill(this.#pid(), 'SIGKILL');
    shell?.stdin?.end();
    if (shell !== undefined) await once(shell, 'exit');
    this.#shell = undefined;
  }

  freeze(): void {
    this.#signal('SIGSTOP');
  }

  thaw(): void {
    this.#signal('SIGCONT');
  }

  async createDatabase(): Promise<string> {
    this.#databases += 1;
    const name = `test_${this.#databases}`;
    const client = await this.connect(this.#url('postgres'));
    await client.query(`create database ${name} template template0 strategy wal_log`);
    await client.end();
    return this.#url(name);
  }

  async connect(url: string): Promise<pg.Client> {
    const database = /\/(\w+)(?:\?.*)?$/.exec(url)?.[1];
    const client = new pg.Client({ host: this.#folder, port: this.port, user, database, ssl: false });
    client.on('error', () => undefined);
    await client.connect();
    return client;
  }

  #url(database: string): string {
    return `postgres://${user}@${encodeURIComponent(this.#folder)}:${this.port}/${database}`;
  }

  #pid(): number {
    return Number(readFileSync(join(this.#data, 'postmaster.pid'), 'utf8').split('\n', 1)[0]);
  }

  /** To the server first, so that it starts no other process meanwhile. */
  #signal(signal: NodeJS.Signals): void {
    if (!existsSync(join(this.#data, 'postmaster.pid'))) return;
    const pid = this.#pid();
    const { stdout } = spawnSync('pgrep', ['-P', String(pid)], { encoding: 'utf8' });
    for (const id of [pid, ...stdout.split('\n').filter(Boolean).map(Number)]) tryKill(id, signal);
    // One that it had just begun to start.
    const again = spawnSync('pgrep', ['-P', String(pid)], { encoding: 'utf8' }).stdout;
    for (const id of again.split('\n').filter(Boolean).map(Number)) tryKill(id, signal);
  }
}

function tryKill(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {
    // It has ended meanwhile.
  }
}
