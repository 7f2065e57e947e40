/** The permission table of the contract: every permission tried with and without, by key and by user. */
import { readFileSync } from 'node:fs';
import t, { type Test } from 'tap';
import { logIn, startTestGateway, type TestGateway } from '../support/gateway.ts';
import { startTestRegistry } from '../support/registry.ts';

type Permission = 'create' | 'read' | 'update' | 'delete' | 'admin' | 'any' | 'none';

interface Row {
  readonly method: string;
  readonly path: string;
  readonly needs: Permission;
  readonly body?: unknown;
}

/** `{tool}` and `{absent}` stand for ids. Bodies are such that a permitted call is no disaster to the next one. */
const table: readonly Row[] = [
  { method: 'GET', path: '/health', needs: 'none' },
  { method: 'GET', path: '/docs', needs: 'none' },
  { method: 'GET', path: '/openapi.json', needs: 'none' },
  { method: 'GET', path: '/.well-known/jwks.json', needs: 'none' },
  { method: 'POST', path: '/auth/login', needs: 'none', body: {} },
  { method: 'POST', path: '/auth/api-key-login', needs: 'none', body: {} },
  { method: 'POST', path: '/auth/refresh', needs: 'none', body: {} },
  { method: 'GET', path: '/auth/me', needs: 'any' },
  { method: 'GET', path: '/admin/users', needs: 'admin' },
  { method: 'POST', path: '/admin/users', needs: 'admin', body: {} },
  { method: 'PATCH', path: '/admin/users/{absent}', needs: 'admin', body: {} },
  { method: 'POST', path: '/admin/users/{absent}/toggle', needs: 'admin' },
  { method: 'POST', path: '/admin/users/{absent}/reset-password', needs: 'admin' },
  { method: 'GET', path: '/admin/api-keys', needs: 'admin' },
  { method: 'POST', path: '/admin/api-keys', needs: 'admin', body: {} },
  { method: 'PATCH', path: '/admin/api-keys/{absent}', needs: 'admin', body: {} },
  { method: 'POST', path: '/admin/api-keys/{absent}/toggle', needs: 'admin' },
  { method: 'POST', path: '/admin/api-keys/{absent}/rotate', needs: 'admin' },
  { method: 'DELETE', path: '/admin/api-keys/{absent}', needs: 'admin' },
  { method: 'GET', path: '/admin/audit', needs: 'admin' },
  { method: 'HEAD', path: '/admin/audit/stream', needs: 'admin' },
  { method: 'GET', path: '/tools', needs: 'read' },
  { method: 'HEAD', path: '/tools', needs: 'read' },
  { method: 'GET', path: '/tools/search?q=x', needs: 'read' },
  { method: 'GET', path: '/tools/{absent}', needs: 'read' },
  { method: 'POST', path: '/tools', needs: 'create', body: {} },
  { method: 'PUT', path: '/tools/{absent}', needs: 'update', body: {} },
  { method: 'PATCH', path: '/tools/{absent}', needs: 'update', body: {} },
  { method: 'DELETE', path: '/tools/{absent}', needs: 'delete' },
];

const words = ['create', 'read', 'update', 'delete'] as const;
const rateless = readFileSync('gateway.yaml', 'utf8').replaceAll(
  /rate: [^}]*\/minute"? }/g,
  'rate: 100000/minute }',
);

let gateway: TestGateway;
/** What a caller may do → the caller's credential. */
const callers = new Map<string, { may: ReadonlySet<Permission>; credential: string | undefined }>();

function flags(...may: readonly string[]) {
  return Object.fromEntries(words.map((word) => [`can_${word}`, may.includes(word)]));
}

t.before(async () => {
  const directory = t.testdir();
  const registry = await startTestRegistry(directory);
  gateway = await startTestGateway({ directory, registry, yaml: rateless });
  t.teardown(async () => {
    await gateway.close();
    await registry.close();
  });
  callers.set('nobody', { may: new Set(['none']), credential: undefined });
  for (const may of [[], ...words.map((word) => [word]), [...words]]) {
    const made = await gateway.admin('POST', '/admin/api-keys', { name: 'k', ...flags(...may) });
    const { key } = (await made.json()) as { key: string };
    callers.set(`a key with ${may.join(',') || 'nothing'}`, {
      may: new Set(['none', 'any', ...may]),
      credential: key,
    });
  }
  const password = 'correct horse battery';
  for (const [username, is_admin, may] of [
    ['reader', false, ['read']],
    ['second-admin', true, []],
  ] as const) {
    const made = await gateway.admin('POST', '/admin/users', {
      username,
      password,
      is_admin,
      ...flags(...may),
    });
    t.equal(made.status, 201);
    const credential = await logIn(gateway.trafficUrl, username, password);
    const all = is_admin ? [...words, 'admin' as const] : may;
    callers.set(`user ${username}`, { may: new Set(['none', 'any', ...all]), credential });
  }
});

function ask({ method, path, body }: Row, credential: string | undefined): Promise<Response> {
  return fetch(gateway.trafficUrl + path.replace('{absent}', 'AAAAAAAAAAAA'), {
    method,
    headers: {
      ...(credential !== undefined && { authorization: `Bearer ${credential}` }),
      ...(body !== undefined && { 'content-type': 'application/json' }),
    },
    ...(body !== undefined && { body: JSON.stringify(body) }),
  });
}

async function checkRow(t: Test, row: Row): Promise<void> {
  for (const [who, { may, credential }] of callers) {
    const response = await ask(row, credential);
    const text = await response.text();
    const code = row.method === 'HEAD' || !text.startsWith('{') ? undefined : JSON.parse(text).code;
    const message = `${who}: ${response.status} ${code ?? ''}`;
    if (may.has(row.needs)) {
      t.notOk(response.status === 403 || code === 'credential_missing', message);
      t.ok(response.status < 500, message);
    } else {
      t.equal(response.status, credential === undefined ? 401 : 403, message);
      t.ok(response.headers.get('www-authenticate')?.startsWith('Bearer'), message);
    }
    t.equal(response.headers.get('x-frame-options'), 'DENY');
  }
}

for (const row of table) t.test(`${row.method} ${row.path} needs ${row.needs}`, (t) => checkRow(t, row));

t.test('the table names every endpoint there is', async (t) => {
  const response = await fetch(`${gateway.trafficUrl}/openapi.json`);
  const { paths } = (await response.json()) as { paths: Record<string, Record<string, unknown>> };
  const described = Object.entries(paths).flatMap(([path, operations]) =>
    Object.keys(operations).map((method) => `${method.toUpperCase()} ${path}`),
  );
  const rows = new Set(
    table.map(({ method, path }) => `${method} ${path.replace(/\?.*/, '').replace('{absent}', '{id}')}`),
  );
  // These two would end the callers' own sessions or change their passwords; the user story walks them. A stream has
  // no end to wait for: its head is asked for above.
  const apart = ['POST /auth/logout', 'POST /auth/change-password', 'GET /admin/audit/stream'];
  t.strictSame(
    described.filter((operation) => !rows.has(operation) && !apart.includes(operation)),
    [],
  );
});

t.test('logout and password change need a credential', async (t) => {
  for (const path of ['/auth/logout', '/auth/change-password']) {
    t.equal((await ask({ method: 'POST', path, needs: 'any', body: {} }, undefined)).status, 401);
  }
});
