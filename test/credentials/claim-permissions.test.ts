import fc from 'fast-check';
import t from 'tap';
import { permissionsFrom } from '../../src/credentials/claim-permissions.ts';
import type { Permission } from '../../src/exchange.ts';

const rule = (
  claim: readonly string[],
  values: Readonly<Record<string, readonly Permission[]>>,
  isWords = false,
) => ({ grant: [], claims: [{ claim, values: new Map(Object.entries(values)), isWords }] });
const from = (payload: Record<string, unknown>, rules: Parameters<typeof permissionsFrom>[1]) => [
  ...permissionsFrom(payload, rules),
];

t.test('a path into a list, as Keycloak has its roles', async (t) => {
  const rules = rule(['realm_access', 'roles'], { 'tools-editor': ['create', 'update'], viewer: ['read'] });
  t.same(from({ realm_access: { roles: ['viewer', 'tools-editor', 'other'] } }, rules), [
    'read',
    'create',
    'update',
  ]);
  t.same(from({ realm_access: { roles: [] } }, rules), []);
});

t.test('a space-separated string, as scope is', async (t) => {
  const rules = rule(['scope'], { 'tools:read': ['read'], 'tools:write': ['create', 'update'] }, true);
  t.same(from({ scope: 'openid tools:read tools:write' }, rules), ['read', 'create', 'update']);
  t.same(from({ scope: 'tools:readtools:write' }, rules), []);
});

t.test('any other string is one value: a name with a space in it is nobody else’s', async (t) => {
  const rules = rule(['sub'], { boss: ['admin'], 'Tool Admins': ['read'] });
  t.same(from({ sub: 'mallory boss' }, rules), []);
  t.same(from({ sub: 'Tool Admins' }, rules), ['read']);
});

t.test('names with dots: a URL, and kubernetes.io', async (t) => {
  const url = rule(['https://example.com/roles'], { boss: ['delete'] });
  t.same(from({ 'https://example.com/roles': ['boss'] }, url), ['delete']);
  const kubernetes = rule(['kubernetes.io', 'serviceaccount', 'name'], { ci: ['read'] });
  t.same(from({ 'kubernetes.io': { serviceaccount: { name: 'ci' } } }, kubernetes), ['read']);
  t.same(from({ kubernetes: { io: { serviceaccount: { name: 'ci' } } } }, kubernetes), []);
});

t.test('an admin may do everything, and only the value that says so makes one', async (t) => {
  const rules = rule(['groups'], { admins: ['admin'], readers: ['read'] });
  t.same(from({ groups: ['admins'] }, rules), ['create', 'read', 'update', 'delete', 'admin']);
  t.same(from({ groups: ['admin'] }, rules), [], 'the word itself means nothing');
});

t.test('a fixed grant is for everyone of the issuer, beside what claims say', async (t) => {
  const rules = { ...rule(['scope'], { write: ['create'] }), grant: ['read'] as const };
  t.same(from({}, rules), ['read']);
  t.same(from({ scope: 'write' }, rules), ['read', 'create']);
});

t.test('a list’s items are taken whole: no item of two words is two', async (t) => {
  t.same(from({ groups: ['guests admins'] }, rule(['groups'], { admins: ['admin'] })), []);
});

t.test('what is no string or list of strings, and what only the prototype has, means nothing', async (t) => {
  const rules = rule(['groups'], { true: ['read'], 7: ['read'], '[object Object]': ['read'] });
  for (const groups of [true, 7, null, { a: 1 }, [7, true, {}, ['7']]]) t.same(from({ groups }, rules), []);
  for (const path of [['constructor', 'name'], ['__proto__'], ['groups', 'length'], ['groups', '0']]) {
    t.same(from({ groups: ['Object'] }, rule(path, { Object: ['admin'], 1: ['admin'] })), [], path.join('.'));
  }
});

t.test('property: without the mapped value no claims ever give a permission', async (t) => {
  const rules = rule(['a', 'b'], { 'the-one-value': ['admin'] });
  fc.assert(
    fc.property(fc.dictionary(fc.constantFrom('a', 'b'), fc.jsonValue()), (payload) => {
      return JSON.stringify(payload).includes('the-one-value') || from(payload, rules).length === 0;
    }),
  );
  t.pass();
});
