/** `portcullis audit …`: checks a log, and tells the key that it can be checked with. */
import { existsSync } from 'node:fs';
import { hashOf, type Link, placeIn } from '../audit/chain.ts';
import { rotatedFiles } from '../audit/log-files.ts';
import { auditFile, auditSigningKey } from '../audit/open.ts';
import { AuditKeyError, type VerifyingKey, verifyingKeys } from '../audit/signing.ts';
import type { Verdict } from '../audit/verdict.ts';
import { Verifier } from '../audit/verify.ts';
import { bytesOf, verdictOn } from '../audit/verify-files.ts';
import { systemClock } from '../clock.ts';
import { loadConfig } from '../config/load.ts';
import type { Config } from '../config/schema.ts';
import { readTextFile } from '../config/text-file.ts';
import { whyUnreadable } from '../config/variables.ts';
import { type OutputOptions, show, type Terminal } from './terminal.ts';

export interface AuditCommandOptions extends OutputOptions {
  readonly config: string;
}

export interface VerifyOptions extends AuditCommandOptions {
  /** Files with public keys in PEM; without one, the configuration's key. */
  readonly key?: readonly string[];
  /** A head known from elsewhere: as it was printed, a checkpoint's line, or the path of a file that holds either. */
  readonly head?: string;
}

/** What `audit verify` exits with. */
const exitCodes = { proven: 0, fault: 1, unusable: 2, unproven: 3 } as const;

/** What the command was given cannot be used; says nothing of the log. */
class UnusableError extends Error {}

/** Prints the public key of the configuration's log. */
export function auditKey(terminal: Terminal, options: AuditCommandOptions): void {
  const { config } = loadConfig({ path: options.config, env: terminal.env, keyFiles: false });
  const { id, pem } = auditSigningKey(config);
  show(terminal, options, { id, public_key: pem }, pem.trimEnd().split('\n'));
}

/** @returns the exit code */
export async function auditVerify(
  terminal: Terminal,
  given: readonly string[],
  options: VerifyOptions,
): Promise<number> {
  try {
    const { config } = needsConfig(given, options)
      ? loadConfig({ path: options.config, env: terminal.env, keyFiles: false })
      : { config: undefined };
    const list = () => (given.length > 0 || config === undefined ? given : filesOf(config));
    const keys = options.key?.flatMap(keysIn) ?? [configured(config)];
    const head = options.head === undefined ? undefined : headOf(options.head);
    return await verify(terminal, list, () => new Verifier(keys, head), options);
  } catch (error) {
    if (!(error instanceof UnusableError) && !isFileError(error)) throw error;
    terminal.complain(`portcullis: ${error.message}`);
    return exitCodes.unusable;
  }
}

function needsConfig(files: readonly string[], { key }: VerifyOptions): boolean {
  return files.length === 0 || key === undefined;
}

async function filesOf(config: Config): Promise<readonly string[]> {
  const { path } = auditFile(config);
  const rotated = await rotatedFiles(path);
  return existsSync(path) || rotated.length === 0 ? [...rotated, path] : rotated;
}

function configured(config: Config | undefined): VerifyingKey {
  if (config === undefined) throw new UnusableError('name a public key with --key');
  return auditSigningKey(config);
}

function keysIn(file: string): readonly VerifyingKey[] {
  try {
    return verifyingKeys(readTextFile(file));
  } catch (error) {
    const why = error instanceof AuditKeyError ? error.message : `cannot be read: ${whyUnreadable(error)}`;
    throw new UnusableError(`${file} ${why}`);
  }
}

