/** The audit log of this process: numbers the records, serializes them and hands them to the sink. */
import { Refusal } from '../errors.ts';
import { AuditBufferError, type FileSink } from './file-sink.ts';
import { type AuditRecord, type RecordContext, serialize } from './record.ts';

/** Seconds after which a disk that refused may take records again. */
export const auditRetrySeconds = 5;

/** Told of every record, whether the sink took it or lost it. */
export type Tally = (sink: string, taken: boolean) => void;

export class AuditLog {
  readonly #sink: FileSink;
  #context: RecordContext;
  readonly #tally: Tally;
  #seq = 0;

  constructor(sink: FileSink, context: RecordContext, tally: Tally = () => undefined) {
    this.#sink = sink;
    this.#context = context;
    this.#tally = tally;
  }

  /** Whether the sink takes records. */
  get up(): boolean {
    return this.#sink.up;
  }

  /** Buffers a record. */
  append(record: AuditRecord): void {
    this.#tally(this.#sink.name, this.#sink.append(this.#line(record)));
  }

  /**
   * Resolves when the record is on disk.
   * @throws `audit_unavailable`
   */
  async appendDurable(record: AuditRecord): Promise<void> {
    try {
      await this.#sink.appendDurable(this.#line(record));
      this.#tally(this.#sink.name, true);
    } catch (cause) {
      // What the disk refused is still in the buffer and will be written; what the buffer refused is lost.
      this.#tally(this.#sink.name, !(cause instanceof AuditBufferError));
      throw new Refusal('audit_unavailable', { retryAfterSeconds: auditRetrySeconds, cause });
    }
  }

  /** From now on, records carry the digest of this configuration. @returns the one before */
  configured(configDigest: string): string {
    const before = this.#context.configDigest;
    this.#context = { ...this.#context, configDigest };
    return before;
  }

  /** Writes what is buffered. */
  flush(): Promise<void> {
    return this.#sink.flush();
  }

  /** Writes what is buffered while nothing else can run any more: the process is ending in disorder. */
  flushNow(): void {
    this.#sink.flushNow();
  }

  close(): Promise<void> {
    return this.#sink.close();
  }

  #line(record: AuditRecord): string {
    this.#seq += 1;
    return serialize(record, this.#context, this.#seq);
  }
}
