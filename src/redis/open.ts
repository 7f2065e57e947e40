/** The Redis of a configuration. */
import { StartError } from '../start-error.ts';
import { RedisConnections } from './connections.ts';
import { parseRedisUrl, RedisUrlError } from './url.ts';

/**
 * Connects to nothing yet.
 * @param url checked with the configuration; `undefined` comes of an empty one
 * @throws StartError for a certificate's file that cannot be read
 */
export function openRedis(url: string): RedisConnections | undefined {
  if (url === '') return undefined;
  try {
    return new RedisConnections(parseRedisUrl(url));
  } catch (error) {
    if (error instanceof RedisUrlError) throw new StartError(`rate_limits.redis: ${error.message}`);
    throw error;
  }
}
