/** `portcullis audit tail`: follows the audit log of a running gateway over HTTP, and picks up where it was cut off. */
import { once } from 'node:events';
import { type Dispatcher, request } from 'undici';
import { readEvents, type StreamEvent } from '../audit/reading/event-stream.ts';
import { loadConfig } from '../config/load.ts';
import { secretOf } from './secret.ts';
import { CommandError, type OutputOptions, type Terminal } from './terminal.ts';

export interface AuditTailOptions extends OutputOptions {
  readonly config: string;
  /** Where the gateway is; without it, where the configuration has it listen. */
  readonly url?: string;
  /** Logs in with a password, in place of a token. */
  readonly username?: string;
  readonly passwordStdin?: boolean;
  readonly tokenStdin?: boolean;
  readonly principal?: string;
  readonly path?: string;
  readonly status?: string;
  readonly decision?: string;
  readonly code?: string;
}

/** Silence of this length means that the other side is gone: it says something every 15 s. */
const silenceMs = 45_000;
const connectMs = 10_000;
const retryMinMs = 500;
const retryMaxMs = 30_000;
const answerBytesMax = 64 * 1024;

/** Ends only by a signal, when nobody reads its output, or when it may not. @throws CommandError */
export async function tailAudit(terminal: Terminal, options: AuditTailOptions): Promise<void> {
  const base = options.url === undefined ? urlOf(terminal, options.config) : requireUrl(options.url);
  const credential = await credentialOf(terminal, base, options);
  const over = new AbortController();
  terminal.stdout.on('error', () => over.abort());
  const tail = new Tail(terminal, base, options, credential, over.signal);
  await tail.run();
}

function urlOf({ env }: Terminal, path: string): string {
  const { listen, endpoints } = loadConfig({ path, env, keyFiles: false }).config;
  if (listen.port === 0) throw new CommandError('the gateway listens on any free port: say where with --url');
  const host = ['0.0.0.0', '::'].includes(listen.host) ? '127.0.0.1' : listen.host;
  const prefix = endpoints.prefix === '/' ? '' : endpoints.prefix;
  const scheme = listen.tls === undefined ? 'http' : 'https';
  return `${scheme}://${host.includes(':') ? `[${host}]` : host}:${listen.port}${prefix}`;
}

function requireUrl(given: string): string {
  const isGood = /^https?:\/\//.test(given) && URL.canParse(given) && new URL(given).username === '';
  if (isGood) return given.replace(/\/+$/, '');
  throw new CommandError('--url is a URL such as https://gateway.example.com, without credentials');
}

/** Gives the token to send; a new one when the last was refused, where that can be had. */
interface TailCredential {
  token(refused: boolean): Promise<string>;
}

async function credentialOf(
  terminal: Terminal,
  base: string,
  options: AuditTailOptions,
): Promise<TailCredential> {
  if (options.username !== undefined) {
    const password = options.passwordStdin
      ? await terminal.readLine()
      : secretOf(terminal, 'PORTCULLIS_PASSWORD');
    if (password === undefined)
      throw new CommandError(
        'write the password to standard input (--password-stdin) or PORTCULLIS_PASSWORD',
      );
    return new Login(base, options.username, password);
  }
  const token = options.tokenStdin ? await terminal.readLine() : secretOf(terminal, 'PORTCULLIS_TOKEN');
  if (token === undefined || !/^[\x21-\x7e]+$/.test(token)) {
    throw new CommandError(
      "an admin's access token is needed, in PORTCULLIS_TOKEN or on standard input (--token-stdin); or --username, " +
        'with the password in PORTCULLIS_PASSWORD or on standard input (--password-stdin)',
    );
  }
  return {
    token: async (refused) => {
      if (refused) throw new CommandError('the token was not accepted, or is not any more');
      return token;
    },
  };
}

/** An access token lives for minutes; whoever watches for hours logs in again. */
class Login implements TailCredential {
  readonly #base: string;
  readonly #username: string;
  readonly #password: string;
  #token: string | undefined;

