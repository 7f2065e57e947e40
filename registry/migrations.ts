/** The registry's tables, step by step. A step that was released is never changed; another one follows it. */
import type { Kysely } from 'kysely';
import type { Migration } from 'kysely/migration';
import type { Dialect } from './dialect.ts';

export const migrationTable = 'registry_migration';

export function migrationsOf(dialect: Dialect): Readonly<Record<string, Migration>> {
  return { '0001_tools': { up: (database) => createTools(database, dialect) } };
}

async function createTools(database: Kysely<unknown>, dialect: Dialect): Promise<void> {
  const { type, autoIncrement } = dialect.counter;
  await database.schema
    .createTable('tool')
    // The order of registration, never given twice: pages stay what they were when a tool is added.
    .addColumn('seq', type, (column) =>
      autoIncrement ? column.primaryKey().autoIncrement() : column.primaryKey(),
    )
    .addColumn('id', 'text', (column) => column.notNull().unique())
    .addColumn('name', 'text', (column) => column.notNull().unique())
    .addColumn('title', 'text')
    .addColumn('description', 'text')
    .addColumn('input_schema', 'text', (column) => column.notNull())
    .addColumn('output_schema', 'text')
    .addColumn('annotations', 'text')
    .addColumn('tags', 'text', (column) => column.notNull())
    .addColumn('version', 'text')
    .addColumn('server', 'text')
    .addColumn('created_by', 'text')
    .addColumn('created_at', 'text', (column) => column.notNull())
    .addColumn('updated_at', 'text', (column) => column.notNull())
    .addColumn('revision', 'integer', (column) => column.notNull())
    .addColumn('name_words', 'text', (column) => column.notNull())
    .addColumn('title_words', 'text', (column) => column.notNull())
    .addColumn('tags_words', 'text', (column) => column.notNull())
    .addColumn('description_words', 'text', (column) => column.notNull())
    .execute();
  await dialect.createIndexes(database);
}
