/** The registry's tables, step by step. A step that was released is never changed; another one follows it. */
import type { Kysely } from 'kysely';
import type { Migration } from 'kysely/migration';
import { createIndexes } from './sqlite.ts';

export const migrationTable = 'registry_migration';

export const migrations: Readonly<Record<string, Migration>> = {
  '0001_tools': { up: createTools },
};

async function createTools(database: Kysely<unknown>): Promise<void> {
  await database.schema
    .createTable('tool')
    // The order of registration, never given twice: pages stay what they were when a tool is added.
    .addColumn('seq', 'integer', (column) => column.primaryKey().autoIncrement())
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
  await createIndexes(database);
}
