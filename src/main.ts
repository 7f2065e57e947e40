/** The command line; the only file that touches `process`. */
import { readFileSync } from 'node:fs';
import { hostname, userInfo } from 'node:os';
import { createInterface } from 'node:readline/promises';
import { Command } from 'commander';
import { auditKey, auditVerify } from './commands/audit.ts';
import { check } from './commands/check.ts';
import { addExamples } from './commands/examples.ts';
import { explain } from './commands/explain.ts';
import { createKey, deleteKey, disableKey, listKeys, rotateKey } from './commands/keys.ts';
import { quickstart } from './commands/quickstart.ts';
import { schema } from './commands/schema.ts';
import { setup } from './commands/setup.ts';
import { type FollowingProgram, start } from './commands/start.ts';
import { CommandError, type Terminal } from './commands/terminal.ts';
import { createUser, disableUser, listUsers, resetPassword, unlockUser } from './commands/users.ts';
import { ConfigError } from './config/problem.ts';
import { SecretError } from './credentials/secrets.ts';
import { Refusal } from './errors.ts';
import { MigrationError } from './sql/migrate.ts';
import { DatabaseOpenError } from './sql/postgres.ts';
import { DatabaseUrlError } from './sql/url.ts';
import { StartError } from './start-error.ts';

const version = (
  JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as { version: string }
).version;

const terminal: Terminal = {
  env: process.env,
  systemUser: systemUser(),
  hostname: hostname(),
  pid: process.pid,
  version,
  nodeVersion: process.version,
  stdout: process.stdout,
  stderr: process.stderr,
  print: (line) => process.stdout.write(`${line}\n`),
  complain: (line) => process.stderr.write(`${line}\n`),
  progress: process.stderr.isTTY ? (line) => process.stderr.write(`\r\x1b[K${line}`) : undefined,
  readLine: async () => {
    const lines = createInterface({ input: process.stdin });
    for await (const line of lines) return line;
    throw new CommandError(
      'standard input is empty: write the password there, as in `printf %s "$PASSWORD" | …`',
    );
  },
};

/** In a container, the user of the process often has a number and no name. */
function systemUser(): string {
  try {
    return userInfo().username;
  } catch {
    return String(process.getuid?.());
  }
}

/** Reads the command line, runs the command, sets the exit code. */
export async function main(): Promise<void> {
  for (const stream of [process.stdout, process.stderr]) stream.on('error', unwritten);
  try {
    await program().parseAsync(process.argv);
  } catch (error) {
    for (const line of sentencesOf(error)) terminal.complain(`portcullis: ${line}`);
    process.exitCode = 1;
  }
}

/** Set once a gateway runs: it serves others than who started it, and goes on when nobody reads what it prints. */
let serves = false;

/** Whoever reads no further (`… | head -1`) has what was wanted. */
function unwritten(error: NodeJS.ErrnoException): void {
  if (serves) return;
  if (error.code === 'EPIPE') process.exit();
  terminal.complain(`portcullis: the output cannot be written (${error.code})`);
  process.exit(1);
}

/** What a person can do something about is told in sentences; anything else is a mistake of ours, with its stack. */
function sentencesOf(error: unknown): string[] {
  if (error instanceof ConfigError) return error.format().split('\n');
  if (error instanceof Refusal) {
    const fields = error.errors?.map(({ field, message }) => `${field}: ${message}`) ?? [];
    return [error.detail, ...fields];
  }
  const expected = [
    CommandError,
    StartError,
    SecretError,
    DatabaseUrlError,
    DatabaseOpenError,
    MigrationError,
  ];
  if (expected.some((kind) => error instanceof kind)) return (error as Error).message.split('\n');
  return [error instanceof Error ? (error.stack ?? error.message) : String(error)];
}

function program(): Command {
  const root = new Command('portcullis')
    .description('A security gateway that runs as a sidecar in front of a service.')
    .version(version);
  addPrograms(root);
  addKeyCommands(root.command('key').description('API keys'));
  addUserCommands(root.command('user').description('users'));
  addAuditCommands(root.command('audit').description('the audit log'));
  addExamples(root);
  return root;
}

