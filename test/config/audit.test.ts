/** The section `audit`: what it may say, and that its secret is one. */
import t from 'tap';
import { parseConfig } from '../../src/config/load.ts';
import { ConfigError } from '../../src/config/problem.ts';

const strong = 'Zk3Vx9mQ7rT1wB5nL8cY2hJ6pD4sF0gA+e';
const withAudit = (keys: string, database = 'sqlite:./x.db') => `
version: 1
database: ${database}
auth: { tokens: { secrets: ["9fKw2LxT5vQ8zR1nB7mC4yH6jD3sG0pA-u"] }, api_keys: { hmac_keys: ["tN6bW1cX8kV3rM9qZ5yJ2hL7dP4fS0gE_o"] } }
rate_limits:
  classes:
    public: { rate: 1/minute }
    read: { rate: 1/minute }
    write: { rate: 1/minute }
    admin: { rate: 1/minute }
audit:
  sinks: [{ type: file, path: audit.log }]
${keys}
`;

const load = (keys: string, database?: string) =>
  parseConfig(withAudit(keys, database), { file: 'gateway.yaml', env: {} });

function problemOf(keys: string, database?: string): string {
  try {
    load(keys, database);
    return 'none';
  } catch (error) {
    if (error instanceof ConfigError) return error.format();
    throw error;
  }
}

t.test('without a word, reads are refused too, nothing is hidden, and no file is removed', async (t) => {
  const { audit } = load('').config;
  t.match(audit, { unrecorded_reads: 'refuse', pseudonymize: [], signing_key: undefined });
  t.match(audit.sinks[0], { fsync: true, rotate: { size: 256 * 1024 ** 2, keep: undefined } });
});

t.test('the key of pseudonyms is a secret: judged as one, and not in the digest', async (t) => {
  const one = load(`  pseudonymize: [client_ip]\n  pseudonym_key: ${strong}`);
  const two = load(`  pseudonymize: [client_ip]\n  pseudonym_key: ${strong.split('').reverse().join('')}`);
  t.equal(one.digest, two.digest);
  t.match(problemOf('  pseudonymize: [client_ip]\n  pseudonym_key: short'), /audit\.pseudonym_key: /);
});

t.test('replicas on one database need one key, or one client would have several pseudonyms', async (t) => {
  const postgres = 'postgres://a@127.0.0.1/b';
  t.match(problemOf('  pseudonymize: [client_ip]', postgres), /audit\.pseudonym_key: is empty/);
  t.equal(problemOf('', postgres), 'none');
});

t.test('a signing key that is not there, and words that mean nothing, are told at their place', async (t) => {
  t.match(problemOf('  signing_key: /nowhere/audit.pem'), /13:16: audit\.signing_key: cannot be read/);
  t.match(problemOf('  pseudonymize: [principal]'), /audit\.pseudonymize\.0: must be one of client_ip/);
  t.match(problemOf('  unrecorded_reads: maybe'), /must be one of refuse or allow/);
});
