/** The tables' history. A migration that was released is never changed; the next one is added below it. */
import { type Kysely, sql } from 'kysely';
import type { Migration } from 'kysely/migration';
import { createRevocations, watchKeyOwner, watchTruncate } from './revocation-triggers.ts';

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
  '0002_logins_and_key_life': {
    async up(database: Kysely<unknown>) {
      await createLogins(database);
      await addPreviousSecret(database);
    },
  },
  '0003_assertion_keys': {
    async up(database: Kysely<unknown>) {
      await database.schema
        .createTable('assertion_keys')
        .addColumn('id', 'text', (column) => column.primaryKey())
        .addColumn('public_x', 'text', (column) => column.notNull())
        .addColumn('sealed_private', 'text', (column) => column.notNull())
        .addColumn('sealed_with', 'text', (column) => column.notNull())
        .addColumn('created_at', 'text', (column) => column.notNull())
        .addColumn('signs_from', 'text', (column) => column.notNull())
        .addColumn('published_until', 'text', (column) => column.notNull())
        .execute();
    },
  },
  '0004_revision': { up: createRevocations },
  '0005_key_owner': { up: addKeyOwner },
  '0006_truncate': { up: watchTruncate },
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

async function createLogins(database: Kysely<unknown>): Promise<void> {
  await database.schema
    .createTable('login_locks')
    .addColumn('id', 'text', (column) => column.primaryKey())
    .addColumn('name_digest', 'text', (column) => column.notNull())
    .addColumn('address', 'text', (column) => column.notNull())
    .addColumn('level', 'integer', (column) => column.notNull())
    .addColumn('locked_until', 'text', (column) => column.notNull())
    .execute();
  await database.schema
    .createTable('login_addresses')
    .addColumn('id', 'text', (column) => column.primaryKey())
    .addColumn('user_id', 'text', (column) => column.notNull().references('users.id').onDelete('cascade'))
    .addColumn('address', 'text', (column) => column.notNull())
    .addColumn('last_login_at', 'text', (column) => column.notNull())
    .execute();
  for (const [table, column] of [
    ['login_locks', 'name_digest'],
    ['login_locks', 'locked_until'],
    ['login_addresses', 'user_id'],
  ] as const) {
    await database.schema.createIndex(`${table}_${column}`).on(table).column(column).execute();
  }
}

/** The keys there are belong to nobody, as before. */
async function addKeyOwner(database: Kysely<unknown>): Promise<void> {
  await database.schema
    .alterTable('api_keys')
    .addColumn('owner_id', 'text', (column) => column.references('users.id').onDelete('cascade'))
    .execute();
  await database.schema.createIndex('api_keys_owner_id').on('api_keys').column('owner_id').execute();
  await watchKeyOwner(database);
}

async function addPreviousSecret(database: Kysely<unknown>): Promise<void> {
  // SQLite adds one column a statement.
  for (const column of ['previous_hmac', 'previous_hmac_key', 'previous_until']) {
    await database.schema.alterTable('api_keys').addColumn(column, 'text').execute();
  }
  await database.schema.alterTable('sessions').addColumn('key_hmac', 'text').execute();
  await sql`update sessions set key_hmac =
    (select secret_hmac from api_keys where api_keys.id = sessions.key_id)`.execute(database);
}