/** `chain:seq:hash`, or the line of any record of the log, such as a checkpoint that another sink has kept. */
function headOf(given: string): Link {
  const text = (existsSync(given) ? readTextFile(given) : given).trim();
  const [, chain, seq, hash] = /^([0-9a-f]{32}):([1-9]\d{0,14}):([\w-]{43})$/.exec(text) ?? [];
  if (chain !== undefined && hash !== undefined) return { chain, seq: Number(seq), hash };
  const line = text.split('\n').at(-1) ?? '';
  const place = placeIn(Buffer.from(line));
  if (place !== undefined) return { chain: place.chain, seq: place.seq, hash: hashOf(line) };
  throw new UnusableError(
    '--head is no head: write what `audit verify` printed, or the line of a checkpoint',
  );
}

async function verify(
  terminal: Terminal,
  list: () => readonly string[] | Promise<readonly string[]>,
  newVerifier: () => Verifier,
  options: OutputOptions,
): Promise<number> {
  let files: readonly string[] = [];
  let startedMs = systemClock.monotonicMs();
  let total = 0;
  let bytes = 0;
  let toldMs = startedMs;
  const listed = async () => {
    files = await list();
    startedMs = systemClock.monotonicMs();
    total = bytesOf(files);
    bytes = 0;
    return files;
  };
  const verdict = await verdictOn(listed, newVerifier, (more) => {
    bytes += more;
    const nowMs = systemClock.monotonicMs();
    if (nowMs - toldMs < progressMs) return;
    toldMs = nowMs;
    terminal.progress?.(
      `${Math.floor((bytes / total) * 100)} % of ${megabytes(total)}, ${speed(bytes, nowMs - startedMs)}`,
    );
  });
  terminal.progress?.('');
  const tookMs = systemClock.monotonicMs() - startedMs;
  show(terminal, options, report(verdict, files, bytes, tookMs), linesOf(verdict, files, bytes, tookMs));
  if (verdict.fault !== undefined) return exitCodes.fault;
  return verdict.unproven > 0 ? exitCodes.unproven : exitCodes.proven;
}

const progressMs = 200;

function report(verdict: Verdict, files: readonly string[], bytes: number, tookMs: number): object {
  const { fault, notes, records, unproven, unprovenFrom, vouched, head } = verdict;
  return {
    ok: fault === undefined,
    fault: fault ?? null,
    records,
    unproven,
    unproven_from: unprovenFrom ?? null,
    vouched,
    notes,
    head: head === undefined ? null : headText(head),
    files: files.length,
    bytes,
    seconds: Number((tookMs / 1000).toFixed(3)),
  };
}

function linesOf(verdict: Verdict, files: readonly string[], bytes: number, tookMs: number): string[] {
  const { fault, notes, records, unproven, unprovenFrom: from, vouched, head } = verdict;
  const notesLines = notes.map(({ file, line, kind, why }) => `note: ${file}:${line}: ${kind}: ${why}`);
  const size = `${records} records, ${files.length} ${files.length === 1 ? 'file' : 'files'}, ${megabytes(bytes)}, ${speed(bytes, tookMs)}`;
  if (fault !== undefined)
    return [
      ...notesLines,
      `${fault.file}:${fault.line}: ${fault.kind}: ${fault.why}`,
      `NOT as it was written (${size} up to there)`,
    ];
  const tail =
    unproven > 0
      ? `${unproven} UNPROVEN, from ${from?.file}:${from?.line} on: their process has not signed for them`
      : vouched === 0
        ? 'every record is proven by a signature'
        : `all proven but ${vouched} that killed processes left (see the notes)`;
  return [
    ...notesLines,
    `as it was written: ${size}; ${tail}`,
    ...(head === undefined ? [] : [`head ${headText(head)}`]),
  ];
}

function headText({ chain, seq, hash }: Link): string {
  return `${chain}:${seq}:${hash}`;
}

function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(1)} MB`;
}

function speed(bytes: number, tookMs: number): string {
  return `${(bytes / 1e3 / Math.max(tookMs, 0.001)).toFixed(0)} MB/s`;
}

function isFileError(error: unknown): error is Error {
  return error instanceof Error && 'code' in error && 'syscall' in error;
}
