/** `--help` teaches by example: every command has some, with options that there are. */
import t from 'tap';
import { programEnv, runProgram } from '../support/program.ts';

interface Help {
  readonly command: string;
  readonly text: string;
}

/** The help of a command and of all below it; `help` itself is none of ours. */
async function helpOf(path: readonly string[]): Promise<Help[]> {
  const { stdout: text } = await runProgram([...path, '--help'], programEnv(t.testdirName));
  const listed = /\nCommands:\n((?:.+\n)*)/.exec(text)?.[1] ?? '';
  const names = [...listed.matchAll(/^ {2}([a-z-]+)/gm)].map(([, name = '']) => name);
  const all = [{ command: path.join(' '), text }];
  // `key create` is as deep as it goes.
  if (path.length === 2) return all;
  for (const name of names.filter((below) => below !== 'help')) all.push(...(await helpOf([...path, name])));
  return all;
}

const all = await helpOf([]);

t.test('all commands are found', async (t) => {
  const found = all.map(({ command }) => command);
  for (const command of ['', 'start', 'check', 'explain', 'key rotate', 'user unlock']) {
    t.ok(found.includes(command), command);
  }
});

for (const { command, text } of all) {
  t.test(`portcullis ${command} --help says what it does, and how it is typed`, async (t) => {
    t.match(text, /^Usage: .*\n\n\S.{4,}\n/, 'what it does');
    // A group of commands teaches by those below it.
    if (['audit', 'key', 'user'].includes(command)) return;
    const [, shown = ''] = /\nExamples?:\n([\s\S]+)$/.exec(text) ?? [];
    const lines = shown.trimEnd().split('\n');
    for (const line of lines) t.match(line, `portcullis ${command}`.trimEnd());
    if (command === '') return;
    const options = text.slice(0, text.indexOf('\nExample'));
    for (const [option] of shown.matchAll(/--[a-z-]+/g)) t.match(options, `  ${option}`, option);
  });
}
