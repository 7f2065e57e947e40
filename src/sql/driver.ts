/** PostgreSQL's driver, loaded by whoever opens PostgreSQL: a gateway on SQLite keeps its memory. */
import { createRequire } from 'node:module';
import type pg from 'pg';

const require = createRequire(import.meta.url);

export function driver(): typeof pg {
  return require('pg') as typeof pg;
}
