/** Reading the log's files through their indexes: the same records as reading all of it finds, and much sooner. */
import { execFileSync } from 'node:child_process';
import {
  appendFileSync,
  existsSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import t, { type Test } from 'tap';
import { type Filter, factsOf, matches } from '../../../src/audit/reading/filter.ts';
import { LogFiles, type Page } from '../../../src/audit/reading/log-files.ts';
import { parsePlace, placeText } from '../../../src/audit/reading/place.ts';
import { digest } from '../../../src/audit/reading/rows.ts';
import { firstMs, lineOf, numbersOf, writeLog } from './log-lines.ts';

const limits = { lines: 100, bytes: 64 * 1024 * 1024, budgetMs: 60_000 };

function open(t: Test, path: string): LogFiles {
  const files = new LogFiles(path);
  t.teardown(() => files.close());
  return files;
}

function newest(count: number, below: number): number[] {
  return Array.from({ length: Math.min(count, below) }, (_, index) => below - 1 - index);
}

/** Follows the cursors to the end. */
function all(files: LogFiles, filter: Filter, lines: number): number[] {
  const numbers: number[] = [];
  let page: Page = files.page(filter, undefined, { ...limits, lines });
  for (let pages = 1; ; pages += 1) {
    numbers.push(...numbersOf(page.found));
    if (page.next === undefined || pages > 10_000) return numbers;
    page = files.page(filter, page.next, { ...limits, lines });
  }
}

t.test('the newest come first, and a cursor leads to the rest', async (t) => {
  const path = join(t.testdir(), 'audit.log');
  writeLog(path, 0, 1_000);
  const files = open(t, path);
  t.strictSame(numbersOf(files.page({}, undefined, limits).found), newest(100, 1_000));
  t.strictSame(all(files, {}, 7), newest(1_000, 1_000));
});

t.test('what comes while somebody reads page by page moves nothing', async (t) => {
  const path = join(t.testdir(), 'audit.log');
  writeLog(path, 0, 200);
  const files = open(t, path);
  const first = files.page({}, undefined, limits);
  writeLog(path, 200, 300);
  t.strictSame(numbersOf(files.page({}, first.next, limits).found), newest(100, 100));
  t.strictSame(numbersOf(files.page({}, undefined, limits).found), newest(100, 300));
});

t.test('a filter finds what reading everything finds', async (t) => {
  const path = join(t.testdir(), 'audit.log');
  writeLog(path, 0, 40_000);
  const files = open(t, path);
  while (!files.extend(1_000));
  const everything = readFileSync(path, 'utf8')
    .split('\n')
    .slice(0, -1)
    .map((line) => factsOf(line));
  const filters = fc.record(
    {
      principal: fc.constantFrom('key:7', 'user:rare', 'nobody'),
      path: fc.constantFrom('/tools/7', '/tools/50', '/tools'),
      status: fc.constantFrom<[number, number]>([403, 403], [200, 299], [500, 599]),
      decision: fc.constantFrom('allow', 'deny', 'error'),
      code: fc.constantFrom('permission_denied', 'rate_limited'),
      fromMs: fc.integer({ min: firstMs - 10_000, max: firstMs + 410_000 }),
      toMs: fc.integer({ min: firstMs - 10_000, max: firstMs + 410_000 }),
    },
    { requiredKeys: [] },
  );
  fc.assert(
    fc.property(filters, (filter) => {
      const expected = everything.flatMap((facts, number) =>
        facts && matches(filter, facts) ? [number] : [],
      );
      const found = numbersOf(files.page(filter, undefined, { ...limits, lines: 1e6 }).found);
      return JSON.stringify(found) === JSON.stringify(expected.reverse());
    }),
    { numRuns: 60 },
  );
});

t.test('files that were rotated away are read behind the one that is written', async (t) => {
  const directory = t.testdir();
  const path = join(directory, 'audit.log');
  const files = open(t, path);
  for (const [part, name] of ['audit.log.000001', 'audit.log.000002', 'audit.log-20300101'].entries()) {
    writeLog(path, part * 100, part * 100 + 100);
    files.extend(1_000);
    renameSync(path, join(directory, name));
  }
  writeLog(path, 300, 400);
  writeFileSync(join(directory, 'audit.log.000003.gz'), 'not a log');
  writeFileSync(join(directory, 'other.log'), lineOf(9_999));
  t.strictSame(all(files, {}, 30), newest(400, 400));
  t.equal(readdirSync(`${path}.index`).length, 4, 'one index each, made once');
});

t.test('a cursor into a file that is gone is unknown', async (t) => {
  const directory = t.testdir();
  const path = join(directory, 'audit.log');
  const files = open(t, path);
  writeLog(path, 0, 100);
  const { next } = files.page({}, undefined, { ...limits, lines: 10 });
  rmSync(path);
  writeLog(path, 200, 300);
  t.throws(() => files.page({}, next, limits), { message: String(next?.file) });
  t.throws(() => files.follow({}, next, limits), { message: String(next?.file) });
  files.extend(1_000);
  t.equal(readdirSync(`${path}.index`).length, 1, 'its index goes too');
});

t.test('a torn line is no record, and hides none', async (t) => {
  const path = join(t.testdir(), 'audit.log');
  writeLog(path, 0, 10);
  appendFileSync(path, lineOf(10).slice(0, 200));
  const files = open(t, path);
  t.strictSame(all(files, {}, 100), newest(10, 10), 'not yet ended');
  appendFileSync(path, '\n[1]\n\n"x"\n');
  appendFileSync(path, `${'x'.repeat(3 * 1024 * 1024)}\n`);
  writeLog(path, 11, 20);
  t.strictSame(all(files, {}, 100), [...newest(9, 20), ...newest(10, 10)]);
});

t.test('an index that was made before is gone on with, not made again', async (t) => {
  const path = join(t.testdir(), 'audit.log');
  writeLog(path, 0, 20_000);
  const first = new LogFiles(path);
  while (!first.extend(1_000));
  first.close();
  writeLog(path, 20_000, 20_100);
  const second = open(t, path);
  t.ok(second.extend(1_000));
  t.strictSame(
    all(second, { status: [403, 403] }, 1_000),
    newest(402, 402).map((step) => step * 50),
  );
});

const damages: Record<string, (index: string) => void> = {
  'cut in the middle of a row': (index) => truncateSync(index, 64 + 24 * 500 + 11),
  'without its head': (index) => writeFileSync(index, 'rubbish'),
  empty: (index) => writeFileSync(index, ''),
  'with a hole of zeros': (index) => {
    const bytes = readFileSync(index);
    bytes.fill(0, 64 + 24 * 100, 64 + 24 * 200);
    writeFileSync(index, bytes);
  },
  'of a longer log': (index) => {
    const bytes = readFileSync(index);
    bytes.writeUInt32LE(0xffff_fff0, bytes.length - 24);
    writeFileSync(index, bytes);
  },
};

for (const [what, damage] of Object.entries(damages)) {
  t.test(`an index ${what} is mended or made again`, async (t) => {
    const path = join(t.testdir(), 'audit.log');
    writeLog(path, 0, 1_000);
    const first = new LogFiles(path);
    t.ok(first.extend(1_000));
    first.close();
    const [name = ''] = readdirSync(`${path}.index`);
    damage(join(`${path}.index`, name));
    t.strictSame(all(open(t, path), {}, 300), newest(1_000, 1_000));
  });
}

t.test('following gives each record once, across a rotation, with places to come back to', async (t) => {
  const directory = t.testdir();
  const path = join(directory, 'audit.log');
  const files = open(t, path);
  t.equal(files.end(), undefined);
  writeLog(path, 0, 100);
  const numbers: number[] = [];
  let place = files.end();
  for (const [from, to] of [
    [100, 150],
    [150, 300],
    [300, 301],
  ] as const) {
    writeLog(path, from, to);
    if (from === 150) renameSync(path, `${path}.000001`);
    for (;;) {
      const { found, next } = files.follow({}, place, { ...limits, lines: 40 });
      place = next;
      if (found.length === 0) break;
      numbers.push(...numbersOf(found));
      place = parsePlace(placeText(found.at(-1)?.place ?? { file: '', offset: 0 }));
    }
  }
  t.strictSame(numbers, newest(201, 301).reverse());
});

t.test('following filters, and goes past what does not match', async (t) => {
  const path = join(t.testdir(), 'audit.log');
  const files = open(t, path);
  writeLog(path, 0, 1);
  const start = files.end();
  writeLog(path, 1, 1_000);
  const { found, next } = files.follow({ decision: 'deny' }, start, limits);
  t.strictSame(
    numbersOf(found),
    [...Array(19).keys()].map((step) => (step + 1) * 50),
  );
  t.strictSame(next, files.end());
});

t.test('a page ends at its bytes and at its time, and goes on from there', async (t) => {
  const path = join(t.testdir(), 'audit.log');
  writeLog(path, 0, 1_000);
  const files = open(t, path);
  const small = files.page({}, undefined, { ...limits, bytes: 5_000 });
  t.ok(small.found.length < 12 && small.next !== undefined);
  t.ok(files.extend(1_000));
  const numbers: number[] = [];
  let place: Page['next'];
  for (let pages = 0; pages < 2_000; pages += 1) {
    const page = files.page({ decision: 'deny' }, place, { ...limits, budgetMs: 0.001 });
    numbers.push(...numbersOf(page.found));
    place = page.next;
    if (place === undefined) break;
  }
  t.strictSame(
    numbers,
    newest(20, 20).map((step) => step * 50),
  );
});

t.test('a pipe in place of a file is not read from', async (t) => {
  const path = join(t.testdir(), 'audit.log');
  execFileSync('mkfifo', [path]);
  const files = open(t, path);
  t.ok(files.extend(1_000));
  t.strictSame(files.page({}, undefined, limits), { found: [], next: undefined });
  t.equal(existsSync(`${path}.index`), false);
});

t.test('a log that was cut short and written anew is another one', async (t) => {
  const path = join(t.testdir(), 'audit.log');
  writeLog(path, 0, 100);
  const files = open(t, path);
  t.strictSame(all(files, {}, 100), newest(100, 100));
  truncateSync(path, 0);
  writeLog(path, 500, 520);
  t.strictSame(all(files, {}, 100), newest(20, 520));
});

t.test('a place is one, or none', async (t) => {
  for (const odd of [
    '',
    'x',
    '0123456789abcdef',
    '0123456789abcdef-',
    '0123456789abcdef--1',
    '0123456789ABCDEF-1',
  ])
    t.equal(parsePlace(odd), undefined);
  const place = { file: '0123456789abcdef', offset: 2 ** 40 + 7 };
  t.strictSame(parsePlace(placeText(place)), place);
});

t.test('a digest is never that of nothing', async () => {
  fc.assert(fc.property(fc.string(), (text) => digest(text) !== digest(undefined)));
});

/** Ten million with AUDIT_READ_RECORDS=10000000; there the time itself is what counts. */
const many = Number(process.env.AUDIT_READ_RECORDS ?? 300_000);

t.test(
  `a question over ${many} records costs a fraction of reading them`,
  { timeout: 900_000 },
  async (t) => {
    const path = join(t.testdir(), 'audit.log');
    writeLog(path, 0, many);
    const files = open(t, path);
    let startMs = performance.now();
    while (!files.extend(1_000));
    const indexMs = performance.now() - startMs;
    t.comment(`index: ${Math.round((many / indexMs) * 1000)} records a second`);
    const questions: Record<string, Filter> = {
      'the newest': {},
      'a rare principal': { principal: 'user:rare' },
      nobody: { principal: 'user:nobody' },
      'two rare things together': { principal: 'user:rare', code: 'permission_denied' },
      'a status': { status: [400, 499] },
      'a path': { path: '/tools/77' },
      'the first second': { fromMs: firstMs, toMs: firstMs + 1_000 },
    };
    for (const [what, filter] of Object.entries(questions)) {
      startMs = performance.now();
      const { found } = files.page(filter, undefined, { ...limits, lines: 100 });
      const tookMs = performance.now() - startMs;
      t.comment(`${what}: ${found.length} records in ${tookMs.toFixed(1)} ms`);
      t.ok(tookMs < indexMs / 5, what);
      if (many >= 1e7) t.ok(tookMs < 1_000, `${what} within a second`);
    }
  },
);
