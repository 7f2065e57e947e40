/** A log that cannot be written (attack 39): nothing is done that would leave no trace, and it recovers. */
import { readFileSync, rmSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { startTestGateway } from '../support/gateway.ts';
import { startTestRegistry } from '../support/registry.ts';

t.test(
  'while the disk is full, changes and reads are 503 and nothing reaches the service; then all is well',
  async (t) => {
    const directory = t.testdir();
    const log = join(directory, 'log');
    // A device whose every write fails with ENOSPC, as a full disk's does.
    symlinkSync('/dev/full', log);
    const registry = await startTestRegistry(directory);
    const gateway = await startTestGateway({
      directory,
      registry,
      env: { AUDIT_LOG_FILE: log },
    });
    t.teardown(async () => {
      await gateway.close();
      await registry.close();
    });
    const headers = { 'x-api-key': gateway.first.key.key, 'content-type': 'application/json' };
    const tool = JSON.stringify({ name: 'a', inputSchema: { type: 'object' } });
    const create = () => fetch(`${gateway.trafficUrl}/tools`, { method: 'POST', headers, body: tool });
    const list = () => fetch(`${gateway.trafficUrl}/tools`, { headers });

    const refused = await create();
    t.match(await refused.json(), { status: 503, code: 'audit_unavailable', retry_after: Number });
    t.ok(Number(refused.headers.get('retry-after')) > 0);
    t.equal((await list()).status, 503, 'a read would leave no trace either');
    const login = await fetch(`${gateway.trafficUrl}/auth/login`, {
      method: 'POST',
      body: new URLSearchParams({ username: 'admin', password: gateway.first.password }),
    });
    t.equal(login.status, 503, 'nor may anyone log in');
    t.equal((await fetch(`${gateway.trafficUrl}/health`)).status, 200, 'what tells nothing goes on');
    const metrics = () => fetch(`${gateway.operationsUrl}/metrics`).then((response) => response.text());
    t.match(await metrics(), /portcullis_audit_sink_up\{sink="file"\} 0\n/);

    rmSync(log);
    gateway.reopenLogs();
    for (let tries = 0; tries < 100 && !/sink_up\{sink="file"\} 1/.test(await metrics()); tries += 1) {
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    t.match(await (await list()).json(), { total: 0 }, 'the refused create was not done');
    t.equal((await create()).status, 201);
    await gateway.auditLog.flush();
    const records = readFileSync(log, 'utf8')
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line));
    const refusals = records.filter(({ code }) => code === 'audit_unavailable');
    t.equal(refusals.length, 3, 'the refusals of the time are in the log');
  },
);
