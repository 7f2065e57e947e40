/** Every test of this folder once more, over a real PostgreSQL. */
import { readdirSync } from 'node:fs';
import t from 'tap';
import { startPostgres } from '../support/postgres.ts';
import { useDatabases } from './fixture.ts';

const server = await startPostgres(t);
useDatabases(() => server.createDatabase());

/** What is about SQLite's files, and what starts the server itself. */
const apart = ['sqlite.test.ts', 'on-postgres.test.ts', 'postgres.test.ts'];
const files = readdirSync(import.meta.dirname).filter((name) => name.endsWith('.test.ts'));
for (const name of files.filter((file) => !apart.includes(file))) await import(`./${name}`);
