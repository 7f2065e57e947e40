import t from 'tap';
import { namesOf } from '../../src/credentials/client-certificate.ts';

t.test('the URI is the subject, else the first DNS name', async (t) => {
  t.equal(namesOf('DNS:b.example, URI:spiffe://a/b, DNS:c.example')?.first, 'spiffe://a/b');
  t.same(
    [...(namesOf('DNS:b.example, URI:spiffe://a/b, IP Address:192.0.2.1')?.all ?? [])],
    ['spiffe://a/b', 'b.example'],
  );
  t.equal(namesOf('DNS:B.example, DNS:a.example')?.first, 'b.example', 'in lower case');
});

t.test('CVE-2021-44532: a name that is written to look like several is none', async (t) => {
  // As node:crypto quotes a DNS name that holds a comma.
  t.equal(namesOf('DNS:"a.example, URI:spiffe://a/admin"'), undefined);
  t.equal(namesOf('URI:"spiffe://a/b\\u0000, DNS:admin.example.org", DNS:c.example'), undefined);
});

t.test('nothing, two URIs, a wildcard and odd characters are nobody', async (t) => {
  const none = ['', 'IP Address:192.0.2.1', 'URI:spiffe://a/b, URI:spiffe://a/c', 'DNS:*.example'];
  for (const text of [
    ...none,
    'URI:spiffe://a/ b',
    'DNS:a..',
    'URI:no-scheme',
    `URI:spiffe://a/${'b'.repeat(300)}`,
  ])
    t.equal(namesOf(text), undefined, text);
});
