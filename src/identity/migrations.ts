/** The tables' history. A migration that was released is never changed; the next one is added below it. */
import { type Kysely, sql } from 'kysely';
import type { Migration } from 'kysely/migration';

export const migrationTable = 'portcullis_migration';

export const migrations: Readonly<Record<string, Migration>> = {
  '0001_identity': {
    async up(database: Kysely<unknown>) {
      await createUsers(database);
      await createKeys(database);
      await createSessions(database);
      await database.schema
        .createTable('setup')
        .addColumn('id', 'integer', (column) => column.primaryKey())
        .addColumn('done_at', 'text', (column) => column.notNull())
        .execute();
    },
  },
};

async function createUsers(database: Kysely<unknown>): Promise<void> {
  await database.schema
    .createTable('users')
    .addColumn('id', 'text', (column) => column.primaryKey())
    .addColumn('username', 'text', (column) => column.notNull())
    .addColumn('username_key', 'text', (column) => column.notNull().unique())
    .addColumn('email', 'text')
    .addColumn('password_hash', 'text', (column) => column.notNull())
    .addColumn('can_create', 'integer', (column) => column.notNull())
    .addColumn('can_read', 'integer', (column) => column.notNull())
    .addColumn('can_update', 'integer', (column) => column.notNull())
    .addColumn('can_delete', 'integer', (column) => column.notNull())
    .addColumn('is_admin', 'integer', (column) => column.notNull())
    .addColumn('is_active', 'integer', (column) => column.notNull())
    .addColumn('created_at', 'text', (column) => column.notNull())
    .addColumn('updated_at', 'text', (column) => column.notNull())
    .addColumn('last_login_at', 'text')
    .execute();
}

async function createKeys(database: Kysely<unknown>): Promise<void> {
  await database.schema
    .createTable('api_keys')
    .addColumn('id', 'text', (column) => column.primaryKey())
    .addColumn('name', 'text', (column) => column.notNull())
    .addColumn('description', 'text')
    .addColumn('secret_hmac', 'text', (column) => column.notNull())
    .addColumn('hmac_key', 'text', (column) => column.notNull())
    .addColumn('can_create', 'integer', (column) => column.notNull())
    .addColumn('can_read', 'integer', (column) => column.notNull())
    .addColumn('can_update', 'integer', (column) => column.notNull())
    .addColumn('can_delete', 'integer', (column) => column.notNull())
    .addColumn('is_active', 'integer', (column) => column.notNull())
    .addColumn('expires_at', 'text')
    .addColumn('created_at', 'text', (column) => column.notNull())
    .addColumn('updated_at', 'text', (column) => column.notNull())
    .addColumn('created_by', 'text', (column) => column.notNull())
    .addColumn('last_used_at', 'text')
    .addColumn('rotated_at', 'text')
    .execute();
}

async function createSessions(database: Kysely<unknown>): Promise<void> {
  await database.schema
    .createTable('sessions')
    .addColumn('id', 'text', (column) => column.primaryKey())
    .addColumn('user_id', 'text', (column) => column.references('users.id').onDelete('cascade'))
    .addColumn('key_id', 'text', (column) => column.references('api_keys.id').onDelete('cascade'))
    .addColumn('refresh_jti', 'text', (column) => column.notNull())
    .addColumn('created_at', 'text', (column) => column.notNull())
    .addColumn('refreshed_at', 'text', (column) => column.notNull())
    .addColumn('expires_at', 'text', (column) => column.notNull())
    .addColumn('ended_at', 'text')
    .addColumn('ended_reason', 'text')
    .addCheckConstraint('sessions_one_owner', sql`(user_id is null) <> (key_id is null)`)
    .execute();
  for (const column of ['user_id', 'key_id', 'expires_at']) {
    await database.schema.createIndex(`sessions_${column}`).on('sessions').column(column).execute();
  }
}
