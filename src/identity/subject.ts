/** Whom a credential stands for, and what they may do. */
import type { WallMs } from '../clock.ts';
import { Refusal } from '../errors.ts';
import type { Permission } from '../exchange.ts';
import type { Flag, PermissionColumns, Time } from './tables.ts';

/** The two kinds cannot collide: the kind is part of the subject's text. */
export interface Subject {
  readonly kind: 'user' | 'key';
  readonly id: string;
}

/** `user:<id>` or `key:<id>`, a token's `sub`. */
export function subjectText(subject: Subject): string {
  return `${subject.kind}:${subject.id}`;
}

/** @throws Refusal `invalid_credential` with reason `malformed` */
export function parseSubject(text: string): Subject {
  const [, kind, id] = /^(user|key):([0-9A-Za-z]{1,64})$/.exec(text) ?? [];
  if ((kind !== 'user' && kind !== 'key') || id === undefined) {
    throw new Refusal('invalid_credential', { reason: 'malformed' });
  }
  return { kind, id };
}

/** Permissions as columns; all null where a join found no row. */
type PermissionFlags = { readonly [Column in keyof PermissionColumns]: Flag | null } & {
  readonly is_admin?: Flag | null;
};

const columns = [
  ['create', 'can_create'],
  ['read', 'can_read'],
  ['update', 'can_update'],
  ['delete', 'can_delete'],
] as const satisfies readonly (readonly [Permission, keyof PermissionColumns])[];

/** An admin may do everything; keys have no `is_admin`, so none of them ever gets `admin`. */
export function permissionsOf(row: PermissionFlags): ReadonlySet<Permission> {
  if (row.is_admin === 1) return new Set(['create', 'read', 'update', 'delete', 'admin']);
  return new Set(columns.filter(([, column]) => row[column] === 1).map(([permission]) => permission));
}

export function flag(value: boolean | undefined): Flag {
  return value === true ? 1 : 0;
}

/** The permission columns that a change names; those it leaves out stay as they are. */
export function flagChanges(changes: { [Column in keyof PermissionColumns]?: boolean | undefined }) {
  const named = columns.flatMap(([, column]) => {
    const value = changes[column];
    return value === undefined ? [] : [[column, flag(value)] as const];
  });
  return Object.fromEntries(named) as Partial<PermissionColumns>;
}

/** As stored and as answered: `2026-01-02T03:04:05.678Z`. */
export function timeText(time: WallMs): Time {
  return new Date(time).toISOString();
}

/** Milliseconds of an ISO 8601 time; without a zone it is UTC, where JavaScript would take the machine's. */
export function timeOf(text: string): WallMs {
  const zoned = /(?:Z|[+-]\d{2}:?\d{2})$/i.test(text) ? text : `${text}Z`;
  return Date.parse(zoned) as WallMs;
}
