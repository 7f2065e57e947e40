/**
 * Follows what the database says to be revoked, so that a credential that was verified before can be believed without
 * asking again. It is always polled; whatever says that there is news only makes it look sooner.
 */
import { type RawBuilder, sql } from 'kysely';
import type { Clock, MonotonicMs } from '../clock.ts';
import { hintIntervalMs, revocationsAtOnceMax } from '../limits.ts';
import type { Tables } from './database.ts';

/** Who believes credentials. */
export interface Believer {
  revoke(subjects: Iterable<string> | 'all'): void;
  /** All that was revoked before this moment has been told. */
  proven(atMs: MonotonicMs): void;
}

export interface RevocationsDeps {
  /** A connection that nothing else holds up, where the database has several. */
  readonly tables: Tables;
  /**
   * Which run of which server answers. After a failover another one may count from where the first one had not been:
   * the same number then says something else.
   */
  readonly server?: RawBuilder<string>;
  readonly believer: Believer;
  readonly clock: Clock;
  /** Between two looks. */
  readonly intervalMs: number;
  /** Told when the database cannot be read, and with nothing when it can be again. */
  readonly onState: (error?: unknown) => void;
}

export class Revocations {
  readonly #deps: RevocationsDeps;
  /** `undefined` before the first look that succeeds. */
  #last: Seen | undefined;
  #provenMs = Number.NEGATIVE_INFINITY as MonotonicMs;
  #lookedMs = Number.NEGATIVE_INFINITY as MonotonicMs;
  #looking: Promise<boolean> | undefined;
  #next: Promise<boolean> | undefined;
  #timer: NodeJS.Timeout | undefined;
  #hinted: NodeJS.Timeout | undefined;
  #isWell = true;
  #closed = false;
  /** Told of every look that found something revoked, whoever had spoken of it: who has seen it looks in vain. */
  onNews: () => void = () => undefined;
  /** Makes the other processes of this gateway, where it has several, look as well. Never rejects, and is bounded. */
  others: () => Promise<void> = async () => undefined;

  constructor(deps: RevocationsDeps) {
    this.#deps = deps;
  }

  /** Looks for the first time, and from then on. What it finds later is what was revoked since. */
  async start(): Promise<void> {
    await this.#looked();
  }

  /** Milliseconds since the state was last proven: what was revoked before that is not accepted here. */
  stalenessMs(): number {
    return this.#deps.clock.monotonicMs() - this.#provenMs;
  }

  /**
   * Looks once more, beginning now: what was revoked before this call is no longer believed once it resolves. Where
   * the database cannot be read, nothing is.
   */
  async catchUp(): Promise<void> {
    if (!(await this.#afresh())) this.#deps.believer.revoke('all');
  }

  /** Looks here and in the other processes of this gateway: after a change of its own none of them believes the old. */
  async catchUpEverywhere(): Promise<void> {
    await Promise.all([this.catchUp(), this.others()]);
  }

  /** Somebody says that there is news. It is not believed, only looked at, and seldom enough for any flood of it. */
  hint(): void {
    if (this.#closed || this.#hinted !== undefined) return;
    const dueMs = Math.max(0, this.#lookedMs + hintIntervalMs - this.#deps.clock.monotonicMs());
    this.#hinted = setTimeout(
      () => {
        this.#hinted = undefined;
        void this.#afresh();
      },
      Math.min(dueMs, hintIntervalMs),
    ).unref();
  }

  /** Resolves once nothing is under way. */
  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#timer);
    clearTimeout(this.#hinted);
    await this.#next;
    await this.#looking;
  }

  /** A look that begins after this call; all who ask while one is under way share the one after it. */
  #afresh(): Promise<boolean> {
    if (this.#looking === undefined) return this.#looked();
    this.#next ??= this.#looking.then(() => {
      this.#next = undefined;
      return this.#looked();
    });
    return this.#next;
  }

  #looked(): Promise<boolean> {
    clearTimeout(this.#timer);
    const wasWell = this.#isWell;
    this.#looking ??= this.#look().finally(() => {
      this.#looking = undefined;
      if (this.#closed) return;
      // The first failure is mostly a connection that was lost: a new one is tried at once.
      const delayMs = wasWell && !this.#isWell ? 0 : this.#deps.intervalMs;
      this.#timer = setTimeout(() => void this.#looked(), delayMs).unref();
    });
    return this.#looking;
  }

  /** @returns whether the database has answered; never rejects */
  async #look(): Promise<boolean> {
    const { clock, believer, onState } = this.#deps;
    const atMs = clock.monotonicMs();
    this.#lookedMs = atMs;
    try {
      const { last, revoked } = await readRevoked(this.#deps, this.#last);
      // What was verified before the first look may have been revoked before it, too.
      const isNews = this.#last !== undefined && (revoked === 'all' || revoked.length > 0);
      if (this.#last === undefined || isNews) believer.revoke(revoked);
      this.#last = last;
      this.#provenMs = atMs;
      believer.proven(atMs);
      if (!this.#isWell) onState();
      this.#isWell = true;
      if (isNews) this.onNews();
      return true;
    } catch (error) {
      if (this.#isWell && !this.#closed) onState(error);
      this.#isWell = false;
      return false;
    }
  }
}

/** What a look has seen. */
interface Seen {
  readonly revision: number;
  readonly server: string;
}

interface Revoked {
  readonly last: Seen;
  readonly revoked: readonly string[] | 'all';
}

/** One statement, so that the count and the names are of one moment. */
async function readRevoked(
  { tables, server = sql<string>`''` }: RevocationsDeps,
  since: Seen | undefined,
): Promise<Revoked> {
  const rows = await tables
    .selectFrom('revision')
    .leftJoin('revocations', (join) =>
      join.on('revocations.revision', '>', since?.revision ?? Number.MAX_SAFE_INTEGER),
    )
    .select(['revision.value', 'revision.pruned', 'revocations.subject', server.as('server')])
    .limit(revocationsAtOnceMax + 1)
    .execute();
  // PostgreSQL's driver gives such numbers as text.
  const revision = Number(rows[0]?.value);
  const pruned = Number(rows[0]?.pruned);
  if (!Number.isSafeInteger(revision) || !Number.isSafeInteger(pruned)) {
    throw new Error('the database has no revision');
  }
  const last = { revision, server: String(rows[0]?.server) };
  // A count that goes back is that of a backup.
  const isKnown = since?.server === last.server && since.revision <= revision && since.revision >= pruned;
  if (!isKnown || rows.length > revocationsAtOnceMax) return { last, revoked: 'all' };
  return { last, revoked: rows.flatMap(({ subject }) => subject ?? []) };
}
