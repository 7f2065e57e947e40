/** What the tables were in the first version, as a database of then would be found. */
import { type Kysely, sql } from 'kysely';

const triggers = [
  ...['users', 'api_keys', 'sessions'].flatMap((table) =>
    ['update', 'delete'].map((event) => ({ table, event })),
  ),
  { table: 'api_keys', event: 'owner' },
];
const dropTriggers = {
  sqlite: triggers.map(({ table, event }) => `drop trigger ${table}_revoke_${event}`),
  postgres: [
    ...triggers.map(({ table, event }) => `drop trigger portcullis_revoke_${event} on ${table}`),
    'drop function portcullis_revoke',
    'drop function portcullis_revoke_all cascade',
  ],
};
const drops = [
  'drop index api_keys_owner_id',
  'alter table api_keys drop column owner_id',
  'drop table revocations',
  'drop table revision',
  'drop table login_locks',
  'drop table login_addresses',
  'alter table sessions drop column key_hmac',
  'alter table api_keys drop column previous_hmac',
  'alter table api_keys drop column previous_hmac_key',
  'alter table api_keys drop column previous_until',
  'drop table assertion_keys',
  "delete from portcullis_migration where name > '0001_identity'",
];

/** Takes back all migrations but the first; what a trigger reads cannot be dropped before it. */
export async function toFirstVersion<Tables>(
  database: Kysely<Tables>,
  kind: 'sqlite' | 'postgres',
): Promise<void> {
  for (const back of [...dropTriggers[kind], ...drops]) await sql.raw(back).execute(database);
}
