/**
 * Loads gateway.yaml: YAML → values with their places → variables → schema → what must fit together. All that is
 * wrong is told at once, each problem with file, line, column and what to write instead.
 */
import { createHash } from 'node:crypto';
import { withoutRedisPasswords } from '../redis/url.ts';
import { readRegularFile } from '../sql/regular-file.ts';
import { checkTogether, type Draft } from './checks.ts';
import { databaseLocation } from './database-location.ts';
import { readDocument } from './document.ts';
import { checkFiles } from './file-checks.ts';
import { expectedOf, reportIssues, valueAt } from './issues.ts';
import { Places } from './places.ts';
import { ConfigError, type ConfigProblem } from './problem.ts';
import { Report } from './report.ts';
import { type Config, configSchema, type RateClassConfig } from './schema.ts';
import { withoutSecret } from './sink-schema.ts';
import { readPipe, readTextFile } from './text-file.ts';
import { type Environment, Variables, whyUnreadable } from './variables.ts';
import { warn } from './warnings.ts';

const fileBytesMax = 1024 ** 2;

export interface LoadedConfig {
  readonly config: Config;
  /** 16 hex digits that name what is in force: the same for the same configuration, whatever its secrets. */
  readonly digest: string;
  /** What is allowed and yet worth a second look, in the order of the file. */
  readonly warnings: readonly ConfigProblem[];
}

interface Surroundings {
  /** The file's name, for messages. */
  readonly file: string;
  readonly env: Environment;
  /** Reads what an `X_FILE` variable names, and the keys that the file itself names; throws what `node:fs` throws. */
  readonly readFile?: (path: string) => string;
  /** Whether the key files that it names are looked into; who needs none of them must not fail for one. */
  readonly keyFiles?: boolean;
}

/**
 * Reads and parses the configuration file at `path`, up to 1 MiB, and the files that `X_FILE` variables name, up
 * to 64 KiB each.
 * @throws ConfigError with every problem
 */
export function loadConfig(options: {
  readonly path: string;
  readonly env: Environment;
  readonly keyFiles?: boolean;
  readonly readFile?: (path: string) => string;
  /** Whether the file may be a pipe, as for a look at what another program writes. */
  readonly pipe?: boolean;
}): LoadedConfig {
  const { path: file, env, keyFiles = true, readFile = readTextFile, pipe = false } = options;
  return parseConfig(readConfigFile(file, pipe), { file, env, keyFiles, readFile });
}

function readConfigFile(file: string, pipe: boolean): Uint8Array {
  try {
    return (pipe ? readPipe : readRegularFile)(file, fileBytesMax);
  } catch (error) {
    throw atTop(file, `cannot be read: ${whyUnreadable(error)}`, 'Name the file with --config.');
  }
}

/**
 * Parses a configuration; touches nothing but what it is given, and `readFile` for `X_FILE` variables.
 * @throws ConfigError with every problem; never anything else, whatever the source is
 */
export function parseConfig(source: string | Uint8Array, surroundings: Surroundings): LoadedConfig {
  const { file, env, readFile = readTextFile, keyFiles = true } = surroundings;
  const text = decode(source, file);
  const { value, places, problems } = readDocument(text, file, new Variables(env, readFile));
  if (problems.length > 0 && value === undefined) throw new ConfigError(problems);
  const report = new Report(file, places);
  const warnings = new Report(file, places);
  const config = parseValues(value, report, warnings, keyFiles ? readFile : undefined);
  const all = [...problems, ...report.problems];
  if (config === undefined || all.length > 0) throw new ConfigError(inOrder(all));
  warn(config, warnings);
  return { config, digest: digestOf(config), warnings: inOrder(warnings.problems) };
}

function decode(source: string | Uint8Array, file: string): string {
  if (source.length > fileBytesMax)
    throw atTop(file, 'is larger than 1 MiB', 'Use fewer routes, ended with /*.');
  try {
    const text =
      typeof source === 'string' ? source : new TextDecoder('utf-8', { fatal: true }).decode(source);
    return text.replace(/^\ufeff/, '');
  } catch {
    throw atTop(file, 'is not UTF-8 text', 'Save it as UTF-8.');
  }
}

