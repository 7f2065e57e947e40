/**
 * The keys that assertions are signed with: Ed25519, made by whichever gateway comes first and shared through the
 * database. A key signs for thirty days. The next one is published before it signs and the last one after, so that a
 * service that fetches the JWK Set now and then never meets a key that it cannot find.
 */
import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import type { JWK } from 'jose';
import type { Clock, WallMs } from '../clock.ts';
import type { AssertionKey } from '../credentials/assertions.ts';
import type { RandomBytes } from '../credentials/base62.ts';
import { thumbprint } from '../credentials/public-key.ts';
import { openPrivateKey, sealPrivateKey } from '../credentials/sealed-key.ts';
import { fingerprint, type Secrets } from '../credentials/secrets.ts';
import {
  assertionKeyAfterMs,
  assertionKeyAheadMs,
  assertionKeyPollMs,
  assertionKeySignsMs,
} from '../limits.ts';
import type { IdentityDatabase, Tables } from './database.ts';
import { timeOf, timeText } from './subject.ts';
import type { AssertionKeyRow } from './tables.ts';

export interface AssertionKeysDeps {
  readonly database: IdentityDatabase;
  /** The first seals new keys, all open. */
  readonly secrets: Secrets;
  readonly clock: Clock;
  /** Told of a look into the database that failed; the keys in memory go on. */
  readonly onError: (error: unknown) => void;
  readonly random: RandomBytes;
}

/** A key as read from the database. */
interface HeldKey {
  readonly id: string;
  readonly jwk: JWK;
  /** Absent where none of our secrets opens it: another gateway's, or one from before a change of secrets. */
  readonly privateKey: KeyObject | undefined;
  /** Whether it was sealed with the secret that seals now. */
  readonly sealedByFirst: boolean;
  readonly signsFrom: WallMs;
  readonly publishedUntil: WallMs;
}

export class AssertionKeys {
  readonly #deps: AssertionKeysDeps;
  readonly #opened = new Map<string, KeyObject | undefined>();
  #held: readonly HeldKey[] = [];
  #polling: Promise<void> = Promise.resolve();
  #next: NodeJS.Timeout | undefined;
  #closed = false;

  private constructor(deps: AssertionKeysDeps) {
    this.#deps = deps;
  }

  /**
   * Reads the keys, makes the first one where there is none, and looks again every minute.
   * @throws Refusal `store_unavailable`
   */
  static async open(deps: AssertionKeysDeps): Promise<AssertionKeys> {
    const keys = new AssertionKeys(deps);
    await keys.refresh();
    keys.#later();
    return keys;
  }

  /** The newest that may sign by now; `undefined` when all that can be opened are past their time. */
  signing(): AssertionKey | undefined {
    return signerOf(this.#held, this.#deps.clock.wallMs());
  }

  /** Every key that has signed lately, signs, or will, whoever's secret it is sealed with. */
  jwks(): readonly JWK[] {
    const now = this.#deps.clock.wallMs();
    return this.#held.filter(({ publishedUntil }) => publishedUntil > now).map(({ jwk }) => jwk);
  }

  /** Reads what is in the database now, and makes the next key when it is time. */
  async refresh(): Promise<void> {
    const { database, clock } = this.#deps;
    this.#held = this.#read(await database.run(selectKeys));
    if (isDue(this.#held, clock.wallMs())) this.#held = await this.#make();
  }

  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#next);
    await this.#polling;
  }

  #later(): void {
    if (this.#closed) return;
    this.#next = setTimeout(() => {
      this.#polling = this.refresh()
        .catch(this.#deps.onError)
        .finally(() => this.#later());
    }, assertionKeyPollMs).unref();
  }

  /** One at a time, in any process: who comes second finds the first one's key, and makes none. */
  #make(): Promise<readonly HeldKey[]> {
    const { database, clock } = this.#deps;
    const fresh = this.#freshKey();
    return database.serialized(async (tables) => {
      const now = clock.wallMs();
      // Writes, and so is first: see `IdentityDatabase.transaction`.
      await deleteOutdated(tables, timeText(now));
      const held = this.#read(await selectKeys(tables));
      if (!isDue(held, now)) return held;
      // Where none signs, there is nothing to wait with.
      const signsFrom = signerOf(held, now) === undefined ? now : now + assertionKeyAheadMs;
      await insertKey(tables, {
        ...fresh,
        created_at: timeText(now),
        signs_from: timeText(signsFrom as WallMs),
        published_until: timeText((signsFrom + assertionKeySignsMs + assertionKeyAfterMs) as WallMs),
      });
      return this.#read(await selectKeys(tables));
    });
  }

  #freshKey() {
    const { secrets, random } = this.#deps;
    const { publicKey, privateKey } = generateKeyPairSync('ed25519');
    const jwk = publicKey.export({ format: 'jwk' });
    const id = thumbprint(jwk);
    return {
      id,
      public_x: jwk.x ?? '',
      sealed_private: sealPrivateKey(secrets[0], id, privateKey, random),
      sealed_with: fingerprint(secrets[0]),
    };
  }

