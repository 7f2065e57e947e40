/** Each example of gateway.yaml in the README is one that `check` takes, in the shipped file's place. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { parse, stringify } from 'yaml';
import { loadConfig } from '../../src/config/load.ts';
import { makeAuthority } from '../support/certificates.ts';
import { testKey } from '../support/issuer.ts';
import { readmeBlocks } from '../support/readme.ts';

type Loose = Record<string, unknown>;

/** One that has a name has a test of its own. */
const examples = readmeBlocks.filter(({ language, name }) => language === 'yaml' && name === '');
const shipped = parse(readFileSync('gateway.yaml', 'utf8')) as Loose;

/** Lists and values in place of the shipped ones, maps beside what is in them. */
function merged(base: unknown, over: unknown): unknown {
  if (!isMap(base) || !isMap(over)) return over;
  const result: Loose = { ...base };
  for (const [key, value] of Object.entries(over)) result[key] = merged(base[key], value);
  return result;
}

function isMap(value: unknown): value is Loose {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** An example that is a list is routes; what its routes name beside the example is there. */
function whole(text: string): Loose {
  const example: unknown = parse(text);
  const config = merged(shipped, Array.isArray(example) ? { routes: example } : example) as Loose;
  // An upstream is as it stands there: it has one address or several.
  const upstreams = isMap(example) && isMap(example.upstreams) ? example.upstreams : {};
  config.upstreams = { app: { url: 'http://127.0.0.1:8082' }, ...(shipped.upstreams as Loose), ...upstreams };
  return config;
}

const certificates = makeAuthority(t.testdir());
const served = certificates.sign('DNS:localhost');

/** The files that examples name, below a folder of the test's. */
function withFiles(folder: string, text: string): string {
  for (const part of ['tls', 'keys', 'schemas']) mkdirSync(join(folder, part));
  const files: Readonly<Record<string, string>> = {
    'tls/tls.crt': served.cert,
    'tls/tls.key': served.key,
    'tls/ca.crt': certificates.ca,
    'keys/current.pem': testKey('EdDSA').privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
    'keys/other.pem': testKey('EdDSA').publicKey.export({ type: 'spki', format: 'pem' }).toString(),
    'schemas/tool.json': '{"type": "object"}',
  };
  for (const [name, content] of Object.entries(files))
    writeFileSync(join(folder, name), content, { mode: 0o600 });
  return text.replaceAll('/run/', `${folder}/`).replaceAll('schemas/', `${folder}/schemas/`);
}

for (const { text, line } of examples) {
  t.test(`the example at line ${line} can be used`, async (t) => {
    const path = join(t.testdir(), 'gateway.yaml');
    writeFileSync(path, withFiles(t.testdirName, stringify(whole(text))));
    const { config } = loadConfig({ path, env: {} });
    t.ok(config.routes.length > 0);
  });

  t.test(`of the example at line ${line}, a key that is misspelt is found`, async (t) => {
    const path = join(t.testdir(), 'gateway.yaml');
    const [, before = '', key = ''] = /^([^#]*?)\b([a-z_]+):/.exec(text) ?? [];
    const misspelt = `${before}${key}x${text.slice(before.length + key.length)}`;
    writeFileSync(path, withFiles(t.testdirName, stringify(whole(misspelt))));
    t.throws(() => loadConfig({ path, env: {} }), {
      name: 'ConfigError',
      message: new RegExp(`\\b${key}x\\b`),
    });
  });
}

t.test('there are as many as there were, or more', async (t) => {
  t.ok(examples.length >= 10, `${examples.length}`);
});