function addPrograms(root: Command): void {
  withConfig(root.command('start'))
    .description('run the gateway')
    .action(async ({ config }) => {
      const starting = start(terminal, config).then((gateway) => ({
        gateway,
        died: gateway.died,
        close: () => gateway.close(),
      }));
      await untilStopped(starting);
    });
  root.command('worker', { hidden: true }).action(worker);
  withConfig(root.command('quickstart'))
    .description('run the gateway and the tool registry together, everything embedded (npm start)')
    .action(async ({ config }) => {
      await untilStopped(quickstart(terminal, config));
    });
  withJson(withConfig(root.command('check')))
    .description('validate the configuration without starting: every problem with file, line and column')
    .action(({ config, json }) => {
      if (!check(terminal, config, { json })) process.exitCode = 1;
    });
  root
    .command('schema [of]')
    .description('print the JSON Schema of gateway.yaml (gateway), or of a line of the audit log (audit)')
    .action((of = 'gateway') => schema(terminal, of));
  withJson(withConfig(root.command('setup')))
    .description('create the first admin and the first API key, once; ADMIN_PASSWORD sets the password')
    .action(({ config, json }) => setup(terminal, config, { json }));
  withJson(withConfig(root.command('explain <method> <target>')))
    .description('what would become of a request without a body, step by step; nothing is sent or counted')
    .option(
      '--key-stdin',
      'read an API key from standard input; else EXPLAIN_KEY, or the file EXPLAIN_KEY_FILE',
    )
    .option(
      '--token-stdin',
      'read a bearer token from standard input; else EXPLAIN_TOKEN or EXPLAIN_TOKEN_FILE',
    )
    .option('--key <key>', 'the API key itself: others on this machine can see it')
    .option('--token <token>', 'the bearer token itself: others on this machine can see it')
    .option('--from <address>', 'where the connection comes from', '127.0.0.1')
    .action((method, target, options) => explain(terminal, method, target, options));
}

function addAuditCommands(audit: Command): void {
  withJson(withConfig(audit.command('verify [files...]')))
    .description(
      'check that a log is what was written; without files, the configured one and those rotated away',
    )
    .option('--key <file...>', 'public keys in PEM; without it, the key of the configuration')
    .option(
      '--head <head>',
      'a head printed before, or a checkpoint kept elsewhere: nothing up to it was cut off',
    )
    .addHelpText(
      'after',
      '\nExits with 0 when every record is proven, 3 when the last ones are not signed yet, 1 when something was' +
        '\naltered, removed, inserted, reordered or cut off (the first place is named), 2 when it could not be checked.',
    )
    .action(async (files, options) => {
      process.exitCode = await auditVerify(terminal, files, options);
    });
  withJson(withConfig(audit.command('key')))
    .description('print the public key that a log is verified with')
    .action((options) => auditKey(terminal, options));
  addAuditTail(audit);
}

function addKeyCommands(key: Command): void {
  withJson(withConfig(key.command('create')))
    .description('create a key and show it once')
    .requiredOption('--name <name>', 'what it is for')
    .option('--description <text>')
    .option('--permissions <list>', 'some of create,read,update,delete')
    .option('--expires-at <time>', 'ISO 8601, such as 2027-01-31T00:00:00Z')
    .option('--owner <username>', 'the user it belongs to, and is disabled with')
    .action((options) => createKey(terminal, options));
  withJson(withConfig(key.command('list')))
    .description('list the keys, oldest first; never their secrets')
    .option('--idle', 'only keys never used, or not for 90 days')
    .action((options) => listKeys(terminal, options));
  withJson(withConfig(key.command('rotate <id>')))
    .description('give a key a new secret and show it once')
    .option('--overlap <time>', 'how long the old secret goes on working, up to 7d; without it, not at all')
    .action((id, options) => rotateKey(terminal, id, options));
  withJson(withConfig(key.command('disable <id>')))
    .description('refuse a key from now on, and end its sessions')
    .action((id, options) => disableKey(terminal, id, options));
  withJson(withConfig(key.command('delete <id>')))
    .description('remove a key and its sessions for good')
    .action((id, options) => deleteKey(terminal, id, options));
}

function addUserCommands(user: Command): void {
  const password =
    'read the password from standard input; else USER_PASSWORD; else one is made and shown once';
  withJson(withConfig(user.command('create')))
    .description('create a user')
    .requiredOption('--username <name>')
    .option('--email <address>')
    .option('--permissions <list>', 'some of create,read,update,delete')
    .option('--admin', 'may do everything')
    .option('--password-stdin', password)
    .action((options) => createUser(terminal, options));
  withJson(withConfig(user.command('list')))
    .description('list the users, oldest first, with their locks')
    .action((options) => listUsers(terminal, options));
  withJson(withConfig(user.command('disable <username>')))
    .description('refuse a user and the keys of that user from now on, and end their sessions')
    .action((who, options) => disableUser(terminal, who, options));
  withJson(withConfig(user.command('unlock <username>')))
    .description('lift the locks that wrong passwords have made')
    .action((who, options) => unlockUser(terminal, who, options));
  withJson(withConfig(user.command('reset-password <username>')))
    .description('set a new password, end the sessions and lift the locks')
    .option('--password-stdin', password)
    .action((who, options) => resetPassword(terminal, who, options));
}

