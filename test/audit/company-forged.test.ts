/**
 * Whoever can write to the file of several processes, and has no key: nothing that is lenient with processes beside each
 * other vouches for what he has put there, or hides what he took away.
 */
import { appendFileSync, writeFileSync } from 'node:fs';
import t, { type Test } from 'tap';
import { linesOf, verdictOf } from '../support/audit.ts';
import {
  asCommand,
  asFollower,
  asGateway,
  asLeader,
  chainOf,
  filesOf,
  forgedAfter,
  lastOf,
  logPath,
  openWriter,
} from '../support/company.ts';

const writeLines = (path: string, lines: readonly string[]) =>
  writeFileSync(path, lines.map((line) => `${line}\n`).join(''));

/** What `audit verify` says, in a word. */
function saidOf(files: readonly string[]): string {
  const { fault, unproven } = verdictOf(files);
  return fault?.kind ?? (unproven > 0 ? 'unproven' : 'proven');
}

/** Both write two records and sign, again and again, over several files. */
async function rotatedByTwo(test: Test): Promise<{ files: string[]; chain: string }> {
  const path = logPath(test);
  const leader = await openWriter(test, path, { ...asLeader, rotates: 4_000 });
  const follower = await openWriter(test, path, asFollower);
  await follower.write(1);
  const chain = chainOf(linesOf(path).at(-1) ?? '');
  for (let turn = 0; turn < 12; turn += 1) {
    await leader.write(2);
    await leader.sign();
    await follower.write(2);
    await follower.sign();
  }
  await follower.audit.close();
  await leader.audit.close();
  return { files: await filesOf(path), chain };
}

t.test('a stranger’s record is found before processes that each have signed but once', async (t) => {
  const path = logPath(t);
  const gateway = await openWriter(t, path, asGateway);
  await gateway.write(3);
  await gateway.audit.close();
  const before = linesOf(path);
  for (let count = 0; count < 2; count += 1) {
    const command = await openWriter(t, path, asCommand);
    await command.write(1);
    await command.audit.close();
  }
  const stranger = (before[1] ?? '').replace(/"chain":"[^"]+"/, `"chain":"${'0'.repeat(32)}"`);
  writeLines(path, linesOf(path).toSpliced(before.length, 0, stranger));
  t.match(verdictOf([path]).fault, { kind: 'inserted', line: before.length + 1 });
});

t.test('what is added to a killed command’s chain beside a gateway is not vouched for', async (t) => {
  const path = logPath(t);
  const gateway = await openWriter(t, path, asGateway);
  await gateway.write(1);
  await gateway.sign();
  const command = await openWriter(t, path, asCommand);
  await command.write(1);
  const chain = chainOf(linesOf(path).at(-1) ?? '');
  await command.sign();
  await command.kill();
  await gateway.write(1);
  await gateway.sign();
  appendFileSync(path, `${forgedAfter(lastOf(path, chain))}\n`);
  await gateway.write(1);
  await gateway.sign();
  await gateway.audit.close();
  t.match(verdictOf([path]), { fault: undefined, unproven: 1, vouched: 0 });
});

t.test(
  'what is added to a killed worker’s chain in a file that was left long ago is not vouched for',
  async (t) => {
    const path = logPath(t);
    const leader = await openWriter(t, path, { ...asLeader, rotates: 4_000 });
    const killed = await openWriter(t, path, asFollower);
    await killed.write(1);
    const chain = chainOf(linesOf(path).at(-1) ?? '');
    await killed.sign();
    await killed.kill();
    for (let turn = 0; turn < 4; turn += 1) {
      await leader.write(4);
      await leader.sign();
    }
    await leader.kill();
    const [first = ''] = await filesOf(path);
    appendFileSync(first, `${forgedAfter(lastOf(first, chain))}\n`);
    const next = await openWriter(t, path, { ...asLeader, aheadMs: 20_000 });
    await next.write(1);
    await next.sign();
    await next.audit.close();
    t.match(verdictOf(await filesOf(path)), { fault: undefined, unproven: 1, vouched: 0 });
  },
);

t.test('half a line that nobody can have left is not taken for one of a crash', async (t) => {
  const path = logPath(t);
  const leader = await openWriter(t, path, asLeader);
  const follower = await openWriter(t, path, asFollower);
  for (const writer of [leader, follower]) {
    await writer.write(1);
    await writer.sign();
  }
  appendFileSync(path, '{"timestamp":1,"stage":"attempt","method":"DELETE","path":"/admin/users/1","prin\n');
  for (let turn = 0; turn < 3; turn += 1) {
    for (const writer of [leader, follower]) {
      await writer.write(1);
      await writer.sign();
    }
  }
  await follower.audit.close();
  await leader.audit.close();
  const verdict = verdictOf([path]);
  t.match(verdict, { fault: undefined, unproven: 1, unprovenFrom: { line: 6 } });
  t.match(verdict.notes, [{ kind: 'torn', line: 6, why: /or it was put here/ }]);
});

