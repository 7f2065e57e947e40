import t from 'tap';
import { RouteTable } from '../../src/http/route-table.ts';
import { routeOf } from '../support/exchange.ts';

const rest = routeOf({ template: '/*', permission: 'read' });

t.test('the most specific pattern wins, in whatever order they were added', async (t) => {
  const exact = routeOf({ template: '/tools/search' });
  const below = routeOf({ template: '/tools/*' });
  for (const routes of [
    [rest, below, exact],
    [exact, below, rest],
  ]) {
    const table = new RouteTable();
    for (const route of routes) table.add(route.template, ['GET'], route);
    t.equal(table.find('GET', '/tools/search')?.route, exact);
    t.equal(table.find('GET', '/tools/search/x')?.route, below);
    t.equal(table.find('GET', '/else')?.route, rest);
  }
});

t.test('the same pattern twice is an error', async (t) => {
  const table = new RouteTable();
  table.add('/tools', ['GET'], rest);
  t.throws(() => table.add('/tools', ['GET'], rest));
});

for (const escaped of ['/v1/%61dmin', '/v1/admi%6E', '/v%31/admin'])
  t.test(`${escaped} is matched as the path it stands for`, async (t) => {
    const admin = routeOf({ template: '/v1/admin', permission: 'admin' });
    const table = new RouteTable();
    table.add('/*', ['GET'], rest);
    table.add('/v1/admin', ['GET'], admin);
    t.equal(table.find('GET', escaped)?.route, admin);
  });

for (const [character, escaped] of [
  ['@', '%40'],
  ['$', '%24'],
  ['&', '%26'],
  ['+', '%2B'],
  ['+', '%2b'],
  [',', '%2C'],
  ['=', '%3d'],
  ['!', '%21'],
  ["'", '%27'],
  ['(', '%28'],
] as const)
  t.test(`CWE-177: ${escaped} does not slip past a route that is written with ${character}`, async (t) => {
    const admin = routeOf({ template: `/v1/all${character}purge`, permission: 'admin' });
    const table = new RouteTable();
    table.add('/*', ['GET'], rest);
    table.add(admin.template, ['GET'], admin);
    t.equal(table.find('GET', `/v1/all${escaped}purge`)?.route, admin);
  });

t.test('path parameters come decoded', async (t) => {
  const table = new RouteTable();
  table.add('/users/:id', ['GET'], rest);
  t.equal(table.find('GET', '/users/user%3Aa%20b%E2%82%AC')?.params.id, 'user:a b€');
});

t.test('an escaped question mark or hash stays part of its segment', async (t) => {
  const table = new RouteTable();
  table.add('/users/:id', ['GET'], rest);
  t.equal(table.find('GET', '/users/a%3Fb%23c')?.params.id, 'a?b#c');
});

t.test('a parameter does not span segments', async (t) => {
  const table = new RouteTable();
  table.add('/users/:id', ['GET'], rest);
  t.equal(table.find('GET', '/users/a/b'), undefined);
});

t.test('a path with another method tells which, and whether one is public', async (t) => {
  const table = new RouteTable();
  table.add('/tools', ['GET', 'HEAD'], routeOf({ permission: 'none' }));
  table.add('/tools', ['POST'], routeOf({ permission: 'create' }));
  const match = table.find('DELETE', '/tools');
  t.equal(match?.route, undefined);
  t.strictSame(match?.methods.toSorted(), ['GET', 'HEAD', 'POST']);
  t.equal(match?.anyPublic, true);
  t.equal(table.find('GET', '/else'), undefined);
});

t.test(
  'a method that the most specific path does not take is not handed down to a wider route',
  async (t) => {
    const table = new RouteTable();
    table.add('/*', ['GET', 'POST'], routeOf({ permission: 'none' }));
    table.add('/admin', ['GET'], routeOf({ permission: 'admin' }));
    t.equal(table.find('POST', '/admin')?.route, undefined);
    t.ok(table.find('POST', '/else')?.route);
  },
);
