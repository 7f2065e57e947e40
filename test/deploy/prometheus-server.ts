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

interface Exemplars {
  readonly seriesLabels: Readonly<Record<string, string>>;
  readonly exemplars: ReadonlyArray<{
    readonly labels: Readonly<Record<string, string>>;
    readonly value: string;
    readonly timestamp: number;
  }>;
}

export interface PrometheusServer {
  /** An instant query. @throws Error with what Prometheus says of it */
  query(expr: string): Promise<readonly Series[]>;
  /** The exemplars of a query in the last five minutes. @throws Error with what Prometheus says of it */
  exemplars(expr: string): Promise<readonly Exemplars[]>;
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
      '--enable-feature=exemplar-storage',
    ],
    { stdio: 'ignore' },
  );
  const ended = once(child, 'exit');
  t.teardown(async () => {
    child.kill('SIGKILL');
    await ended;
    rmSync(folder, { recursive: true, force: true });
  });
  const ask = async <Data>(path: string) => {
    const response = await fetch(`http://${address}${path}`);
    return (await response.json()) as { status: string; error?: string; data: Data };
  };
  const query = async (expr: string) => {
    const path = `/api/v1/query?query=${encodeURIComponent(expr)}`;
    const { status, error, data } = await ask<{ result: readonly Series[] }>(path);
    if (status !== 'success') throw new Error(`${expr}: ${error}`);
    return data.result;
  };
  const exemplars = async (expr: string) => {
    const nowSeconds = Date.now() / 1000;
    const time = `start=${nowSeconds - 300}&end=${nowSeconds + 60}`;
    const path = `/api/v1/query_exemplars?query=${encodeURIComponent(expr)}&${time}`;
    const { status, error, data } = await ask<readonly Exemplars[]>(path);
    if (status !== 'success') throw new Error(`${expr}: ${error}`);
    return data;
  };
  return {
    query,
    exemplars,
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
