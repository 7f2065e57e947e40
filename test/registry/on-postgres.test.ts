/** Every test of this folder that has a store, once more over a real PostgreSQL. */
import { readdirSync } from 'node:fs';
import t from 'tap';
import { startPostgres } from '../support/postgres.ts';
import { useDatabases } from './registry.ts';

const server = await startPostgres(t);
useDatabases(() => server.createDatabase());

/** What is about SQLite's files, about starting at all, about no store, and what starts the server itself. */
const apart = ['sqlite', 'program', 'start', 'openapi', 'gateway-keys', 'on-postgres', 'postgres'];
const files = readdirSync(import.meta.dirname).filter((name) => name.endsWith('.test.ts'));
for (const name of files.filter((file) => !apart.includes(file.slice(0, -'.test.ts'.length)))) {
  await import(`./${name}`);
}
