/** Writers of one audit file, each in place of a process, and what somebody without their key can add to it. */
import { join } from 'node:path';
import { hashOf, placeIn } from '../../src/audit/chain.ts';
import { FileSink } from '../../src/audit/file-sink.ts';
import { AuditLog, headerLine } from '../../src/audit/log.ts';
import { rotatedFiles } from '../../src/audit/log-files.ts';
import { noPseudonyms } from '../../src/audit/pseudonyms.ts';
import { bareRecord } from '../../src/audit/record.ts';
import { systemClock } from '../../src/clock.ts';
import { linesOf, signingKey } from './audit.ts';

interface Test {
  testdir(): string;
  teardown(callback: () => unknown): void;
}

export interface WriterOptions {
  /** Whether others write to the file all the time, as workers of one gateway do. */
  readonly inCompany: boolean;
  /** Whether it makes the file give way to the next one: at so many bytes, or never. */
  readonly rotates: number | 'never' | false;
  readonly keep?: number;
  /** By how much its wall clock is ahead. */
  readonly aheadMs?: number;
}

export interface Writer {
  readonly audit: AuditLog;
  readonly sink: FileSink;
  /** Writes so many records and waits until they are in the file. */
  write(count: number): Promise<void>;
  /** Signs for what was written, and waits until that is in the file. */
  sign(): Promise<void>;
  /** Neither a signature nor an end comes from it any more. */
  kill(): Promise<void>;
}

export async function openWriter(test: Test, path: string, options: WriterOptions): Promise<Writer> {
  const { inCompany, rotates, keep, aheadMs = 0 } = options;
  const clock = {
    ...systemClock,
    wallMs: () => (systemClock.wallMs() + aheadMs) as ReturnType<typeof systemClock.wallMs>,
  };
  const line = (stage: 'file' | 'joined') => (header: Parameters<typeof headerLine>[0]) =>
    headerLine(header, 'replica', signingKey, clock, stage);
  const rotation = {
    bytesMax: rotates === 'never' ? 1e9 : Number(rotates),
    ageMsMax: undefined,
    keep,
    clock,
    onRotated: () => undefined,
  };
  const sink = await FileSink.open({
    path,
    fsync: false,
    onUp: () => undefined,
    header: line('file'),
    joined: line('joined'),
    inCompany,
    ...(rotates !== false && { rotation }),
  });
  const context = { replica: 'replica', configDigest: 'digest', pseudonyms: noPseudonyms };
  const audit = new AuditLog({ sink, context, key: signingKey, clock, inCompany });
  test.teardown(() => audit.close().catch(() => undefined));
  const record = bareRecord(systemClock.wallMs(), '11111111-1111-4111-8111-111111111111', '192.0.2.1');
  return {
    audit,
    sink,
    write: async (count) => {
      for (let index = 0; index < count; index += 1) audit.append(record);
      await audit.flush();
    },
    sign: async () => {
      await audit.signNow();
      await audit.flush();
    },
    kill: () => sink.close(),
  };
}

export const asLeader = { inCompany: true, rotates: 'never' } as const;
export const asFollower = { inCompany: true, rotates: false } as const;
/** A gateway of one process, and a command beside it. */
export const asGateway = { inCompany: false, rotates: 'never' } as const;
export const asCommand = { inCompany: false, rotates: false } as const;

export const logPath = (test: Test): string => join(test.testdir(), 'audit.log');

export async function filesOf(path: string): Promise<string[]> {
  return [...(await rotatedFiles(path)), path];
}

/** The record that whoever has no key would put behind this line of a chain. */
export function forgedAfter(line: string, path = '/forged'): string {
  const place = placeIn(Buffer.from(line));
  if (place === undefined) throw new Error('stands in no chain');
  return (
    `{"timestamp":1,"stage":"complete","path":"${path}",` +
    `"seq":${place.seq + 1},"chain":"${place.chain}","prev":"${hashOf(line)}"}`
  );
}

/** The last line of a chain. */
export function lastOf(path: string, chain: string): string {
  return linesOf(path).findLast((line) => line.includes(`"chain":"${chain}","prev"`)) ?? '';
}

export function chainOf(line: string): string {
  return placeIn(Buffer.from(line))?.chain ?? '';
}