t.test('of half lines a killed worker explains one, and only before its successor has signed', async (t) => {
  const path = logPath(t);
  const leader = await openWriter(t, path, asLeader);
  const killed = await openWriter(t, path, asFollower);
  await killed.write(1);
  await killed.sign();
  await killed.kill();
  const half = (text: string) => appendFileSync(path, `{"timestamp":1,"stage":"${text}\n`);
  half('one');
  half('two');
  const next = await openWriter(t, path, asFollower);
  await next.write(1);
  await next.sign();
  half('three');
  for (let turn = 0; turn < 3; turn += 1) {
    for (const writer of [leader, next]) {
      await writer.write(1);
      await writer.sign();
    }
  }
  await next.audit.close();
  await leader.audit.close();
  t.match(verdictOf([path]), { fault: undefined, unproven: 2, vouched: 1 });
});

t.test('a worker’s lines taken out of the oldest file that is left are missed', async (t) => {
  const { files, chain } = await rotatedByTwo(t);
  const [first = '', ...rest] = files.slice(1);
  t.equal(saidOf([first, ...rest]), 'proven');
  const lines = linesOf(first);
  const others = lines.filter((line) => chainOf(line) !== chain);
  writeLines(first, others);
  t.equal(saidOf([first, ...rest]), 'cut_off');
  writeLines(
    first,
    others.filter((line) => !line.includes('"stage":"joined"')),
  );
  t.equal(saidOf([first, ...rest]), 'cut_off', 'nor does it help to take the joining line too');
});

t.test('a worker’s whole chain cannot be taken out, nor one of its files', async (t) => {
  const { files, chain } = await rotatedByTwo(t);
  const kept = files.map(linesOf);
  files.forEach((file, index) => {
    writeLines(
      file,
      (kept[index] ?? []).filter((line) => chainOf(line) !== chain),
    );
  });
  t.equal(saidOf(files), 'removed');
  files.forEach((file, index) => {
    writeLines(file, kept[index] ?? []);
  });
  t.equal(saidOf(files), 'proven');
  t.equal(saidOf(files.toSpliced(2, 1)), 'removed');
  const [newest = ''] = files.slice(-1);
  writeLines(newest, (kept.at(-1) ?? []).slice(0, 1));
  t.equal(saidOf(files), 'proven', 'cut off at a signature, as ever: heads are kept elsewhere');
});

t.test('a joining line that is there twice, moved, or taken away is a fault', async (t) => {
  const { files } = await rotatedByTwo(t);
  const [, second = ''] = files;
  const lines = linesOf(second);
  const at = lines.findIndex((line) => line.includes('"stage":"joined"'));
  const joined = lines[at] ?? '';
  for (const place of [at, at + 1, at + 3, lines.length]) {
    writeLines(second, lines.toSpliced(place, 0, joined));
    t.equal(saidOf(files), 'reordered', `again at ${place + 1}`);
  }
  writeLines(second, lines.toSpliced(at, 1).toSpliced(at + 2, 0, joined));
  t.equal(saidOf(files), 'removed', 'behind the records that it introduces');
  writeLines(second, lines.toSpliced(at, 1));
  t.equal(saidOf(files), 'removed');
});

t.test('a record cannot be moved from one worker’s chain to another’s', async (t) => {
  const { files, chain } = await rotatedByTwo(t);
  const [, second = ''] = files;
  const lines = linesOf(second);
  const at = lines.findIndex((line) => chainOf(line) === chain);
  const other = chainOf(lines.find((line) => !['', chain].includes(chainOf(line))) ?? '');
  writeLines(second, lines.with(at, (lines[at] ?? '').replace(chain, other)));
  t.not(verdictOf(files).fault, undefined);
});

t.test('an old file, or its header, put in the place of another is a fault', async (t) => {
  const { files } = await rotatedByTwo(t);
  const [first = '', second = '', third = ''] = files;
  const [one, two, three] = [linesOf(first), linesOf(second), linesOf(third)];
  writeLines(third, two);
  t.equal(saidOf(files), 'reordered');
  writeLines(third, [two[0] ?? '', ...three.slice(1)]);
  t.equal(saidOf(files), 'reordered');
  for (const header of [one[0], two[0], three[0]]) {
    writeLines(third, three.toSpliced(4, 0, header ?? ''));
    t.equal(saidOf(files), 'reordered');
  }
});

t.test('whatever stands before a header, or behind half a line, is found', async (t) => {
  const { files, chain } = await rotatedByTwo(t);
  const [, second = ''] = files;
  const lines = linesOf(second);
  for (const forged of ['', ' ', '{"timestamp":1,"stage":"complete","path":"/forged"}']) {
    writeLines(second, [forged, ...lines]);
    t.equal(saidOf(files), 'beginning');
  }
  const half = '{"timestamp":1,"stage":"attempt","path":"/forged';
  writeLines(second, lines.with(0, half + (lines[0] ?? '')));
  t.equal(saidOf(files), 'beginning', 'on one line with the header');
  const at = lines.findIndex((line) => chainOf(line) === chain);
  for (const before of [half, ' ', 'x', `${half}"}`, lines[at] ?? '']) {
    writeLines(second, lines.with(at, before + (lines[at] ?? '')));
    t.not(verdictOf(files).fault, undefined, `${before.slice(0, 20)} on one line with a record`);
  }
  for (const blank of [' ', '\t', '\r', '\0']) {
    writeLines(second, lines.toSpliced(at, 0, blank));
    t.not(verdictOf(files).fault, undefined, 'only an empty line is empty');
  }
});
