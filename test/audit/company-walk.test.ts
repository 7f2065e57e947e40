/** Whatever several processes do, in whatever order, and whenever they are killed: what they leave is no forgery. */
import { appendFileSync } from 'node:fs';
import fc from 'fast-check';
import t, { type Test } from 'tap';
import { linesOf, verdictOf } from '../support/audit.ts';
import {
  asCommand,
  asFollower,
  asLeader,
  filesOf,
  logPath,
  openWriter,
  type Writer,
} from '../support/company.ts';

const step = fc.record({
  what: fc.constantFrom(
    'write',
    'write',
    'write',
    'sign',
    'kill',
    'kill_all',
    'command',
    'hup',
    'half',
  ) as fc.Arbitrary<'write' | 'sign' | 'kill' | 'kill_all' | 'command' | 'hup' | 'half'>,
  who: fc.nat(2),
  count: fc.integer({ min: 1, max: 6 }),
});

const options = [{ ...asLeader, rotates: 3_000 }, asFollower, asFollower];

class Walk {
  readonly #test: Test;
  readonly path: string;
  #writers: Writer[] = [];

  constructor(test: Test) {
    this.#test = test;
    this.path = logPath(test);
  }

  async start(): Promise<void> {
    this.#writers = [];
    for (const option of options) this.#writers.push(await this.#open(option));
  }

  async take({ what, who, count }: { what: string; who: number; count: number }): Promise<void> {
    const writer = this.#writers[who];
    if (what === 'write') await writer?.write(count);
    else if (what === 'sign') await writer?.sign();
    else if (what === 'hup') writer?.audit.reopen();
    else if (what === 'command') await this.#command(count);
    else if (what === 'kill_all') await this.#restart();
    else await this.#kill(who, what === 'half');
  }

  /** All at once, as they do it. */
  async end(): Promise<void> {
    await Promise.all(this.#writers.map((writer) => writer.audit.close()));
  }

  async #open(option: (typeof options)[number]): Promise<Writer> {
    const writer = await openWriter(this.#test, this.path, option);
    await writer.write(1);
    await writer.sign();
    return writer;
  }

  async #command(count: number): Promise<void> {
    const command = await openWriter(this.#test, this.path, asCommand);
    await Promise.all([command.write(count), ...this.#writers.map((writer) => writer.write(1))]);
    await command.audit.close();
  }

  async #kill(who: number, leavesHalf: boolean): Promise<void> {
    const option = options[who];
    if (option === undefined) return;
    await this.#writers[who]?.kill();
    const line = linesOf(this.path).at(-1) ?? '';
    if (leavesHalf) appendFileSync(this.path, line.slice(0, 40 + who * 30));
    for (const [index, writer] of this.#writers.entries()) if (index !== who) await writer.write(1);
    this.#writers[who] = await this.#open(option);
  }

  async #restart(): Promise<void> {
    for (const writer of this.#writers) await writer.kill();
    await this.start();
  }
}

t.test('property: a log of any such walk has no fault, all of it or its newest files', async (t) => {
  const walks = fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 30 }), async (steps) => {
      const walk = new Walk(t);
      await walk.start();
      for (const one of steps) await walk.take(one);
      await walk.end();
      const files = await filesOf(walk.path);
      for (let from = 0; from < files.length; from += 1) {
        const { fault } = verdictOf(files.slice(from));
        if (fault !== undefined) throw new Error(`from file ${from + 1}: ${JSON.stringify(fault)}`);
      }
    }),
    { numRuns: Number(process.env.WALKS ?? 20), endOnFailure: true },
  );
  await t.resolves(walks);
});
