/** What the README gives figures of can be measured again: each program of its bench starts, and comes to a figure. */
import t from 'tap';
import { block, inlineCommands, linesOf } from '../support/readme.ts';
import { saidUntil } from './shell.ts';

const figures = new Set(
  [...inlineCommands.map(({ text }) => text), ...linesOf(block('development'))].filter((text) =>
    text.startsWith('node test/bench/'),
  ),
);

for (const words of figures) {
  t.test(`${words} comes to its first figure, in one round`, async (t) => {
    const figure = /\d+(?:\.\d+)? µs|^\| \d+ \| \d+ %|^\| one process \| \d+ \| \d+ \|/m;
    const env = { TMPDIR: t.testdir(), BENCH_ROUNDS: '1', BENCH_SECONDS: '1' };
    const said = await saidUntil(t, words, figure, '.', env);
    t.match(said, figure);
  });
}

t.test('there are figures to repeat', async (t) => {
  t.ok(figures.size >= 5, [...figures].join(', '));
});
