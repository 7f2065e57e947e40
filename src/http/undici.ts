/** What is used of undici, part by part: as a whole it loads fetch, WebSocket, caches and mocks as well, 7 MiB of memory. */
import { createRequire } from 'node:module';
import type undici from 'undici';

const require = createRequire(import.meta.url);

export const Client = require('undici/lib/dispatcher/client.js') as typeof undici.Client;
export const Pool = require('undici/lib/dispatcher/pool.js') as typeof undici.Pool;
export type Client = undici.Client;
export type Pool = undici.Pool;
export const buildConnector = require('undici/lib/core/connect.js') as typeof undici.buildConnector;

// As the whole does; `request` of all clients is there.
Object.assign(require('undici/lib/dispatcher/dispatcher.js').prototype, require('undici/lib/api/index.js'));

/** All of it, for who asks now and then. */
export const wholeUndici = () => require('undici') as typeof undici;
