/** listen.tls and auth.certificates: what can be wrong with them, and with the files that they name. */
import { generateKeyPairSync } from 'node:crypto';
import t from 'tap';
import { makeAuthority } from '../support/certificates.ts';
import { least, linesOf, parse } from './reading.ts';

const authority = makeAuthority(t.testdir());
const good = authority.sign('DNS:localhost');
const other = authority.sign('DNS:localhost');
const files = { c: good.cert, k: good.key, ca: authority.ca };
const listen = (keys: string) => `${least}listen: { tls: { cert: c, key: k${keys} } }\n`;

t.test('a certificate with its key is taken, with authorities and without', async (t) => {
  t.same(linesOf(listen(''), {}, files), []);
  t.equal(parse(listen(''), {}, files).config.listen.tls?.client_certificates, 'none');
  const { tls } = parse(listen(', client_ca: ca'), {}, files).config.listen;
  t.match(tls, { client_certificates: 'required', min_version: '1.2', handshake_timeout: 10_000 });
  t.same(parse(listen(''), {}, files).warnings, []);
});

t.test('files that do not fit are told with their place', async (t) => {
  const pkcs1 = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey;
  const encrypted = pkcs1.export({ type: 'pkcs8', format: 'pem', cipher: 'aes-256-cbc', passphrase: 'x' });
  const cases = [
    [{ ...files, k: other.key }, /^9:32 listen\.tls\.key: is not the key of the certificate in cert\. /],
    [{ ...files, c: good.key }, /^9:24 listen\.tls\.cert: holds no certificate\. /],
    [{ ...files, c: good.cert.slice(0, -40) }, /^9:24 listen\.tls\.cert: holds no certificate\. /],
    [{ ...files, c: `${good.cert}${authority.ca.slice(0, 80)}` }, /listen\.tls\.cert: is cut off\. /],
    [{ ...files, c: good.cert.replace(/^M.{10}/m, 'AAAAAAAAAAA') }, /listen\.tls\.cert: .*damaged/],
    [{ ...files, k: 'x' }, /listen\.tls\.key: holds no private key in PEM\. /],
    [{ ...files, k: encrypted.toString() }, /listen\.tls\.key: is encrypted, and nobody/],
    [{ ...files, ca: '' }, /listen\.tls\.client_ca: holds no certificate\. /],
    [{ c: files.c, ca: files.ca }, /listen\.tls\.key: cannot be read: there is no such file\. /],
  ] as const;
  for (const [given, expected] of cases) {
    const lines = linesOf(listen(', client_ca: ca'), {}, given as Record<string, string>);
    t.match(lines, [expected]);
    t.equal(lines.length, 1);
  }
});

t.test('an expired certificate is a warning: it is served, and clients refuse it', async (t) => {
  const expired = authority.sign('DNS:localhost', { days: -1 });
  const { warnings } = parse(listen(''), {}, { c: expired.cert, k: expired.key });
  t.match(warnings, [{ path: 'listen.tls.cert', message: /^has expired \(20/, hint: /renew/ }]);
});

t.test('certificates of clients need an authority, and a name of their own', async (t) => {
  t.match(linesOf(listen(', client_certificates: optional'), {}, files), [
    /^9:56 listen\.tls\.client_certificates: needs an authority to believe\. Write client_ca/,
  ]);
  const named = (name: string) => `${listen(', client_ca: ca')}auth: { certificates: { name: ${name} } }\n`;
  t.same(linesOf(named('mesh'), {}, files), []);
  t.match(linesOf(named('user'), {}, files), [/auth\.certificates\.name: is the start of other subjects/]);
  t.match(linesOf(`${listen('')}auth: { certificates: { name: mesh } }\n`, {}, files), [
    /auth\.certificates: no certificate of a client is asked for\. /,
  ]);
  const twin = '{ name: mesh, issuer: "https://a.example", audience: a, jwks_uri: "https://a.example/k" }';
  const both = named('mesh').replace('auth: {', `auth: { issuers: [${twin}],`);
  t.match(linesOf(both, {}, files), [/certificates\.name: is the same as auth\.issuers\.0\.name/]);
});

t.test('TLS ends the warning that credentials reach the port without it', async (t) => {
  const open = (tls: string) => `${least}listen: { host: 0.0.0.0${tls} }\n`;
  t.match(parse(open('')).warnings, [{ path: 'listen.host' }]);
  t.same(parse(open(', tls: { cert: c, key: k }'), {}, files).warnings, []);
});