/** @param readFile for the key files; without it they are not looked into */
function parseValues(
  value: unknown,
  report: Report,
  warnings: Report,
  readFile: ((path: string) => string) | undefined,
): Config | undefined {
  const parsed = configSchema.safeParse(value, { error: expectedOf });
  if (!parsed.success) reportIssues(parsed.error.issues, value, report);
  const draft = parsed.success ? draftOf(parsed.data) : draftFrom(value);
  checkTogether(draft, report);
  if (readFile !== undefined) checkFiles(draft, report, warnings, readFile);
  return parsed.data;
}

function draftOf(config: Config): Draft {
  const { rate_limits, upstreams } = config;
  const { classes, redis } = rate_limits;
  return {
    ...config,
    classes,
    classNames: Object.keys(classes),
    upstreamNames: Object.keys(upstreams),
    redis,
  };
}

/** Section by section, so that what can be checked is checked although the whole cannot be parsed. */
function draftFrom(value: unknown): Draft {
  const {
    listen,
    operations,
    database,
    auth,
    audit,
    endpoints,
    cors,
    headers,
    inspection,
    routes,
    rate_limits,
  } = configSchema.shape;
  const route = routes.unwrap().element;
  const written = valueAt(value, ['routes']);
  const classNames = namesAt(value, ['rate_limits', 'classes']) ?? [];
  return {
    listen: listen.safeParse(valueAt(value, ['listen'])).data,
    operations: operations.safeParse(valueAt(value, ['operations'])).data,
    database: database.safeParse(valueAt(value, ['database'])).data,
    auth: auth.safeParse(valueAt(value, ['auth'])).data,
    audit: audit.safeParse(valueAt(value, ['audit'])).data,
    endpoints: endpoints.safeParse(valueAt(value, ['endpoints'])).data,
    cors: cors.safeParse(valueAt(value, ['cors'])).data,
    headers: headers.safeParse(valueAt(value, ['headers'])).data,
    inspection: inspection.safeParse(valueAt(value, ['inspection'])).data,
    routes: Array.isArray(written) ? written.map((item) => route.safeParse(item).data) : [],
    classes: Object.fromEntries(classNames.map((name) => [name, classAt(value, name)])),
    classNames: namesAt(value, ['rate_limits', 'classes']),
    upstreamNames: namesAt(value, ['upstreams']),
    redis: rate_limits.shape.redis.safeParse(valueAt(value, ['rate_limits', 'redis'])).data,
  };
}

function classAt(value: unknown, name: string): RateClassConfig | undefined {
  const { classes } = configSchema.shape.rate_limits.shape;
  return classes.valueType.safeParse(valueAt(value, ['rate_limits', 'classes', name])).data;
}

function namesAt(value: unknown, path: readonly string[]): string[] | undefined {
  const map = valueAt(value, path);
  return typeof map === 'object' && map !== null && !Array.isArray(map) ? Object.keys(map) : undefined;
}

function inOrder(problems: readonly ConfigProblem[]): ConfigProblem[] {
  return [...problems].sort((a, b) => a.line - b.line || a.column - b.column);
}

/** Of secrets only their number: a digest of a guessable secret would let it be guessed. */
function digestOf(config: Config): string {
  const { tokens, api_keys } = config.auth;
  const { rate_limits } = config;
  const shown = {
    ...config,
    database: withoutPassword(config.database),
    rate_limits: { ...rate_limits, redis: rate_limits.redis && withoutRedisPasswords(rate_limits.redis) },
    auth: {
      ...config.auth,
      tokens: { ...tokens, secrets: tokens.secrets.filter(Boolean).length },
      api_keys: { ...api_keys, hmac_keys: api_keys.hmac_keys.filter(Boolean).length },
    },
    audit: {
      ...config.audit,
      sinks: config.audit.sinks.map(withoutSecret),
      pseudonym_key: config.audit.pseudonym_key !== '',
    },
  };
  return createHash('sha256').update(JSON.stringify(shown)).digest('hex').slice(0, 16);
}

function withoutPassword(database: string): unknown {
  const location = databaseLocation(database);
  return location.kind === 'sqlite' ? database : { ...location, password: undefined };
}

function atTop(file: string, message: string, hint: string): ConfigError {
  return new ConfigError([{ file, ...new Places().ofValue([]), path: '', message, hint }]);
}