  constructor(base: string, username: string, password: string) {
    this.#base = base;
    this.#username = username;
    this.#password = password;
  }

  async token(refused: boolean): Promise<string> {
    if (refused) this.#token = undefined;
    this.#token ??= await this.#logIn();
    return this.#token;
  }

  async #logIn(): Promise<string> {
    const { statusCode, body } = await request(`${this.#base}/auth/login`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ username: this.#username, password: this.#password }),
      headersTimeout: connectMs,
      bodyTimeout: connectMs,
    });
    const answer = await textOf(body);
    if (statusCode === 401) throw new CommandError('the username or the password was not accepted');
    if (statusCode !== 200) throw new Error(`the login was answered with ${statusCode}`);
    return String((JSON.parse(answer) as { access_token: unknown }).access_token);
  }
}

class Tail {
  readonly #terminal: Terminal;
  readonly #url: string;
  readonly #options: AuditTailOptions;
  readonly #credential: TailCredential;
  readonly #over: AbortSignal;
  readonly #isColoured: boolean;
  #lastEventId = '';
  #failures = 0;
  #refused = false;

  constructor(
    terminal: Terminal,
    base: string,
    options: AuditTailOptions,
    credential: TailCredential,
    over: AbortSignal,
  ) {
    this.#terminal = terminal;
    this.#url = `${base}/admin/audit/stream${queryOf(options)}`;
    this.#options = options;
    this.#credential = credential;
    this.#over = over;
    const isTerminal = 'isTTY' in terminal.stdout && terminal.stdout.isTTY === true;
    this.#isColoured = isTerminal && options.json !== true && !terminal.env.NO_COLOR;
  }

  async run(): Promise<void> {
    while (!this.#over.aborted) {
      const waitMs = await this.#tried();
      if (this.#over.aborted) return;
      this.#failures += 1;
      const doubled = Math.min(retryMaxMs, retryMinMs * 2 ** Math.min(this.#failures - 1, 10));
      await pause(Math.max(waitMs, doubled));
    }
  }

  async #tried(): Promise<number> {
    try {
      return await this.#connection();
    } catch (error) {
      if (this.#over.aborted) return 0;
      if (error instanceof CommandError) throw error;
      this.#say(`cut off: ${error instanceof Error ? error.message : String(error)}`);
      return 0;
    }
  }

  /** One connection, to its end. @returns how long the gateway asks to wait before the next, in milliseconds */
  async #connection(): Promise<number> {
    const token = await this.#credential.token(this.#refused);
    const { statusCode, headers, body } = await request(this.#url, {
      headers: {
        authorization: `Bearer ${token}`,
        accept: 'text/event-stream',
        ...(this.#lastEventId !== '' && { 'last-event-id': this.#lastEventId }),
      },
      headersTimeout: connectMs,
      bodyTimeout: silenceMs,
      signal: this.#over,
    });
    if (statusCode !== 200) return this.#refusal(statusCode, headers, await textOf(body));
    this.#refused = false;
    for await (const event of readEvents(body)) {
      this.#failures = 0;
      this.#take(event);
      // Whoever pipes it into something slow slows the stream, not this program's memory.
      if (this.#terminal.stdout.writableNeedDrain) await once(this.#terminal.stdout, 'drain');
    }
    return 0;
  }

  #refusal(status: number, headers: Dispatcher.ResponseData['headers'], answer: string): number {
    const detail = detailOf(answer);
    if (status === 401 && !this.#refused) {
      // A login is good for another token, once.
      this.#refused = true;
      return 0;
    }
    if (status === 404)
      throw new CommandError(
        'there is no audit log to read here: the gateway writes none to a file, or is another program',
      );
    if (status >= 400 && status < 500 && status !== 429) throw new CommandError(`${status}: ${detail}`);
    this.#say(`${status}: ${detail}`);
    return Number(headers['retry-after'] ?? 0) * 1000 || 0;
  }

  #take({ id, name, data }: StreamEvent): void {
    if (id !== undefined) this.#lastEventId = id;
    if (name === 'message') this.#show(data);
    else if (name === 'gap') this.#say(`records are missing here: ${textIn(data, 'reason')}`);
    else if (name === 'end' && textIn(data, 'reason') === 'credential') this.#refused = true;
  }

  #show(data: string): void {
    let record: Record<string, unknown>;
    try {
      record = JSON.parse(data) as Record<string, unknown>;
    } catch {
      return;
    }
    this.#terminal.print(
      this.#options.json === true ? safeJson(record) : recordLine(record, this.#isColoured),
    );
  }

  #say(text: string): void {
    this.#terminal.complain(`portcullis: ${printable(text)}`);
  }
}

