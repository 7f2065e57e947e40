/**
 * The database's own account of what is revoked. Triggers write it in the transaction of every change that may take
 * a right away, whoever makes it: a gateway, a command, a person at the database's prompt. No writer can forget.
 */
import { type Kysely, PostgresAdapter, sql } from 'kysely';

/** Which table's rows stand for whom: the column that holds a user's id, the one that holds a key's. */
const owners = {
  users: { user: 'id', key: '' },
  api_keys: { user: '', key: 'id' },
  sessions: { user: 'user_id', key: 'key_id' },
} as const;
type Table = keyof typeof owners;

/** A change of one of these changes what a credential may do, or whether it is one. */
export const watchedColumns: Readonly<Record<Table, readonly string[]>> = {
  users: ['id', 'can_create', 'can_read', 'can_update', 'can_delete', 'is_admin', 'is_active'],
  api_keys: [
    'id',
    'secret_hmac',
    'hmac_key',
    'can_create',
    'can_read',
    'can_update',
    'can_delete',
    'is_active',
    'expires_at',
    'previous_hmac',
    'previous_hmac_key',
    'previous_until',
  ],
  sessions: ['id', 'user_id', 'key_id', 'key_hmac', 'ended_at'],
};

/** So long a revocation is named; who has not looked for longer forgets everything. */
const keptSeconds = 2 * 86_400;

/**
 * `revision` counts the revocations, in the order in which they become visible: its one row is locked until the
 * transaction ends. `revocations` says whose each was, one row a subject; `pruned` is the newest that is no longer
 * there.
 */
export async function createRevocations(database: Kysely<unknown>): Promise<void> {
  await database.schema
    .createTable('revision')
    .addColumn('id', 'integer', (column) => column.primaryKey())
    .addColumn('value', 'bigint', (column) => column.notNull())
    .addColumn('pruned', 'bigint', (column) => column.notNull())
    .execute();
  await sql`insert into revision (id, value, pruned) values (1, 0, 0)`.execute(database);
  await database.schema
    .createTable('revocations')
    .addColumn('subject', 'text', (column) => column.primaryKey())
    .addColumn('revision', 'bigint', (column) => column.notNull())
    .addColumn('changed_at', 'bigint', (column) => column.notNull())
    .execute();
  for (const column of ['revision', 'changed_at']) {
    await database.schema.createIndex(`revocations_${column}`).on('revocations').column(column).execute();
  }
  const isPostgres = database.getExecutor().adapter instanceof PostgresAdapter;
  if (isPostgres) await sql.raw(postgresFunction).execute(database);
  const statementsOf = isPostgres ? postgresTriggers : sqliteTriggers;
  for (const table of ['users', 'api_keys', 'sessions'] as const) {
    for (const statement of statementsOf(table)) await sql.raw(statement).execute(database);
  }
}

/** The same for a key that changes hands; with a user's own revocation every key of that user is looked up anew. */
export async function watchKeyOwner(database: Kysely<unknown>): Promise<void> {
  const isPostgres = database.getExecutor().adapter instanceof PostgresAdapter;
  const trigger = isPostgres
    ? postgresTrigger('api_keys', 'owner', 'update', 'when (old.owner_id is distinct from new.owner_id)')
    : sqliteTrigger('api_keys', 'owner', 'update', 'when old.owner_id is not new.owner_id');
  await sql.raw(trigger).execute(database);
}

/**
 * PostgreSQL empties a table without a look at its rows (`truncate`), so that no trigger for rows hears of it. Nobody
 * knows whose they were: as after a loss of names, everything is looked up anew.
 */
export async function watchTruncate(database: Kysely<unknown>): Promise<void> {
  if (!(database.getExecutor().adapter instanceof PostgresAdapter)) return;
  await sql.raw(postgresTruncateFunction).execute(database);
  for (const table of ['users', 'api_keys', 'sessions'] as const) {
    const trigger = `create trigger portcullis_revoke_truncate after truncate on ${table}
      for each statement execute function portcullis_revoke_all()`;
    await sql.raw(trigger).execute(database);
  }
}

/**
 * Deferred to the end of the transaction: the one row that all of them lock is then the last that is locked, so that
 * two of them never wait for each other.
 */
function postgresTrigger(table: Table, name: string, event: string, condition = ''): string {
  const { user, key } = owners[table];
  return `create constraint trigger portcullis_revoke_${name} after ${event} on ${table}
     deferrable initially deferred for each row ${condition} execute function portcullis_revoke('${user}', '${key}')`;
}

function postgresTriggers(table: Table): string[] {
  const columns = watchedColumns[table];
  const differs = `(${columns.map((name) => `old.${name}`)}) is distinct from (${columns.map((name) => `new.${name}`)})`;
  return [
    postgresTrigger(table, 'update', 'update', `when (${differs})`),
    postgresTrigger(table, 'delete', 'delete'),
  ];
}

const postgresFunction = `
  create function portcullis_revoke() returns trigger language plpgsql as $$
  declare
    whose text := coalesce('user:' || (to_jsonb(old) ->> tg_argv[0]), 'key:' || (to_jsonb(old) ->> tg_argv[1]));
    now_seconds bigint := extract(epoch from now())::bigint;
    outdated bigint;
    next_value bigint;
  begin
    update revision set value = value + 1 where id = 1 returning value into strict next_value;
    insert into revocations as known (subject, revision, changed_at) values (whose, next_value, now_seconds)
      on conflict (subject) do update set revision = excluded.revision, changed_at = excluded.changed_at;
    select max(r.revision) into outdated from revocations r where r.changed_at < now_seconds - ${keptSeconds};
    if outdated is not null then
      update revision set pruned = greatest(pruned, outdated) where id = 1;
      delete from revocations where changed_at < now_seconds - ${keptSeconds};
    end if;
    return null;
  end
  $$`;

const postgresTruncateFunction = `
  create function portcullis_revoke_all() returns trigger language plpgsql as $$
  begin
    update revision set value = value + 1, pruned = value + 1 where id = 1;
    return null;
  end
  $$`;

/** One writer at a time: the order needs no more. */
function sqliteTriggers(table: Table): string[] {
  const columns = watchedColumns[table];
  const differs = columns.map((name) => `old.${name} is not new.${name}`).join(' or ');
  return [
    sqliteTrigger(table, 'update', 'update', `when ${differs}`),
    sqliteTrigger(table, 'delete', 'delete'),
  ];
}

function sqliteTrigger(table: Table, name: string, event: string, condition = ''): string {
  const { user, key } = owners[table];
  const id = (column: string) => (column === '' ? 'null' : `old.${column}`);
  return `create trigger ${table}_revoke_${name} after ${event} on ${table} for each row ${condition} begin
       update revision set value = value + 1 where id = 1;
       insert into revocations (subject, revision, changed_at)
         values (coalesce('user:' || ${id(user)}, 'key:' || ${id(key)}),
           (select value from revision where id = 1), unixepoch())
         on conflict (subject) do update set revision = excluded.revision, changed_at = excluded.changed_at;
       update revision set pruned = (select max(revision) from revocations where changed_at < unixepoch() - ${keptSeconds})
         where id = 1 and exists (select 1 from revocations where changed_at < unixepoch() - ${keptSeconds});
       delete from revocations where changed_at < unixepoch() - ${keptSeconds};
     end`;
}