  #read(rows: readonly AssertionKeyRow[]): readonly HeldKey[] {
    return rows.map((row) => ({
      id: row.id,
      jwk: { crv: 'Ed25519', kty: 'OKP', x: row.public_x, kid: row.id, alg: 'EdDSA', use: 'sig' },
      privateKey: this.#open(row),
      sealedByFirst: row.sealed_with === fingerprint(this.#deps.secrets[0]),
      signsFrom: timeOf(row.signs_from),
      publishedUntil: timeOf(row.published_until),
    }));
  }

  /** Once for each key and process. */
  #open({ id, sealed_with, sealed_private }: AssertionKeyRow): KeyObject | undefined {
    if (!this.#opened.has(id)) {
      const secret = this.#deps.secrets.find((one) => fingerprint(one) === sealed_with);
      this.#opened.set(id, secret === undefined ? undefined : openPrivateKey(secret, id, sealed_private));
    }
    return this.#opened.get(id);
  }
}

/** For what is signed and sent to nobody. */
export function unkeptAssertionKey(): AssertionKey {
  const { privateKey } = generateKeyPairSync('ed25519');
  return { id: 'unkept', privateKey };
}

/**
 * Whether no key is good for longer. Only keys under the secret that seals now count: after that one was changed, a
 * new key is made, and whoever knows the old secret and an old copy of the database has a key that soon signs
 * nothing. Gateways that still have the old secret find theirs good, so that during a change each secret has one.
 */
function isDue(held: readonly HeldKey[], now: WallMs): boolean {
  const goodUntil = ({ signsFrom }: HeldKey) => signsFrom + assertionKeySignsMs - assertionKeyAheadMs;
  return !held.some((key) => key.sealedByFirst && key.privateKey !== undefined && now < goodUntil(key));
}

/**
 * The newest that may sign. One whose successor could not be made goes on for as long as it is surely published; and one
 * that is published but not yet to sign does so where there is no other, since the secret of the key before it was
 * taken out: who does not know it yet asks for it.
 */
function signerOf(held: readonly HeldKey[], now: WallMs): AssertionKey | undefined {
  let signer: (AssertionKey & { readonly signsFrom: WallMs }) | undefined;
  for (const { id, privateKey, signsFrom, publishedUntil } of held) {
    if (privateKey === undefined || now >= publishedUntil - assertionKeyAheadMs) continue;
    if (signer === undefined || comesBefore(signsFrom, signer.signsFrom, now))
      signer = { id, privateKey, signsFrom };
  }
  return signer;
}

/** Of those whose time has begun the last one, before those whose time will begin, of which the first one. */
function comesBefore(signsFrom: WallMs, other: WallMs, now: WallMs): boolean {
  return signsFrom <= now ? other > now || signsFrom > other : other > now && signsFrom < other;
}

/** Rows at most: a key a month, and one more for each change of secrets. */
const rowsMax = 64;

function selectKeys(tables: Tables): Promise<AssertionKeyRow[]> {
  return tables
    .selectFrom('assertion_keys')
    .selectAll()
    .orderBy('signs_from', 'desc')
    .orderBy('id')
    .limit(rowsMax)
    .execute();
}

async function deleteOutdated(tables: Tables, now: string): Promise<void> {
  await tables.deleteFrom('assertion_keys').where('published_until', '<=', now).execute();
}

async function insertKey(tables: Tables, row: AssertionKeyRow): Promise<void> {
  await tables.insertInto('assertion_keys').values(row).execute();
}