function addAuditTail(audit: Command): void {
  withJson(withConfig(audit.command('tail')))
    .description('follow the audit log of a running gateway')
    .option('--url <url>', 'where it is; without it, where the configuration has it listen')
    .option('--username <name>', 'log in as this admin; the password is in PORTCULLIS_PASSWORD')
    .option('--password-stdin', 'read the password from standard input')
    .option('--token-stdin', "read an admin's access token from standard input; else PORTCULLIS_TOKEN")
    .option('--principal <subject>', 'only of this principal, such as user:…')
    .option('--path <path>', 'only of this path')
    .option('--status <status>', 'only of this status, such as 403 or 5xx')
    .option('--decision <decision>', 'only allow, deny or error')
    .option('--code <code>', 'only of this error code')
    .action(async (options) => (await import('./commands/audit-tail.ts')).tailAudit(terminal, options));
}

function withConfig(command: Command): Command {
  return command.option('--config <file>', 'the configuration', 'gateway.yaml');
}

function withJson(command: Command): Command {
  return command.option('--json', 'one JSON object for programs');
}

/** A signal this soon after another is its echo. */
const sameSignalMs = 500;

interface Started {
  readonly gateway: Pick<FollowingProgram, 'reopenLogs' | 'loadAnew' | 'fail'>;
  /** Resolves with a sentence when it cannot go on. */
  readonly died: Promise<string>;
  close(): Promise<void>;
}

/**
 * SIGTERM and SIGINT end the program in order, a second one at once; SIGHUP opens the logs and loads the configuration
 * anew. One that comes while it starts is not lost: what was begun (a password made and about to be shown) is finished
 * first.
 */
async function untilStopped(starting: Promise<Started>): Promise<void> {
  serves = true;
  let stoppingSinceMs: number | undefined;
  const stop = (exitCode: number) => {
    // npm passes on a Ctrl-C that the terminal has sent here as well: that is one wish, not two.
    if (stoppingSinceMs !== undefined && performance.now() - stoppingSinceMs < sameSignalMs) return;
    if (stoppingSinceMs !== undefined) process.exit(1);
    stoppingSinceMs = performance.now();
    starting.then(
      ({ gateway, close }) =>
        close().then(
          () => process.exit(exitCode),
          (error: unknown) => fail(gateway, error),
        ),
      () => process.exit(1),
    );
  };
  process.on('SIGTERM', () => stop(0));
  process.on('SIGINT', () => stop(0));
  const { gateway, died } = await starting;
  process.on('SIGHUP', () => {
    gateway.reopenLogs();
    void gateway.loadAnew();
  });
  // Faults of one request are contained where they happen: what comes here is nobody's, and the state is in doubt.
  process.on('uncaughtException', (error) => fail(gateway, error));
  process.on('unhandledRejection', (error) => fail(gateway, error));
  void died.then((why) => {
    terminal.complain(`portcullis: ${why}`);
    stop(1);
  });
}

/** One of several processes of `portcullis start`. What it cannot start for, its primary tells. */
async function worker(): Promise<void> {
  const { startWorker, tellCannotStart } = await import('./workers/worker.ts');
  // A terminal sends its signals to all; the primary has got them as well, and says what is to be done.
  process.on('SIGINT', () => undefined);
  process.on('SIGHUP', () => undefined);
  process.on('SIGTERM', () => undefined);
  try {
    const { gateway, stopped } = await startWorker(terminal);
    process.on('uncaughtException', (error) => fail(gateway, error));
    process.on('unhandledRejection', (error) => fail(gateway, error));
    await stopped;
    await gateway.close().catch((error: unknown) => fail(gateway, error));
    process.exit(0);
  } catch (error) {
    await tellCannotStart(sentencesOf(error), (line) => terminal.complain(`portcullis: ${line}`));
    process.exit(1);
  }
}

/** State is in doubt: the process says why and ends, since going on could pass what should be refused. */
function fail(gateway: Pick<FollowingProgram, 'fail'>, error: unknown): void {
  try {
    gateway.fail(error);
  } finally {
    process.exit(internalFaultExitCode);
  }
}

/** EX_SOFTWARE of sysexits.h. */
const internalFaultExitCode = 70;
