/**
 * Personal data in audit records, replaced by a keyed hash where the configuration says so: whoever reads the log can
 * still tell that two records are of the same client, and only who has the key can tell which client that is, by
 * trying addresses.
 */
import { createHmac } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import type { AuditRecord, EventRecord } from './record.ts';

/** What can be replaced. */
export const personalFields = ['client_ip', 'user_agent'] as const;
export type PersonalField = (typeof personalFields)[number];

/** A hash costs as much as the rest of a record; most requests come from clients that were just here. */
const rememberedMax = 4_096;
/** 96 bits: no two clients meet by chance, and a table of all addresses is as large as ever. */
const pseudonymChars = 16;
/** Where a record says not who, but that it was nobody from outside. */
const notPersonal = new Set(['local', 'unix']);

export class Pseudonyms {
  readonly #fields: ReadonlySet<PersonalField>;
  readonly #key: string;
  readonly #known = new LRUCache<string, string>({ max: rememberedMax });

  constructor(fields: readonly PersonalField[], key: string) {
    this.#fields = new Set(fields);
    this.#key = key;
  }

  /** The record with pseudonyms in place of what is to be hidden. */
  hide<Kind extends AuditRecord | EventRecord>(record: Kind): Kind {
    if (this.#fields.size === 0) return record;
    const hidden = { ...record } as Record<PersonalField, unknown> & Kind;
    for (const field of this.#fields) {
      const value = hidden[field];
      if (typeof value === 'string' && !notPersonal.has(value))
        Object.assign(hidden, { [field]: this.of(field, value) });
    }
    return hidden;
  }

  /** The same for the same value, whichever process asks; another one in another field. */
  of(field: PersonalField, value: string): string {
    const text = `${field}\n${value}`;
    const known = this.#known.get(text);
    if (known !== undefined) return known;
    const digest = createHmac('sha256', this.#key).update(text).digest('base64url');
    const pseudonym = `pseudonym:${digest.slice(0, pseudonymChars)}`;
    this.#known.set(text, pseudonym);
    return pseudonym;
  }
}

/** Hides nothing. */
export const noPseudonyms = new Pseudonyms([], '');
