import t from 'tap';
import { least, linesOf, parse } from './reading.ts';

const secret = 'Kq3vT8xZp1LmW5nB7yRd0cFhJ2gSaUeQ';

t.test('a variable stands in plain, quoted and flow values', async (t) => {
  const { config } = parse(
    `${least}database: sqlite:\${DIR}/x.db\nlisten: { host: "\${HOST}", port: '\${PORT:-1}' }\nendpoints: { docs: "\${DOCS}" }\n`,
    { DIR: '/data', HOST: '127.0.0.9', PORT: '8080', DOCS: 'false' },
  );
  t.equal(config.database, 'sqlite:/data/x.db');
  t.match(config.listen, { host: '127.0.0.9', port: 8080 });
  t.equal(config.endpoints.docs, false);
});

t.test('a default stands for a variable that is unset or empty', async (t) => {
  const source = `${least}listen: { port: "\${PORT:-1234}" }\n`;
  t.equal(parse(source).config.listen.port, 1234);
  t.equal(parse(source, { PORT: '' }).config.listen.port, 1234);
  t.equal(parse(source, { PORT: '5' }).config.listen.port, 5);
});

t.test('without a default an empty variable is empty, and an unset one a problem', async (t) => {
  const source = `${least}auth: { tokens: { secrets: ["\${SECRET_KEY}"] } }\n`;
  t.strictSame(parse(source, { SECRET_KEY: '' }).config.auth.tokens.secrets, ['']);
  t.strictSame(linesOf(source), [
    `9:29 auth.tokens.secrets.0: the variable SECRET_KEY is not set. Set SECRET_KEY or SECRET_KEY_FILE in the environment, or write \${SECRET_KEY:-default}.`,
  ]);
});

t.test('a variable is not found on the prototype of the environment', async (t) => {
  t.match(linesOf(`${least}database: \${constructor}\n`), [
    /^9:11 database: the variable constructor is not set/,
  ]);
});

t.test('a brace that opens no variable is a problem at its value', async (t) => {
  for (const value of [`\${`, `\${}`, `\${1X}`, `\${X`, `\${X-1}`, `\${X:-\${Y}}`]) {
    t.match(
      linesOf(`${least}database: '${value}'\n`, { X: '1', Y: '1' })[0],
      /^9:11 database: has a \$\{ that is not a variable/,
    );
  }
});

t.test(`$\${ is a literal \${, and any other $ is itself`, async (t) => {
  const { config } = parse(`${least}auth: { tokens: { issuer: 'a$b $$ $\${X} \${X}' } }\n`, { X: `\${Y}` });
  t.equal(config.auth.tokens.issuer, `a$b $$ \${X} \${Y}`, 'what a variable holds is not expanded again');
});

t.test('a variable does not stand in a key', async (t) => {
  t.strictSame(linesOf(`${least}upstreams:\n  \${X}: { url: "http://a" }\n`, { X: 'a' }), [
    `10:3 upstreams."\${X}": a variable cannot stand in a key. Write the key out; variables stand in values.`,
  ]);
});

t.test(
  'a value from a variable that is wrong is told with the name of the variable, never the value',
  async (t) => {
    t.strictSame(
      linesOf(`${least}listen: { port: "\${PORT}" }\nlog: { level: "\${LEVEL:-info}" }\n`, {
        PORT: 'hunter2',
        LEVEL: 'hunter2',
      }),
      [
        '9:17 listen.port: must be a whole number from 0 to 65535 (the value comes from PORT)',
        '10:15 log.level: must be one of fatal, error, warn, info, debug or silent (the value comes from LEVEL)',
      ],
    );
  },
);

t.test('X_FILE gives the value of X, one trailing newline removed', async (t) => {
  const source = `${least}auth: { tokens: { secrets: ["\${SECRET_KEY:-}"] } }\n`;
  const read = (content: string) =>
    parse(source, { SECRET_KEY_FILE: '/run/secret' }, { '/run/secret': content }).config.auth.tokens
      .secrets[0];
  t.equal(read(secret), secret);
  t.equal(read(`${secret}\n`), secret);
  t.equal(read(`${secret}\r\n`), secret);
  t.equal(read(`${secret}\n\n`), `${secret}\n`);
});

t.test('X and X_FILE both set is a problem', async (t) => {
  const source = `${least}auth: { tokens: { secrets: ["\${SECRET_KEY:-}"] } }\n`;
  const files = { '/run/secret': secret };
  t.strictSame(linesOf(source, { SECRET_KEY: secret, SECRET_KEY_FILE: '/run/secret' }, files), [
    '9:29 auth.tokens.secrets.0: the variables SECRET_KEY and SECRET_KEY_FILE are both set. Unset one of them: SECRET_KEY_FILE gives the value of SECRET_KEY from a file.',
  ]);
  t.strictSame(
    linesOf(source, { SECRET_KEY: '', SECRET_KEY_FILE: '/run/secret' }, files),
    [],
    'empty is not set',
  );
});

t.test('a file that cannot be read is told with its variable and its name', async (t) => {
  t.strictSame(
    linesOf(`${least}auth: { tokens: { secrets: ["\${SECRET_KEY:-}"] } }\n`, {
      SECRET_KEY_FILE: '/run/none',
    }),
    [
      '9:29 auth.tokens.secrets.0: SECRET_KEY_FILE names the file "/run/none", which cannot be read: there is no such file. Mount the file, or unset SECRET_KEY_FILE.',
    ],
  );
});
