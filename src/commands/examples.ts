/** What `--help` teaches by: for each command what people type, and what it is for. */
import type { Command } from 'commander';

/** By the words behind `portcullis`. */
const examples: Readonly<Record<string, readonly string[]>> = {
  '': [
    'portcullis check                          # what is wrong in ./gateway.yaml',
    'portcullis setup && portcullis start      # the first admin and key; then the gateway',
    'portcullis explain GET /tools             # what would become of this request',
    'portcullis key create --help              # how keys are made',
  ],
  start: [
    'portcullis start',
    'SECRET_KEY_FILE=/run/secrets/key portcullis start --config /etc/portcullis/gateway.yaml',
  ],
  quickstart: [
    'portcullis quickstart                     # or: npm start',
    'PORT=9000 portcullis quickstart',
  ],
  check: [
    'portcullis check --config /etc/portcullis/gateway.yaml',
    'portcullis check --json                   # for a pipeline; exit code 1 when something is wrong',
  ],
  setup: [
    'portcullis setup                          # makes a password and a key, and shows them once',
    'ADMIN_PASSWORD_FILE=/run/secrets/admin portcullis setup --json',
  ],
  explain: [
    'portcullis explain GET /tools             # without a credential',
    'EXPLAIN_KEY="$KEY" portcullis explain DELETE /tools/7',
    'printf %s "$TOKEN" | portcullis explain GET /admin/users --token-stdin --json',
    'portcullis explain GET /health --from 2001:db8::7',
  ],
  schema: [
    'portcullis schema > gateway.schema.json   # for editors',
    'portcullis schema audit                   # what stands in the audit log',
  ],
  'audit verify': [
    'portcullis audit verify                   # the configured log, and what was rotated away',
    'portcullis audit verify audit.log.000001 audit.log --key audit.pub',
  ],
  'audit key': ['portcullis audit key > audit.pub          # keep it on another machine'],
  'audit tail': [
    'portcullis audit tail --username admin --status 4xx',
    'printf %s "$TOKEN" | portcullis audit tail --token-stdin --json',
  ],
  'key create': [
    'portcullis key create --name ci --permissions read,create --json',
    'portcullis key create --name nightly --permissions read --owner ada --expires-at 2099-01-31T00:00:00Z',
  ],
  'key list': [
    'portcullis key list',
    'portcullis key list --idle --json         # what nobody has used for 90 days',
  ],
  'key rotate': [
    'portcullis key rotate 4fXabcdefghi --overlap 1h   # the old secret goes on for an hour',
    'portcullis key rotate 4fXabcdefghi        # it got out: the old secret is dead at once',
  ],
  'key disable': ['portcullis key disable 4fXabcdefghi       # the id, or the whole key'],
  'key delete': ['portcullis key delete 4fXabcdefghi'],
  'user create': [
    'portcullis user create --username ada --permissions read,update',
    'printf %s "$PASSWORD" | portcullis user create --username root --admin --password-stdin',
  ],
  'user list': ['portcullis user list', 'portcullis user list --json'],
  'user disable': ['portcullis user disable ada               # with all sessions and keys of that user'],
  'user unlock': ['portcullis user unlock ada'],
  'user reset-password': [
    'portcullis user reset-password ada        # makes a password, and shows it once',
    'USER_PASSWORD_FILE=/run/secrets/ada portcullis user reset-password ada',
  ],
};

/** Puts its examples under the help of each command. */
export function addExamples(command: Command, path: readonly string[] = []): void {
  const lines = examples[path.join(' ')] ?? [];
  if (lines.length > 0) {
    const title = lines.length === 1 ? 'Example' : 'Examples';
    command.addHelpText('after', `\n${title}:\n${lines.map((line) => `  ${line}`).join('\n')}`);
  }
  for (const below of command.commands) addExamples(below, [...path, below.name()]);
}