function queryOf({ principal, path, status, decision, code }: AuditTailOptions): string {
  const given = Object.entries({ principal, path, status, decision, code }).filter(
    (entry): entry is [string, string] => entry[1] !== undefined,
  );
  return given.length === 0 ? '' : `?${new URLSearchParams(given)}`;
}

async function textOf(body: Dispatcher.ResponseData['body']): Promise<string> {
  let text = '';
  for await (const chunk of body) {
    text += String(chunk);
    if (text.length > answerBytesMax) break;
  }
  return text;
}

function detailOf(answer: string): string {
  return textIn(answer, 'detail') || 'no reason given';
}

function textIn(json: string, key: string): string {
  try {
    const value = (JSON.parse(json) as Record<string, unknown>)[key];
    return typeof value === 'string' ? printable(value) : '';
  } catch {
    return '';
  }
}

/** One line for programs, without a character that a terminal would obey. */
function safeJson(record: object): string {
  return JSON.stringify(record).replace(/[\x7f-\x9f\p{Cf}\u2028\u2029]/gu, escaped);
}

function escaped(character: string): string {
  return Array.from(
    { length: character.length },
    (_, index) => `\\u${character.charCodeAt(index).toString(16).padStart(4, '0')}`,
  ).join('');
}

/** What clients have put into a record must not write to the terminal of who reads it. */
function printable(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}\u2028\u2029\p{Cs}]/gu, '?');
}

/** `time status method path principal code milliseconds`, for people. */
export function recordLine(record: Record<string, unknown>, isColoured: boolean): string {
  const {
    event,
    detail,
    timestamp,
    stage,
    status_code,
    method,
    path,
    principal,
    decision,
    code,
    process_time,
  } = record;
  const time =
    typeof timestamp === 'number' && Math.abs(timestamp) < 1e11
      ? new Date(timestamp * 1000).toISOString()
      : '-';
  const outcome = stage === 'complete' ? shown(status_code) : shown(stage);
  const took =
    stage === 'complete' && typeof process_time === 'number' ? `${(process_time * 1000).toFixed(1)} ms` : '';
  const cells = [
    paint(time, dim),
    paint(outcome.padEnd(7), colourOf(decision, status_code)),
    stage === 'event' ? `${shown(event)} ${shown(detail)}` : `${shown(method)} ${shown(path)}`,
    shown(principal),
    paint(code === null || code === undefined ? '' : shown(code), yellow),
    paint(took, dim),
  ];
  return cells.filter((cell) => cell !== '').join('  ');

  function paint(text: string, colour: number): string {
    return isColoured && text !== '' && colour !== 0 ? `\u001b[${colour}m${text}\u001b[0m` : text;
  }
}

const [red, green, yellow, dim] = [31, 32, 33, 2];

function colourOf(decision: unknown, status: unknown): number {
  if (decision === 'error' || (typeof status === 'number' && status >= 500)) return red;
  if (decision === 'deny') return yellow;
  return decision === 'allow' ? green : dim;
}

function shown(value: unknown): string {
  if (typeof value === 'string' && value !== '') return printable(value);
  return typeof value === 'number' ? String(value) : '-';
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
