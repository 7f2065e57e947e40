import { Writable } from 'node:stream';
import pino from 'pino';
import t from 'tap';
import type { FetchReport } from '../../src/credentials/issuer-keys.ts';
import { KeyReports } from '../../src/telemetry/key-reports.ts';
import { Metrics } from '../../src/telemetry/metrics.ts';
import { FakeClock } from '../support/fake-clock.ts';

function open() {
  const lines: Array<Record<string, unknown>> = [];
  const stream = new Writable({
    write: (chunk, _encoding, done) => {
      lines.push(JSON.parse(String(chunk)));
      done();
    },
  });
  const metrics = new Metrics({ version: '0', nodeVersion: '0' });
  const reports = new KeyReports(metrics, pino({ level: 'info' }, stream), new FakeClock());
  reports.prepare(['corp']);
  return { reports, metrics, lines };
}

const ok: FetchReport = { result: 'ok', message: undefined, keys: 2, leftOut: [] };
const html: FetchReport = { result: 'not_json', message: 'answered HTML, not JSON', keys: 2, leftOut: [] };

t.test('what stays the same is said once, and counted each time', async (t) => {
  const { reports, metrics, lines } = open();
  for (const report of [ok, ok, html, html, html, ok]) reports.fetched('corp', report);
  t.same(
    lines.map(({ msg }) => msg),
    [
      'keys of this issuer taken',
      'the keys of this issuer were not taken: answered HTML, not JSON',
      'keys of this issuer taken',
    ],
  );
  const text = await metrics.registry.metrics();
  t.match(text, /issuer_key_fetches_total\{issuer="corp",result="ok"\} 3/);
  t.match(text, /issuer_key_fetches_total\{issuer="corp",result="not_json"\} 3/);
  t.match(text, /issuer_key_fetches_total\{issuer="corp",result="timeout"\} 0/, 'there from the start');
});

t.test('keys that were left out are named; a start without keys is an error', async (t) => {
  const { reports, lines } = open();
  reports.fetched('corp', { ...ok, leftOut: ['key 1 is RSA of 1024 bits; 2048 are the least'] });
  reports.missingAtStart(['corp']);
  t.match(lines, [
    { level: 40, issuer: 'corp', left_out: ['key 1 is RSA of 1024 bits; 2048 are the least'] },
    { level: 50, issuer: 'corp', msg: /^started without the keys of this issuer/ },
  ]);
});

t.test('a configuration that is loaded anew takes nothing back of an issuer that stays', async (t) => {
  const { reports, metrics } = open();
  reports.fetched('corp', ok);
  reports.prepare(['corp', 'other']);
  const text = await metrics.registry.metrics();
  t.match(text, /^portcullis_issuer_keys\{issuer="corp"\} 2$/m);
  t.match(text, /^portcullis_issuer_keys\{issuer="other"\} 0$/m);
});
