/** A delivery with its events written down, and lines to give it. */
import { Backlog } from '../../../src/audit/sinks/backlog.ts';
import { Delivery, type Receiver } from '../../../src/audit/sinks/delivery.ts';
import { HttpReceiver as HttpSink } from '../../../src/audit/sinks/http.ts';
import { Spill } from '../../../src/audit/sinks/spill.ts';

interface Test {
  teardown(callback: () => unknown): void;
}

export interface Delivering {
  readonly delivery: Delivery;
  readonly ups: boolean[];
  readonly told: number[];
  delivered: number;
  dropped: number;
}

export interface DeliveringOptions {
  readonly receiver: Receiver;
  readonly bufferBytes?: number;
  readonly batchBytes?: number;
  readonly batchMs?: number;
  readonly spill?: { readonly path: string; readonly bytesMax: number };
}

export async function delivering(t: Test, options: DeliveringOptions): Promise<Delivering> {
  const { receiver, bufferBytes = 1024 * 1024, batchBytes = 64 * 1024, batchMs = 20 } = options;
  const troubles: unknown[] = [];
  const spill =
    options.spill && (await Spill.open({ ...options.spill, onTrouble: (error) => troubles.push(error) }));
  const seen = { ups: [] as boolean[], told: [] as number[], delivered: 0, dropped: 0 };
  const delivery = new Delivery({
    name: 'test',
    receiver,
    backlog: new Backlog(bufferBytes, spill),
    batchBytes,
    batchMs,
    events: {
      onUp: (up) => seen.ups.push(up),
      onDelivered: (count) => {
        seen.delivered += count;
      },
      onDropped: (count) => {
        seen.dropped += count;
      },
      tellDropped: (count) => seen.told.push(count),
    },
    random: () => 0,
  });
  t.teardown(() => delivery.close());
  return Object.assign(seen, { delivery });
}

export function httpSink(
  url: string,
  changes: Partial<ConstructorParameters<typeof HttpSink>[0]> = {},
): HttpSink {
  return new HttpSink({ url, token: undefined, tokenFile: undefined, tls: {}, timeoutMs: 5_000, ...changes });
}

/** A line as long as most records, with its number in it. */
export function lineOf(number: number): string {
  return `${JSON.stringify({ id: `id-${number}`, stage: 'complete', number, padding: 'x'.repeat(500) })}\n`;
}

export function numbersIn(lines: readonly string[]): number[] {
  return lines.map((line) => (JSON.parse(line) as { number: number }).number);
}

/** Each number's first appearance, in order: what remains when whoever gets one twice forgets the second. */
export function deduplicated(numbers: readonly number[]): number[] {
  return [...new Set(numbers)];
}

export function range(count: number, from = 0): number[] {
  return Array.from({ length: count }, (_, index) => from + index);
}

export async function until(condition: () => boolean, waitMs = 30_000): Promise<void> {
  const deadlineMs = performance.now() + waitMs;
  while (!condition()) {
    if (performance.now() > deadlineMs) throw new Error('it did not come to pass');
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
