/** Whoever changes a log and has no key is found out, whatever was changed; what cannot be proven is said to be so. */
import { appendFileSync, readFileSync, renameSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import t, { type Test } from 'tap';
import { hashOf, placeIn } from '../../src/audit/chain.ts';
import { FileSink, type Rotation } from '../../src/audit/file-sink.ts';
import { AuditLog, headerLine } from '../../src/audit/log.ts';
import { rotatedFiles } from '../../src/audit/log-files.ts';
import { noPseudonyms } from '../../src/audit/pseudonyms.ts';
import { bareRecord } from '../../src/audit/record.ts';
import type { SigningKey } from '../../src/audit/signing.ts';
import { Verifier } from '../../src/audit/verify.ts';
import { verifyFiles } from '../../src/audit/verify-files.ts';
import { systemClock } from '../../src/clock.ts';
import { newSigningKey, signingKey, verdictOf } from '../support/audit.ts';

interface Writer {
  readonly audit: AuditLog;
  readonly sink: FileSink;
  /** Writes so many records and waits until they are in the file. */
  write(count: number): Promise<void>;
  /** Signs for what was written. */
  sign(): Promise<void>;
}

/** A process that writes to the log. */
async function startWriter(path: string, key: SigningKey = signingKey, bytesMax?: number): Promise<Writer> {
  const rotation: Rotation | undefined =
    bytesMax === undefined
      ? undefined
      : { bytesMax, ageMsMax: undefined, keep: undefined, clock: systemClock, onRotated: () => undefined };
  const sink = await FileSink.open({
    path,
    fsync: false,
    onUp: () => undefined,
    header: (header) => headerLine(header, 'test', key, systemClock),
    ...(rotation && { rotation }),
  });
  const context = { replica: 'test', configDigest: 'digest', pseudonyms: noPseudonyms };
  const audit = new AuditLog({ sink, context, key, clock: systemClock });
  let written = 0;
  return {
    audit,
    sink,
    write: async (count) => {
      for (let index = 0; index < count; index += 1) {
        written += 1;
        const record = bareRecord(systemClock.wallMs(), '11111111-1111-4111-8111-111111111111', '192.0.2.1');
        audit.append({ ...record, method: 'GET', path: `/tools/${written}` });
      }
      await audit.flush();
    },
    sign: async () => {
      // What is not asked for comes within a second; in a test nobody waits for it.
      await audit.signNow();
      await audit.flush();
    },
  };
}

/** A log of three processes, one after the other: 20 records each, signed for at 10 and at the end. */
async function threeProcesses(test: Test): Promise<string> {
  const path = join(test.testdir(), 'audit.log');
  for (let process = 0; process < 3; process += 1) {
    const writer = await startWriter(path);
    await writer.write(10);
    await writer.sign();
    await writer.write(10);
    await writer.audit.close();
  }
  return path;
}

const linesIn = (path: string) => readFileSync(path, 'utf8').split('\n').slice(0, -1);
const writeLines = (path: string, lines: readonly string[]) => writeFileSync(path, `${lines.join('\n')}\n`);

/** Which line a fault names. */
function faultOf(path: string | readonly string[], key?: SigningKey): string | undefined {
  const { fault } = verdictOf([path].flat(), key);
  return fault && `${fault.kind} at ${fault.line}`;
}

t.test('a log as it was written is proven to its last record', async (t) => {
  const verdict = verdictOf([await threeProcesses(t)]);
  t.match(verdict, { fault: undefined, notes: [], unproven: 0, records: 66 });
});

t.test('what came after the last signature is unproven, and said from where on', async (t) => {
  const path = join(t.testdir(), 'audit.log');
  const writer = await startWriter(path);
  await writer.write(5);
  await writer.sign();
  await writer.write(3);
  t.match(verdictOf([path]), { fault: undefined, unproven: 3, unprovenFrom: { line: 8 } });
  await writer.sign();
  t.match(verdictOf([path]), { fault: undefined, unproven: 0 });
  await writer.audit.close();
});

t.test('a record that was altered is named', async (t) => {
  const path = await threeProcesses(t);
  const lines = linesIn(path);
  lines[6] = lines[6]?.replace('/tools/6', '/tools/7') ?? '';
  writeLines(path, lines);
  t.equal(faultOf(path), 'altered at 7');
});

t.test('a record that was removed is missed where it stood', async (t) => {
  const path = await threeProcesses(t);
  writeLines(path, linesIn(path).toSpliced(6, 1));
  t.equal(faultOf(path), 'removed at 7');
});

t.test('a record that was put in is named, one of its own making or a copy', async (t) => {
  const path = await threeProcesses(t);
  const lines = linesIn(path);
  writeLines(path, lines.toSpliced(7, 0, lines[6] ?? ''));
  t.match(faultOf(path), /^(?:inserted|reordered) at 8$/);
  const place = placeIn(Buffer.from(lines[7] ?? ''));
  const forged = (lines[7] ?? '').replace('/tools/7', '/forged');
  t.equal(place?.prev, hashOf(lines[6] ?? ''));
  writeLines(path, lines.toSpliced(7, 0, forged));
  t.match(
    faultOf(path),
    /^inserted at 9$/,
    'the two have one number, and the second is the one that goes on',
  );
});

t.test('records that changed places are named', async (t) => {
  const path = await threeProcesses(t);
  const lines = linesIn(path);
  [lines[6], lines[7]] = [lines[7] ?? '', lines[6] ?? ''];
  writeLines(path, lines);
  t.equal(faultOf(path), 'reordered at 7');
  const moved = linesIn(path);
  moved.splice(15, 0, ...moved.splice(5, 3));
  writeLines(path, moved);
  t.equal(faultOf(path), 'reordered at 6', 'a block that comes much later');
});

/** Makes every `prev` from a line on fit again, as whoever has no key can. */
function recomputed(lines: readonly string[]): string[] {
  const heads = new Map<string, string>();
  return lines.map((line) => {
    const place = placeIn(Buffer.from(line));
    if (place === undefined) return line;
    const prev = heads.get(place.chain) ?? place.prev;
    const fits = line.replace(`"prev":"${place.prev}"`, `"prev":"${prev}"`);
    heads.set(place.chain, hashOf(fits));
    return fits;
  });
}

t.test('whoever alters a record and recomputes every hash is found at the next signature', async (t) => {
  const path = await threeProcesses(t);
  const lines = linesIn(path);
  lines[6] = lines[6]?.replace('/tools/6', '/innocent') ?? '';
  writeLines(path, recomputed(lines));
  const { fault } = verdictOf([path]);
  t.match(fault, { kind: 'bad_signature', line: 12 });
  t.match(fault?.why, /between line 1 of/);
});

t.test('whoever removes a record and renumbers all that follow is found too', async (t) => {
  const path = await threeProcesses(t);
  const [header = '', ...rest] = linesIn(path);
  const [first] = rest;
  const { chain } = placeIn(Buffer.from(first ?? '')) ?? { chain: '' };
  const kept = rest
    .toSpliced(5, 1)
    .map((line, index) =>
      line.includes(`"chain":"${chain}"`) ? line.replace(/"seq":\d+/, `"seq":${index + 1}`) : line,
    );
  writeLines(path, recomputed([header, ...kept]));
  t.match(faultOf(path), /^bad_signature at 11$/);
});

t.test('whoever signs with a key of his own is found', async (t) => {
  const path = join(t.testdir(), 'audit.log');
  const writer = await startWriter(path, newSigningKey());
  await writer.write(3);
  await writer.audit.close();
  t.equal(faultOf(path), 'unknown_key at 1');
});

t.test('a tail that was cut off in the middle of a process is missed by the next one', async (t) => {
  const path = await threeProcesses(t);
  const lines = linesIn(path);
  // The first process: header, 10 records, checkpoint, 10 records, checkpoint.
  writeLines(path, [...lines.slice(0, 20), ...lines.slice(23)]);
  t.match(faultOf(path), /^cut_off at 20$/);
});

t.test('a whole process that was taken out is missed by the next one', async (t) => {
  const path = await threeProcesses(t);
  const lines = linesIn(path);
  writeLines(path, lines.toSpliced(23, 22));
  t.match(faultOf(path), /^removed at/);
});

t.test(
  'a tail cut off at a signature leaves a shorter log that is in order, and a head proves it shorter',
  async (t) => {
    const path = await threeProcesses(t);
    const { head } = verdictOf([path]);
    if (head === undefined) throw new Error('no head');
    t.match(verdictOf([path], signingKey, head), { fault: undefined, unproven: 0 });
    writeLines(path, linesIn(path).slice(0, 45));
    t.equal(verdictOf([path]).fault, undefined, 'nothing in the file itself tells');
    t.match(verdictOf([path], signingKey, head).fault, { kind: 'cut_off', why: /known from elsewhere/ });
  },
);

t.test('a head proves records that no signature covers yet, and finds them altered', async (t) => {
  const path = join(t.testdir(), 'audit.log');
  const writer = await startWriter(path);
  await writer.write(5);
  const { head, unproven } = verdictOf([path]);
  t.equal(unproven, 5);
  t.equal(verdictOf([path], signingKey, head).unproven, 0);
  const lines = linesIn(path);
  lines[5] = lines[5]?.replace('/tools/5', '/other') ?? '';
  writeLines(path, lines);
  t.match(verdictOf([path], signingKey, head).fault, { kind: 'altered', line: 6 });
  await writer.audit.close();
});

t.test('two processes that write in turn are two chains, and both are proven', async (t) => {
  const path = join(t.testdir(), 'audit.log');
  const [one, two] = [await startWriter(path), await startWriter(path)];
  for (let turn = 0; turn < 5; turn += 1) {
    await one.write(3);
    await two.write(2);
  }
  await two.audit.close();
  await one.write(1);
  await one.audit.close();
  t.match(verdictOf([path]), { fault: undefined, unproven: 0, records: 28 });
  const lines = linesIn(path);
  t.match(faultOf(path), undefined);
  writeLines(path, lines.toSpliced(4, 1));
  t.match(faultOf(path), /^removed at/, 'also of the one that has ended before the other');
});

t.test(
  'a process killed before it signed is vouched for by the next one; then it is protected as well',
  async (t) => {
    const path = join(t.testdir(), 'audit.log');
    const killed = await startWriter(path);
    await killed.write(2);
    await killed.sign();
    await killed.write(2);
    // Nothing more comes from it: neither a signature nor an end.
    await killed.sink.close();
    t.match(verdictOf([path]), { fault: undefined, unproven: 2, vouched: 0 });
    const next = await startWriter(path);
    await next.write(2);
    await next.audit.close();
    const verdict = verdictOf([path]);
    t.match(verdict, { fault: undefined, unproven: 0, vouched: 2 });
    t.match(verdict.notes.map(({ kind }) => kind).sort(), ['open_chain', 'unsigned_chain']);
    const lines = linesIn(path);
    lines[5] = lines[5]?.replace('/tools/4', '/other') ?? '';
    writeLines(path, recomputed(lines));
    t.match(faultOf(path), /^altered at 6$/);
  },
);

t.test('a process that has signed nothing at all may be none of ours, and stays unproven', async (t) => {
  const path = join(t.testdir(), 'audit.log');
  const gateway = await startWriter(path);
  await gateway.write(1);
  const stranger = await startWriter(path, newSigningKey());
  await stranger.write(2);
  await stranger.sink.close();
  await gateway.audit.close();
  const verdict = verdictOf([path]);
  t.match(verdict, { fault: undefined, unproven: 2, vouched: 0 });
  t.match(verdict.notes.map(({ kind }) => kind).sort(), ['open_chain', 'unsigned_chain']);
});

t.test('records that nobody signed and no later checkpoint knows were put there', async (t) => {
  const path = await threeProcesses(t);
  const lines = linesIn(path);
  const stranger = (lines[1] ?? '').replace(/"chain":"[^"]+"/, `"chain":"${'0'.repeat(32)}"`);
  writeLines(path, lines.toSpliced(15, 0, stranger));
  t.equal(faultOf(path), 'inserted at 16');
});

t.test('a line torn by a crash is recognized, and the log goes on behind it', async (t) => {
  const path = join(t.testdir(), 'audit.log');
  const killed = await startWriter(path);
  await killed.write(1);
  await killed.sign();
  await killed.write(3);
  await killed.sink.close();
  truncateSync(path, readFileSync(path).length - 100);
  t.match(verdictOf([path]), { fault: undefined, unproven: 3, notes: [{ kind: 'torn' }] });
  const next = await startWriter(path);
  await next.write(2);
  await next.audit.close();
  const verdict = verdictOf([path]);
  t.match(verdict, { fault: undefined, unproven: 0 });
  t.ok(verdict.notes.some(({ kind, line }) => kind === 'torn' && line === 6));
  const lines = linesIn(path);
  writeLines(path, lines.with(5, (lines[5] ?? '').replace('/tools/4', '/tools/x')));
  t.equal(faultOf(path), 'altered at 6', 'what is left of it is protected too');
});

async function rotatedLog(test: Test): Promise<{ path: string; files: string[] }> {
  const path = join(test.testdir(), 'audit.log');
  const writer = await startWriter(path, signingKey, 4_000);
  for (let turn = 0; turn < 8; turn += 1) {
    await writer.write(5);
    await writer.sign();
  }
  await writer.audit.close();
  return { path, files: [...(await rotatedFiles(path)), path] };
}

t.test('the chain goes on across rotation, whatever the order in which the files are given', async (t) => {
  const { files } = await rotatedLog(t);
  t.ok(files.length > 3);
  t.match(verdictOf(files), { fault: undefined, notes: [], unproven: 0 });
  t.match(verdictOf(files.toReversed()), { fault: undefined, unproven: 0 });
});

t.test('the newest files alone can be verified, and it is said that others came before', async (t) => {
  const { files } = await rotatedLog(t);
  const verdict = verdictOf(files.slice(-2));
  t.match(verdict, { fault: undefined, unproven: 0, notes: [{ kind: 'earlier_files' }] });
});

t.test('a file that was taken out, doubled, or replaced by an older one is missed', async (t) => {
  const { files } = await rotatedLog(t);
  t.match(faultOf(files.toSpliced(1, 1)), /^removed at 1$/);
  const [first = '', second = ''] = files;
  const copy = `${files.at(-1)}.copy`;
  writeFileSync(copy, readFileSync(first));
  t.match(faultOf([...files, copy]), /^reordered at 1$/);
  const [one, two] = [readFileSync(first), readFileSync(second)];
  writeFileSync(first, two);
  writeFileSync(second, one);
  t.equal(faultOf(files), undefined, 'under each other’s names they are the same log');
  writeFileSync(files.at(-1) ?? '', one);
  t.match(faultOf(files), /^(?:removed|reordered) at 1$/);
});

t.test('the beginning of a file that was cut off is missed, and so is all of it', async (t) => {
  const path = await threeProcesses(t);
  const lines = linesIn(path);
  writeLines(path, lines.slice(1));
  t.equal(faultOf(path), 'beginning at 1');
  writeLines(path, lines.toSpliced(1, 3));
  t.equal(faultOf(path), 'removed at 2');
  writeFileSync(path, '');
  t.equal(faultOf(path), 'beginning at 1');
});

t.test('the tail of a file that was rotated away is missed', async (t) => {
  const { files } = await rotatedLog(t);
  const [first = ''] = files;
  writeLines(first, linesIn(first).slice(0, -1));
  t.match(verdictOf(files).fault, { kind: /cut_off|removed/ });
});

t.test('a foreign line at the end of a log is unproven, whatever it is', async (t) => {
  const path = await threeProcesses(t);
  appendFileSync(path, 'Nov 22 sshd: accepted\n');
  t.ok(verdictOf([path]).unproven > 0);
});

t.test('property: any single byte of a log that is changed is found', async (t) => {
  const path = join(t.testdir(), 'audit.log');
  const killed = await startWriter(path);
  await killed.write(1);
  await killed.sign();
  await killed.write(2);
  await killed.sink.close();
  truncateSync(path, readFileSync(path).length - 40);
  const two = [await startWriter(path), await startWriter(path)];
  for (const writer of two) await writer.write(3);
  for (const writer of two) await writer.audit.close();
  const whole = readFileSync(path);
  t.match(verdictOf([path]), { fault: undefined, unproven: 0 });
  const copy = `${path}.copy`;
  fc.assert(
    fc.property(fc.nat(whole.length - 1), fc.integer({ min: 1, max: 255 }), (at, difference) => {
      const changed = Buffer.from(whole);
      changed[at] = (changed[at] ?? 0) ^ difference;
      writeFileSync(copy, changed);
      const { fault, unproven } = verdictOf([copy]);
      return fault !== undefined || unproven > 0;
    }),
    { numRuns: 1_500 },
  );
});

t.test('property: a change before the last signature is a fault, not merely unproven', async (t) => {
  const path = await threeProcesses(t);
  const whole = readFileSync(path);
  const copy = `${path}.copy`;
  // Without the line end of the last line: that it is torn is all that can be said without it.
  fc.assert(
    fc.property(fc.nat(whole.length - 2), fc.integer({ min: 1, max: 255 }), (at, difference) => {
      const changed = Buffer.from(whole);
      changed[at] = (changed[at] ?? 0) ^ difference;
      writeFileSync(copy, changed);
      const { fault, unproven } = verdictOf([copy]);
      const isLastLine = at > whole.lastIndexOf(10, -2);
      return fault !== undefined || (isLastLine && unproven > 0);
    }),
    { numRuns: 500 },
  );
});

t.test(
  'records added to a killed process’s chain once the next one has signed are not vouched for',
  async (t) => {
    const path = join(t.testdir(), 'audit.log');
    const killed = await startWriter(path);
    await killed.write(2);
    await killed.sign();
    await killed.write(2);
    await killed.sink.close();
    const next = await startWriter(path);
    await next.write(1);
    await next.sign();
    const last = linesIn(path)[5] ?? '';
    const forged = last
      .replace('/tools/4', '/forged')
      .replace(/"seq":\d+/, '"seq":6')
      .replace(/"prev":"[^"]+"/, `"prev":"${hashOf(last)}"`);
    appendFileSync(path, `${forged}\n`);
    await next.write(1);
    await next.audit.close();
    t.match(verdictOf([path]), { fault: undefined, unproven: 3, vouched: 0, unprovenFrom: { line: 5 } });
  },
);

t.test('a whole record of a forger is no torn line, though a process took it for one', async (t) => {
  const path = await threeProcesses(t);
  appendFileSync(path, '{"timestamp":1,"stage":"complete","method":"GET","path":"/forged"}');
  const next = await startWriter(path);
  await next.write(1);
  await next.audit.close();
  t.equal(faultOf(path), 'inserted at 68');
});

t.test('a last line that lacks nothing but its line end is a record of the killed process', async (t) => {
  const path = join(t.testdir(), 'audit.log');
  const killed = await startWriter(path);
  await killed.write(2);
  await killed.sign();
  await killed.write(2);
  await killed.sink.close();
  truncateSync(path, readFileSync(path).length - 1);
  const next = await startWriter(path);
  for (let turn = 0; turn < 3; turn += 1) {
    await next.write(1);
    await next.sign();
  }
  await next.audit.close();
  t.match(verdictOf([path]), { fault: undefined, unproven: 0, vouched: 2 });
});

t.test('a disk that was full for long leaves many torn lines, and the log goes on behind them', async (t) => {
  const path = join(t.testdir(), 'audit.log');
  const writer = await startWriter(path);
  await writer.write(1);
  const [, line = ''] = linesIn(path);
  const torn = Array.from({ length: 200 }, (_, index) => line.slice(0, 100 + index));
  for (const half of torn) appendFileSync(path, `${half}\n`);
  const told = torn.map((half) => ({
    bytes: half.length,
    hash: hashOf(half),
    own: true as const,
  }));
  const look = writer.sink.look.bind(writer.sink);
  writer.sink.look = async () => ({ ...(await look()), torn: told.splice(0) });
  await writer.write(1);
  for (let turn = 0; turn < 3; turn += 1) {
    await writer.sign();
    await writer.write(1);
  }
  await writer.audit.close();
  t.match(verdictOf([path]), { fault: undefined, unproven: 0 });
});

t.test('a forger who begins a chain with every line cannot fill the verifier’s memory', async (t) => {
  const path = await threeProcesses(t);
  const [, line = ''] = linesIn(path);
  const chains = Array.from({ length: 120_000 }, (_, index) =>
    line.replace(/"chain":"[^"]+"/, `"chain":"${index.toString(16).padStart(32, '0')}"`),
  );
  appendFileSync(path, `${chains.join('\n')}\n`);
  t.match(faultOf(path), /^inserted at 100/);
});

t.test('a file that makes way for the next one while the log is verified is read to its end', async (t) => {
  const { files, path } = await rotatedLog(t);
  const verifier = new Verifier([signingKey]);
  let isRotated = false;
  verifyFiles(files, verifier, () => {
    if (isRotated) return;
    isRotated = true;
    renameSync(path, `${path}.000099`);
    writeFileSync(path, 'another file');
  });
  t.match(verifier.finish(), { fault: undefined, unproven: 0 });
});
