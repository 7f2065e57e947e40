/** The Redis of a configuration. Its library is loaded here: a gateway without one keeps the memory. */
import { StartError } from '../start-error.ts';
import type { RedisConnections } from './connections.ts';
import { parseRedisUrl, RedisUrlError } from './url.ts';

/**
 * Connects to nothing yet.
 * @param url checked with the configuration; `undefined` comes of an empty one
 * @throws StartError for a certificate's file that cannot be read
 */
export async function openRedis(url: string): Promise<RedisConnections | undefined> {
  if (url === '') return undefined;
  const { RedisConnections } = await import('./connections.ts');
  try {
    return new RedisConnections(parseRedisUrl(url));
  } catch (error) {
    if (error instanceof RedisUrlError) throw new StartError(`rate_limits.redis: ${error.message}`);
    throw error;
  }
}
