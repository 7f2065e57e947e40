/**
 * What the README tells an operator to type: its blocks, and the commands in its sentences. A test that runs one asks for
 * it here, by its name or its beginning; `test/readme/inventory.test.ts` fails for any that no test asks for.
 */
import { readFileSync } from 'node:fs';

export interface Block {
  /** What stands behind the fence: `sh`, `yaml` … */
  readonly language: string;
  /** From the comment before it, `<!-- name: … -->`; empty without one. */
  readonly name: string;
  readonly text: string;
  readonly line: number;
}

export interface InlineCommand {
  readonly text: string;
  readonly line: number;
}

/** The program's own commands, which the README names with and without `portcullis` before them. */
export const ownCommand =
  /^(?:(?:npx --no (?:-- )?)?portcullis (?=[a-z<-])|(?=(?:audit|check|explain|key|quickstart|schema|setup|start|user)(?: |$)))/;

const programs =
  'apt-get|cat|cp|curl|diff|docker|env|git|grep|jq|kill|kubectl|mkdir|mv|nginx|node|npm|npx|openssl|pg_dump|pg_restore|pip|psql|rm|sed|sqlite3|systemctl|tail';
const programCommand = new RegExp(`^(?:[A-Z_]+=\\S+ )*(?:${programs}) `);

const lines = readFileSync('README.md', 'utf8').split('\n');

const [blocks, prose] = divided();

export const readmeBlocks: readonly Block[] = blocks;

/** Each command that stands in backticks in a sentence or a table, as often as it stands there. */
export const inlineCommands: readonly InlineCommand[] = prose.flatMap(({ text, line }) =>
  [...text.matchAll(/(?<!`)`([^`]+)`(?!`)/g)]
    .map(([, span = '']) => ({ text: span.replaceAll('\\|', '|'), line }))
    .filter(({ text }) => isCommand(text)),
);

/** The block behind the comment `<!-- name: … -->`. @throws Error where there is none, or more than one */
export function block(name: string): string {
  const found = blocks.filter((one) => one.name === name);
  if (found.length !== 1 || found[0] === undefined)
    throw new Error(`the README has ${found.length} blocks ${name}`);
  return found[0].text;
}

/** The lines of a block of shell, without what stands behind them as a comment. */
export function linesOf(text: string): string[] {
  return text.split('\n').map((line) => line.replace(/ +#.*$/, ''));
}

/** The one that begins so. @throws Error where there is none */
export function lineOf(text: string, beginning: string): string {
  const found = linesOf(text).find((one) => one.startsWith(beginning));
  if (found === undefined) throw new Error(`no line begins with ${beginning}`);
  return found;
}

/** The command in the README's sentences that begins so. @throws Error where there is none, or more than one */
export function command(beginning: string): string {
  const found = new Set(inlineCommands.map(({ text }) => text).filter((text) => text.startsWith(beginning)));
  const [one] = found;
  if (found.size !== 1 || one === undefined)
    throw new Error(`the README has ${found.size} commands that begin with ${beginning}`);
  return one;
}

/** Whole commands: a known program with arguments, one of our own, or anything with an option. */
function isCommand(text: string): boolean {
  return programCommand.test(text) || ownCommand.test(text) || /^[\w./-]+(?: \S+)* --?[a-z]/.test(text);
}

function divided(): [Block[], Array<{ text: string; line: number }>] {
  const found: Block[] = [];
  const rest: Array<{ text: string; line: number }> = [];
  let open: { language: string; name: string; line: number; text: string[] } | undefined;
  for (const [index, text] of lines.entries()) {
    const fence = /^```(\w*)$/.exec(text);
    if (fence === null) {
      if (open === undefined) rest.push({ text, line: index + 1 });
      else open.text.push(text);
    } else if (open === undefined) {
      const name = /^<!-- ([\w-]+): .* -->$/.exec(lines[index - 1] ?? '')?.[1] ?? '';
      open = { language: fence[1] ?? '', name, line: index + 1, text: [] };
    } else {
      found.push({ ...open, text: `${open.text.join('\n')}\n` });
      open = undefined;
    }
  }
  if (open !== undefined) throw new Error(`README.md:${open.line}: a block without an end`);
  return [found, rest];
}
