/**
 * Asks a program whether it is well, for probes where there is neither a shell nor curl.
 * `node health.mjs http://127.0.0.1:9464/livez`, or `node health.mjs unix:/run/registry/registry.sock:/health`.
 * Ends with 0 for an answer from 200 to 299 within 2 s, else with 1.
 */
import { get } from 'node:http';

const [, , address = ''] = process.argv;
const socket = /^unix:(?<socketPath>[^:]+):(?<path>\/.*)$/.exec(address)?.groups;

const request = socket === undefined ? get(address) : get({ ...socket });
request
  .on('response', ({ statusCode = 0 }) => process.exit(statusCode >= 200 && statusCode < 300 ? 0 : 1))
  .on('error', () => process.exit(1));
setTimeout(() => process.exit(1), 2_000);
