/**
 * What the audit log costs: `node test/bench/audit.ts [records]`. A record's line on the way of a request, a durable
 * record's wait with and without the disk, and how fast a log is verified.
 */
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Chain } from '../../src/audit/chain.ts';
import { FileSink } from '../../src/audit/file-sink.ts';
import { AuditLog, headerLine } from '../../src/audit/log.ts';
import { noPseudonyms } from '../../src/audit/pseudonyms.ts';
import { recordOf, serialize } from '../../src/audit/record.ts';
import { systemClock } from '../../src/clock.ts';
import { newSigningKey, verdictOf } from '../support/audit.ts';
import { exchangeOf, principalOf, routeOf } from '../support/exchange.ts';

const records = Number(process.argv[2] ?? 1_000_000);
const key = newSigningKey();
const context = { replica: 'gateway-0/1', configDigest: '0123456789abcdef', pseudonyms: noPseudonyms };
const exchange = exchangeOf(
  { target: '/tools?page=2', headers: ['User-Agent', 'bench/1.0', 'Content-Length', '1024'] },
  { principal: principalOf(), authType: 'ApiKey', credentialId: '4fXabcdefghi', route: routeOf() },
);
const recordNow = () => recordOf(exchange, 'complete', 1.5);

const say = (line: string) => process.stdout.write(`${line}\n`);
const perRecord = (ms: number, count: number) => `${((ms * 1000) / count).toFixed(2)} µs`;

function timed(work: () => void): number {
  const startMs = performance.now();
  work();
  return performance.now() - startMs;
}

/** The part that a request waits for: making the record, the line, its place in the chain. */
function hotPath(): void {
  const count = 200_000;
  const chain = new Chain();
  for (let round = 0; round < 2; round += 1) {
    const made = timed(() => {
      for (let index = 0; index < count; index += 1) serialize(recordNow(), context);
    });
    const text = serialize(recordNow(), context);
    const sealed = timed(() => {
      for (let index = 0; index < count; index += 1) chain.commit(chain.seal(text));
    });
    if (round === 0) continue;
    say(`a record as a line of JSON        ${perRecord(made, count)}`);
    say(`its place in the chain (SHA-256)  ${perRecord(sealed, count)}`);
  }
}

async function openLog(path: string, fsync: boolean): Promise<AuditLog> {
  const header: Parameters<typeof FileSink.open>[0]['header'] = (given) =>
    headerLine(given, context.replica, key, systemClock);
  const sink = await FileSink.open({ path, fsync, header, onUp: () => undefined });
  return new AuditLog({ sink, context, key, clock: systemClock });
}

async function throughput(path: string): Promise<void> {
  const audit = await openLog(path, false);
  const startMs = performance.now();
  for (let index = 0; index < records; index += 1) {
    audit.append(recordNow());
    // As requests do, and so that the buffer is written.
    if (index % 1_000 === 999) await audit.flush();
  }
  await audit.close();
  const tookMs = performance.now() - startMs;
  say(
    `buffered, with the file           ${perRecord(tookMs, records)}  ${Math.round((records / tookMs) * 1000)} records/s`,
  );
}

async function durable(directory: string, fsync: boolean, atOnce: number): Promise<void> {
  const audit = await openLog(join(directory, `durable-${fsync}-${atOnce}.log`), fsync);
  const count = fsync ? 2_000 : 20_000;
  const startMs = performance.now();
  const worker = async () => {
    for (let index = 0; index < count / atOnce; index += 1) await audit.appendDurable(recordNow());
  };
  await Promise.all(Array.from({ length: atOnce }, worker));
  const tookMs = performance.now() - startMs;
  await audit.close();
  const waited = ((tookMs / count) * atOnce * 1000).toFixed(0);
  say(
    `durable, fsync ${fsync ? 'on ' : 'off'}, ${String(atOnce).padStart(3)} at once   each waits ${waited.padStart(5)} µs  ${Math.round((count / tookMs) * 1000)} records/s`,
  );
}

function verification(path: string): void {
  const { size } = statSync(path);
  let verdict = verdictOf([path], key);
  const tookMs = timed(() => {
    verdict = verdictOf([path], key);
  });
  const rss = Math.round(process.memoryUsage().rss / 1e6);
  say(
    `verify ${verdict.records} records, ${Math.round(size / 1e6)} MB: ${Math.round(size / tookMs / 1000)} MB/s, ${Math.round((verdict.records / tookMs) * 1000)} records/s, ${rss} MB resident; fault: ${verdict.fault?.why ?? 'none'}`,
  );
}

const directory = mkdtempSync(join(tmpdir(), 'portcullis-bench-'));
try {
  hotPath();
  await throughput(join(directory, 'audit.log'));
  for (const fsync of [false, true]) for (const atOnce of [1, 32]) await durable(directory, fsync, atOnce);
  verification(join(directory, 'audit.log'));
} finally {
  rmSync(directory, { recursive: true });
}
