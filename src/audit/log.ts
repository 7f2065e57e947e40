/**
 * The audit log of this process: the one place where a record becomes a line. A line stands in the chain of the
 * process, and is signed for soon after; the sink gets it as it is.
 */
import { randomUUID } from 'node:crypto';
import type { Clock } from '../clock.ts';
import { Refusal } from '../errors.ts';
import { auditCheckpointMs, auditUnsignedRecordsMax } from '../limits.ts';
import { Chain, type SealedLine } from './chain.ts';
import { AuditBufferError, type FileHeader, type Seen } from './file-sink.ts';
import { linksOfOneMax, type PlacedLink, type TornLine } from './log-files.ts';
import { type AuditRecord, type EventRecord, eventRecord, type RecordContext, serialize } from './record.ts';
import type { SigningKey } from './signing.ts';
import type { Outlet, Primary } from './sinks/outlet.ts';

/** Seconds after which a disk that refused may take records again. */
export const auditRetrySeconds = 5;

/** Told of every record, whether the sink took it or lost it. */
export type Tally = (sink: string, taken: boolean) => void;

export interface AuditLogOptions {
  readonly sink: Primary;
  /** Get every line that stands in the chain, and hold up nothing. */
  readonly outlets?: readonly Outlet[];
  readonly context: RecordContext;
  readonly key: SigningKey;
  readonly clock: Clock;
  /** Whether other processes write to the sink all the time. */
  readonly inCompany?: boolean;
  readonly tally?: Tally;
}

const nothingSeen: Seen = { links: [], torn: [] };

export class AuditLog {
  readonly #sink: Primary;
  readonly #outlets: readonly Outlet[];
  readonly #key: SigningKey;
  readonly #clock: Clock;
  readonly #inCompany: boolean;
  readonly #tally: Tally;
  readonly #chain = new Chain();
  #context: RecordContext;
  /** Records since the last checkpoint. */
  #unsigned = 0;
  /** Records that a full buffer has refused, and that no record tells of yet. */
  #lost = 0;
  /** What was seen in the file and is still to be vouched for. */
  readonly #links: PlacedLink[] = [];
  readonly #torn: TornLine[] = [];
  #timer: NodeJS.Timeout | undefined;
  #signing: Promise<void> | undefined;

  constructor(options: AuditLogOptions) {
    const { sink, context, key, clock, inCompany = false, tally = () => undefined, outlets = [] } = options;
    this.#sink = sink;
    this.#inCompany = inCompany;
    this.#outlets = outlets;
    this.#context = context;
    this.#key = key;
    this.#clock = clock;
    this.#tally = tally;
  }

  /** Whether the sink takes records. */
  get up(): boolean {
    return this.#sink.up;
  }

  /** Buffers a record. */
  append(record: AuditRecord | EventRecord): void {
    const sealed = this.#seal(record);
    if (sealed !== undefined) this.#sink.append(sealed.line);
    this.#tally(this.#sink.name, sealed !== undefined);
  }

  /**
   * Resolves when the record is on disk.
   * @throws `audit_unavailable`
   */
  async appendDurable(record: AuditRecord): Promise<void> {
    const sealed = this.#seal(record);
    // What the disk refuses stays in the buffer and will be written; what the buffer refuses is lost.
    this.#tally(this.#sink.name, sealed !== undefined);
    try {
      if (sealed === undefined) throw new AuditBufferError('the audit buffer takes no more');
      await this.#sink.appendDurable(sealed.line);
    } catch (cause) {
      throw new Refusal('audit_unavailable', { retryAfterSeconds: auditRetrySeconds, cause });
    }
  }

  /** From now on, records carry the digest of this configuration. @returns the one before */
  configured(configDigest: string): string {
    const before = this.#context.configDigest;
    this.#context = { ...this.#context, configDigest };
    return before;
  }

