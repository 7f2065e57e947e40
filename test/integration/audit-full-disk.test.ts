/** Attack 39 on real things: a disk that fills up and is cleared, a database that somebody else holds locked. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import Database from 'better-sqlite3';
import t, { type Test } from 'tap';
import { keptSigningKey } from '../../src/audit/signing.ts';
import { verdictOf } from '../support/audit.ts';
import { startTestGateway } from '../support/gateway.ts';
import { startTestRegistry } from '../support/registry.ts';

/** Root may have a disk of 64 KiB; anyone else has one that is always full, and takes it away to make room. */
function smallDisk(test: Test): { log: string; fill(): void; clear(): void; reopens: boolean } {
  // Not below the test's own folder, which is removed while this is still mounted.
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-disk-'));
  test.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const log = join(folder, 'audit.log');
  const filler = join(folder, 'filler');
  if (process.getuid?.() !== 0) {
    const fill = () => {
      rmSync(log);
      execFileSync('ln', ['-s', '/dev/full', log]);
    };
    return { log, fill, clear: () => rmSync(log), reopens: true };
  }
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', folder]);
  test.teardown(() => execFileSync('umount', ['-l', folder]));
  const fill = () => {
    // Not quite to the brim: a record shall fit in half.
    for (const bytes of [4_096, 1]) {
      try {
        for (;;) writeFileSync(filler, Buffer.alloc(bytes), { flag: 'a' });
      } catch {}
    }
  };
  return { log, fill, clear: () => rmSync(filler), reopens: false };
}

t.test(
  'a disk that fills up: changes and reads are 503 until there is room, and the chain is whole',
  async (t) => {
    const disk = smallDisk(t);
    const directory = t.testdir();
    const registry = await startTestRegistry(directory);
    const gateway = await startTestGateway({
      directory,
      registry,
      env: { AUDIT_LOG_FILE: disk.log },
    });
    t.teardown(async () => {
      await gateway.close();
      await registry.close();
    });
    const headers = { 'x-api-key': gateway.first.key.key, 'content-type': 'application/json' };
    const create = (name: string) =>
      fetch(`${gateway.trafficUrl}/tools`, {
        method: 'POST',
        headers,
        body: JSON.stringify({ name, inputSchema: { type: 'object' } }),
      });
    const list = () => fetch(`${gateway.trafficUrl}/tools`, { headers });
    t.equal((await create('a')).status, 201);

    disk.fill();
    if (disk.reopens) gateway.reopenLogs();
    let refused = await create('b');
    // A page that was begun takes a few records more.
    for (let tries = 0; tries < 15 && refused.status !== 503; tries += 1) refused = await create(`b${tries}`);
    t.match(await refused.json(), { status: 503, code: 'audit_unavailable' });
    t.equal((await list()).status, 503);
    t.equal((await gateway.admin('GET', '/admin/users').catch(() => undefined))?.status ?? 503, 503);

    disk.clear();
    if (disk.reopens) gateway.reopenLogs();
    let status = 503;
    for (let tries = 0; tries < 100 && status === 503; tries += 1) {
      await sleep(50);
      status = (await list()).status;
    }
    t.equal(status, 200, 'it goes on by itself');
    t.equal((await create('c')).status, 201);
    await gateway.auditLog.signNow();
    await gateway.auditLog.flush();
    if (!disk.reopens) {
      const verdict = verdictOf([disk.log], keptSigningKey(join(directory, 'audit-signing.key')));
      t.equal(verdict.fault, undefined, 'a record that was half written was ended and written anew');
    }
  },
);

t.test(
  'attack 39: while somebody holds the database locked, administration is 503 and says so; then it goes on',
  async (t) => {
    const directory = t.testdir();
    const gateway = await startTestGateway({ directory });
    t.teardown(() => gateway.close());
    const user = (username: string) => ({
      username,
      password: 'correct horse battery',
      email: `${username}@a.example`,
    });
    t.equal((await gateway.admin('POST', '/admin/users', user('one'))).status, 201);
    const other = new Database(join(directory, 'portcullis.db'));
    t.teardown(() => other.close());
    other.exec('BEGIN EXCLUSIVE');
    const refused = await gateway.admin('POST', '/admin/users', user('two'));
    t.match(await refused.json(), { status: 503, code: 'store_unavailable', retry_after: Number });
    other.exec('ROLLBACK');
    t.equal((await gateway.admin('POST', '/admin/users', user('two'))).status, 201);
    const codes = (await gateway.audit()).filter(
      ({ path, stage }) => path === '/admin/users' && stage === 'complete',
    );
    t.strictSame(
      codes.map(({ status_code, code }) => [status_code, code]),
      [
        [201, null],
        [503, 'store_unavailable'],
        [201, null],
      ],
      'each is on record',
    );
  },
);
