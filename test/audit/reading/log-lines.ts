/** Logs to read: lines as the gateway writes them, with whatever a test asks for in them. */
import { closeSync, openSync, writeSync } from 'node:fs';

export const firstMs = Date.parse('2030-01-01T00:00:00Z');

/** Record `number` of a log in which principals, paths and statuses recur at known distances. */
export function lineOf(number: number): string {
  const denied = number % 50 === 0;
  const status = denied ? 403 : 200;
  const record = {
    timestamp: (firstMs + number * 10) / 1000,
    method: 'GET',
    path: `/tools/${number % 1_000}`,
    query_params: '',
    client_ip: '127.0.0.1',
    user_agent: 'Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko)',
    status_code: status,
    process_time: 0.001234,
    auth_type: 'ApiKey',
    content_length: null,
    stage: 'complete',
    id: `${number.toString(16).padStart(8, '0')}-1111-4111-8111-111111111111`,
    request_id: `${number.toString(16).padStart(8, '0')}-1111-4111-8111-111111111111`,
    trace_id: '0af7651916cd43dd8448eb211c80319c',
    principal: number % 99_991 === 7 ? 'user:rare' : `key:${number % 100}`,
    credential_id: '4fXabcdefghi',
    route: '/tools/*',
    decision: denied ? 'deny' : 'allow',
    code: denied ? 'permission_denied' : null,
    reason: null,
    upstream_time: 0.0008,
    bytes_out: 1_234,
    replica: 'host/1',
    config_digest: '0123456789abcdef',
    seq: number + 1,
  };
  return `${JSON.stringify(record)}\n`;
}

/** Writes records `from` to `to` (not included) behind what is there. */
export function writeLog(path: string, from: number, to: number): void {
  const fd = openSync(path, 'a');
  let text = '';
  for (let number = from; number < to; number += 1) {
    text += lineOf(number);
    if (text.length < 4_000_000 && number < to - 1) continue;
    writeSync(fd, text);
    text = '';
  }
  closeSync(fd);
}

/** The numbers of records. */
export function numbersOf(lines: ReadonlyArray<{ readonly line: string }>): number[] {
  return lines.map(({ line }) => (JSON.parse(line) as { seq: number }).seq - 1);
}
