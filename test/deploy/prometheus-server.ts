/** A real Prometheus server that scrapes what a test says, every second, and ends with it. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { freePort } from '../support/free-port.ts';

interface Test {
  teardown(callback: () => unknown): void;
}

interface Series {
  readonly metric: Readonly<Record<string, string>>;
  readonly value: readonly [number, string];
}

export interface PrometheusServer {
  /** An instant query. @throws Error with what Prometheus says of it */
  query(expr: string): Promise<readonly Series[]>;
  /** Waits until every target has been scraped without a fault; 30 s at most. */
  scraped(): Promise<void>;
}

/** @param targets such as `127.0.0.1:9464` */
export async function startPrometheus(t: Test, targets: readonly string[]): Promise<PrometheusServer> {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-prometheus-'));
  const address = `127.0.0.1:${await freePort()}`;
  const config = {
    global: { scrape_interval: '1s', scrape_timeout: '1s' },
    scrape_configs: [{ job_name: 'portcullis', static_configs: [{ targets }] }],
  };
  // JSON is YAML.
  writeFileSync(join(folder, 'prometheus.yml'), JSON.stringify(config));
  const child = spawn(
    'prometheus',
    [
      `--config.file=${join(folder, 'prometheus.yml')}`,
      `--storage.tsdb.path=${join(folder, 'data')}`,
      `--web.listen-address=${address}`,
      '--log.level=error',
    ],
    { stdio: 'ignore' },
  );
  const ended = once(child, 'exit');
  t.teardown(async () => {
    child.kill('SIGKILL');
    await ended;
    rmSync(folder, { recursive: true, force: true });
  });
  const ask = async (path: string) => {
    const response = await fetch(`http://${address}${path}`);
    return (await response.json()) as { status: string; error?: string; data: { result: readonly Series[] } };
  };
  const query = async (expr: string) => {
    const { status, error, data } = await ask(`/api/v1/query?query=${encodeURIComponent(expr)}`);
    if (status !== 'success') throw new Error(`${expr}: ${error}`);
    return data.result;
  };
  return {
    query,
    scraped: async () => {
      for (let tries = 0; tries < 150; tries += 1) {
        const up = await query('up').catch(() => []);
        if (up.length === targets.length && up.every(({ value }) => value[1] === '1')) return;
        await delay(200);
      }
      throw new Error('Prometheus has not scraped every target within 30 s');
    },
  };
}
