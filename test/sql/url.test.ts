import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { DatabaseUrlError, parseDatabaseUrl, shownPlace, tlsOptions } from '../../src/sql/url.ts';

function postgres(url: string) {
  const location = parseDatabaseUrl(url);
  if (location.kind !== 'postgres') throw new Error(url);
  return location;
}

const fault = (url: string) => {
  try {
    parseDatabaseUrl(url);
  } catch (error) {
    if (error instanceof DatabaseUrlError) return error.fault;
    throw error;
  }
  return undefined;
};

t.test('a file is named as SQLite and as SQLAlchemy do', async (t) => {
  for (const [url, path] of [
    ['sqlite:./data/x.db', './data/x.db'],
    ['sqlite:x.db', 'x.db'],
    ['sqlite:///./x.db', './x.db'],
    ['sqlite:////var/x.db', '/var/x.db'],
    ['sqlite:/var/x.db', '/var/x.db'],
    ['sqlite::memory:', ':memory:'],
  ] as const) {
    t.same(parseDatabaseUrl(url), { kind: 'sqlite', path }, url);
  }
});

t.test('a PostgreSQL URL says where, who and how', async (t) => {
  t.match(
    postgres('postgres://u:p%40ss%2Fw%3Ard@db.example:5433/port?sslmode=verify-full&sslrootcert=/ca.pem'),
    {
      host: 'db.example',
      port: 5433,
      user: 'u',
      password: 'p@ss/w:rd',
      database: 'port',
      sslmode: 'verify-full',
      sslrootcert: '/ca.pem',
    },
  );
  t.match(postgres('postgresql://u@[::1]/d'), { host: '::1', port: 5432, password: undefined });
});

t.test('a Unix socket is named in either of the ways there are', async (t) => {
  for (const url of [
    'postgres://u@%2Frun%2Fpg/d',
    'postgres://u@/d?host=/run/pg',
    'postgres://u@/d?host=%2Frun%2Fpg',
  ]) {
    t.match(postgres(url), { host: '/run/pg', user: 'u', database: 'd' }, url);
  }
});

t.test('what cannot be meant is refused', async (t) => {
  for (const [url, said] of [
    ['', /neither/],
    ['mysql://u@h/d', /neither/],
    ['postgres:h/d', /not a PostgreSQL URL/],
    ['postgres://u@h:0/d', /port that is none/],
    ['postgres://u@h/d?sslmode=disable&sslmode=require', /sslmode twice/],
    ['postgres://u@h/d?sslmode=', /sslmode that is not taken/],
    ['postgres://u@h/d?sslmode=verify-full&sslcert=x', /only one of sslcert and sslkey/],
    ['postgres://u@h/d?host=/run/pg', /two hosts/],
    ['postgres://u@%2Frun/d?sslmode=require', /TLS over a Unix socket/],
    ['postgres://u@h/%00', /names no database/],
    ['postgres://u:%zz@h/d', /% that is not followed/],
    ['postgres://u@h/d#x', /not a PostgreSQL URL/],
  ] as const) {
    t.match(fault(url), said, url);
  }
});

t.test('a place is shown without user and password', async (t) => {
  t.equal(shownPlace(parseDatabaseUrl('postgres://u:hunter2@[::1]:1/d')), '[::1]:1/d');
});

t.test('require checks nothing, verify-ca who signed, verify-full also whose it is', async (t) => {
  const tls = (mode: string) => tlsOptions(postgres(`postgres://u@127.0.0.1/d?sslmode=${mode}`));
  const stranger = { subject: { CN: 'other' }, subjectaltname: 'DNS:other' } as never;
  const checks = (mode: string) => {
    const options = tls(mode);
    if (options === false) return undefined;
    return [options.rejectUnauthorized, options.checkServerIdentity('localhost', stranger) === undefined];
  };
  t.equal(tls('disable'), false);
  t.same(checks('require'), [false, true]);
  t.same(checks('verify-ca'), [true, true]);
  t.same(checks('verify-full'), [true, false]);
});

t.test('a file of a URL that cannot be used is named by its parameter', async (t) => {
  const folder = t.testdir();
  const text = join(folder, 'text');
  writeFileSync(text, 'no certificate');
  const open = (path: string) =>
    tlsOptions(postgres(`postgres://u@h/d?sslmode=verify-full&sslrootcert=${path}`));
  t.throws(() => open(join(folder, 'none')), /sslrootcert that cannot be read \(ENOENT\)/);
  execFileSync('mkfifo', [join(folder, 'pipe')]);
  t.throws(() => open(join(folder, 'pipe')), /\(NOT_REGULAR\)/, 'and a pipe is not waited for');
  t.throws(() => open(text), /sslrootcert that holds no certificate/);
});