  /** Resolves when a checkpoint that covers all records so far is in the buffer. Happens by itself every second. */
  signNow(): Promise<void> {
    this.#signing ??= this.#sink.look().then((seen) => {
      this.#signing = undefined;
      this.#sign(seen, false);
    });
    return this.#signing;
  }

  /** Writes what is buffered. */
  flush(): Promise<void> {
    return this.#sink.flush();
  }

  /** Writes what is buffered while nothing else can run any more: the process is ending in disorder. */
  flushNow(): void {
    this.#sign(nothingSeen, false);
    this.#sink.flushNow();
  }

  /** Opens the file anew, after something else has moved it away. */
  reopen(): void {
    this.#sink.reopen();
  }

  /**
   * The outlets first: what they lose is told in a record. Then signs for the last one, says that none follows, and
   * closes the file.
   */
  async close(): Promise<void> {
    if (this.#outlets.length > 0) await this.signNow();
    await Promise.all(this.#outlets.map((outlet) => outlet.close()));
    await this.#signing;
    this.#sign(await this.#sink.look(), true);
    clearTimeout(this.#timer);
    await this.#sink.close();
  }

  /** The next line of the chain, which the caller hands on at once; `undefined` when there is no room for it. */
  #seal(record: AuditRecord | EventRecord): SealedLine | undefined {
    if (this.#lost > 0) this.#tellLost();
    const sealed = this.#chain.seal(serialize(record, this.#context));
    if (!this.#sink.hasRoomFor(sealed.line)) {
      this.#lost += 1;
      return undefined;
    }
    this.#commit(sealed);
    return sealed;
  }

  #commit(sealed: SealedLine): void {
    this.#chain.commit(sealed);
    this.#offer(sealed);
    this.#unsigned += 1;
    if (this.#unsigned >= auditUnsignedRecordsMax) void this.signNow();
    else this.#signSoon();
  }

  #offer({ line }: SealedLine): void {
    for (const outlet of this.#outlets) outlet.offer(line);
  }

  #tellLost(): void {
    const record = eventRecord(this.#clock.wallMs(), randomUUID(), 'records_lost', String(this.#lost));
    const sealed = this.#chain.seal(serialize(record, this.#context));
    if (!this.#sink.hasRoomFor(sealed.line)) return;
    this.#lost = 0;
    this.#commit(sealed);
    this.#sink.append(sealed.line);
  }

  #signSoon(): void {
    this.#timer ??= setTimeout(() => void this.signNow(), auditCheckpointMs).unref();
  }

  /** Signs for all that was written and seen; the last of its checkpoints may say that nothing follows. */
  #sign(seen: Seen, isEnd: boolean): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#links.push(...seen.links.filter(({ chain }) => chain !== this.#chain.id));
    this.#torn.push(...seen.torn);
    const hasNews = this.#unsigned + this.#links.length + this.#torn.length > 0;
    if (!hasNews && (!isEnd || this.#chain.head.seq === 0)) return;
    let isSigned = true;
    while (isSigned && this.#links.length + this.#torn.length > 2 * linksOfOneMax)
      isSigned = this.#checkpoint(false);
    this.#checkpoint(isEnd);
  }

  /** False when there was no room: the next one will prove as much. */
  #checkpoint(isEnd: boolean): boolean {
    const links = this.#links.slice(0, linksOfOneMax);
    const torn = this.#torn.slice(0, linksOfOneMax);
    const text = JSON.stringify({
      timestamp: this.#clock.wallMs() / 1000,
      stage: 'checkpoint',
      replica: this.#context.replica,
      ...(links.length > 0 && { links }),
      ...(torn.length > 0 && { torn }),
      ...(this.#inCompany && { company: true }),
      ...(isEnd && { end: true }),
      key: this.#key.id,
    });
    const sealed = this.#chain.sealSigned(open(text), this.#key);
    if (!this.#sink.append(sealed.line)) return false;
    this.#chain.commit(sealed);
    this.#offer(sealed);
    this.#unsigned = 0;
    this.#links.splice(0, links.length);
    this.#torn.splice(0, torn.length);
    // What was killed before it stands in the file has proven nothing.
    void this.#sink.flush();
    return true;
  }
}

/** Without its closing brace, so that members can follow. */
function open(json: string): string {
  return json.slice(0, -1);
}

/**
 * The first line of a file: signed by itself, since it belongs to no process's chain.
 * @param stage `joined` is the line by which another process goes on in a file that has begun
 */
export function headerLine(
  header: FileHeader,
  replica: string,
  key: SigningKey,
  clock: Clock,
  stage: 'file' | 'joined' = 'file',
): string {
  const { log, file } = header;
  // The last is our own; those before it that find no room were vouched for where they stand.
  const links = header.links.slice(-linksOfOneMax);
  const timestamp = clock.wallMs() / 1000;
  const text = open(JSON.stringify({ timestamp, stage, replica, log, file, links, key: key.id }));
  return `${text},"sig":"${key.sign(text)}"}\n`;
}
