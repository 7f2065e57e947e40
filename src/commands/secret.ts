/** A secret that a command takes from the environment: `X`, or the file that `X_FILE` names, as in gateway.yaml. */
import { readTextFile } from '../config/text-file.ts';
import { Variables } from '../config/variables.ts';
import { CommandError, type Terminal } from './terminal.ts';

/** Empty counts as not given. @throws CommandError when both are set, or the file cannot be read */
export function secretOf(terminal: Terminal, name: string): string | undefined {
  const { text, faults } = new Variables(terminal.env, readTextFile).expand(`\${${name}:-}`);
  const [fault] = faults;
  if (fault !== undefined) throw new CommandError(`${fault.message}. ${fault.hint}`);
  return text === '' ? undefined : text;
}
