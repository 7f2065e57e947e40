import t from 'tap';
import { Admission } from '../src/admission.ts';

t.test('an IPv6 client is its /64, an IPv4 client its address', async (t) => {
  const admission = new Admission({ connectionsMax: 100, connectionsPerAddressMax: 1 });
  t.equal(admission.enter('2001:db8:1:2::1', true), undefined);
  t.equal(admission.enter('2001:db8:1:2:ffff::9', true), 'address');
  t.equal(admission.enter('2001:db8:1:3::1', true), undefined);
  t.equal(admission.enter('192.0.2.1', true), undefined);
  t.equal(admission.enter('192.0.2.2', true), undefined);
  t.equal(admission.enter('192.0.2.2', true), 'address');
  t.equal(admission.open, 4);
});

t.test('a place that is given back is free again, once', async (t) => {
  const admission = new Admission({ connectionsMax: 2, connectionsPerAddressMax: 2 });
  admission.enter('192.0.2.1', true);
  admission.enter('192.0.2.1', true);
  t.equal(admission.enter('192.0.2.2', true), 'all');
  admission.leave('192.0.2.1');
  t.equal(admission.enter('192.0.2.1', true), undefined);
  t.equal(admission.enter('192.0.2.1', true), 'address');
});

t.test('who is not counted has the bound of all', async (t) => {
  const admission = new Admission({ connectionsMax: 3, connectionsPerAddressMax: 1 });
  for (let count = 0; count < 3; count += 1) t.equal(admission.enter('192.0.2.1', false), undefined);
  t.equal(admission.enter('192.0.2.1', false), 'all');
});
