/** `REGISTRY_JWKS`: where the gateway's public keys are. */
import { Agent, errors, request } from 'undici';
import { readRegularFile } from '../src/sql/regular-file.ts';
import { type KeySource, readKeys } from './gateway-keys.ts';
import { jwksBytesMax, keyFetchTimeoutMs } from './limits.ts';
import { StartError } from './listen.ts';

const forms =
  'write the URL of the gateway’s JWK Set, such as http://127.0.0.1:9464/.well-known/jwks.json, the path of a file ' +
  'that holds it, or off';

/** What `REGISTRY_JWKS` says. `parent`: the process that forked this one names the URL. */
export type KeyPlace =
  | { readonly kind: 'url'; readonly at: string }
  | { readonly kind: 'file'; readonly at: string }
  | { readonly kind: 'off' }
  | { readonly kind: 'parent' };

/** @throws StartError when it is not said: nothing is served to strangers by an omission */
export function parseKeyPlace(text: string): KeyPlace {
  if (text === 'off') return { kind: 'off' };
  if (text === 'parent') return { kind: 'parent' };
  if (text === '')
    throw new StartError(`REGISTRY_JWKS is not set: ${forms} (which lets in whoever gets here).`);
  if (!/^[a-z]+:\/\//i.test(text)) return { kind: 'file', at: text };
  if (isSafe(text)) return { kind: 'url', at: text };
  throw new StartError(
    `REGISTRY_JWKS is ${JSON.stringify(text)}, which is not https and not on this machine, so that whoever stands ` +
      `in between could give keys: ${forms}.`,
  );
}

function isSafe(url: string): boolean {
  if (!URL.canParse(url)) return false;
  const { protocol, hostname } = new URL(url);
  return protocol === 'https:' || (protocol === 'http:' && isLoopback(hostname));
}

function isLoopback(hostname: string): boolean {
  return /^(?:localhost|\[::1\]|127(?:\.\d{1,3}){3})$/.test(hostname);
}

/**
 * A file that is there from the start, and read anew at each fetch.
 * @throws StartError when no key can be read from it now
 */
export async function readableFile(path: string): Promise<KeySource> {
  const source = fileSource(path);
  try {
    readKeys(await source());
    return source;
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new StartError(`REGISTRY_JWKS names no file with the gateway’s keys: ${why}; ${forms}.`);
  }
}

function fileSource(path: string): KeySource {
  return async () => {
    try {
      return new TextDecoder().decode(readRegularFile(path, jwksBytesMax));
    } catch (error) {
      const code = error instanceof Error && 'code' in error ? String(error.code) : 'no code';
      if (code === 'EFBIG') throw new Error(`${path} is larger than ${jwksBytesMax} bytes`);
      throw new Error(`${path} cannot be read (${code})`);
    }
  };
}

/** One GET, bounded in time and size, that follows nobody elsewhere. */
export function urlSource(url: string): KeySource {
  return async () => {
    const agent = new Agent({
      // Written out, for no variable of the environment may let anyone give us keys.
      connect: { timeout: keyFetchTimeoutMs, rejectUnauthorized: true },
      maxResponseSize: jwksBytesMax,
      allowH2: false,
    });
    try {
      const { statusCode, body } = await request(url, {
        dispatcher: agent,
        headers: { accept: 'application/json' },
        signal: AbortSignal.timeout(keyFetchTimeoutMs),
      });
      if (statusCode !== 200) throw new StatusError(`answered ${statusCode}`);
      return await body.text();
    } catch (error) {
      throw new Error(`${url} ${faultOf(error)}`);
    } finally {
      await agent.destroy();
    }
  };
}

class StatusError extends Error {}

/** Words that follow the URL. */
function faultOf(error: unknown): string {
  if (error instanceof StatusError) return error.message;
  if (error instanceof errors.ResponseExceededMaxSizeError) return `answered more than ${jwksBytesMax} bytes`;
  if (error instanceof Error && error.name === 'TimeoutError')
    return `did not answer within ${keyFetchTimeoutMs} ms`;
  const code = error instanceof Error && 'code' in error ? String(error.code) : 'no code';
  return `cannot be reached (${code})`;
}
