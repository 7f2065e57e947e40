import t from 'tap';
import { nominatedBy, stopsHere } from '../../src/http/hop-by-hop.ts';

const nothing = nominatedBy(undefined);

for (const name of [
  'connection',
  'keep-alive',
  'proxy-connection',
  'proxy-authenticate',
  'proxy-authorization',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
])
  t.test(`${name} never passes`, async (t) => {
    t.equal(stopsHere(name, nothing), true);
  });

for (const name of ['content-type', 'content-length', 'x-auth-subject', 'cookie'])
  t.test(`${name} passes`, async (t) => {
    t.equal(stopsHere(name, nothing), false);
  });

t.test('what Connection nominates stops, in any case and with space around it', async (t) => {
  const nominated = nominatedBy(' close , X-Secret,x-other\t');
  t.equal(stopsHere('x-secret', nominated), true);
  t.equal(stopsHere('x-other', nominated), true);
  t.equal(stopsHere('x-third', nominated), false);
});

t.test('a nominated name is one with its underscored spelling', async (t) => {
  t.equal(stopsHere('x-secret', nominatedBy('X_Secret')), true);
});

for (const connection of ['keep-alive', 'close', 'Close', ''])
  t.test(`"${connection}" nominates no header`, async (t) => {
    t.equal(stopsHere('x-a', nominatedBy(connection)), false);
  });
