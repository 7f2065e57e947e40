/**
 * Hastens revocations over Redis. A message says nothing but "look now", so that a forged one costs a look and a lost
 * one a second: the database is polled in any case, and is alone believed.
 */
import type { Revocations } from '../identity/revocations.ts';
import type { RedisConnections } from './connections.ts';

const channel = 'portcullis:revoked';

/** Both connections are closed with the rest of `redis`. */
export function pushRevocations(redis: RedisConnections, revocations: Revocations): void {
  const client = redis.client('revoked', () => undefined);
  redis.subscriber('revocations', {
    channels: [channel],
    onMessage: () => revocations.hint(),
    // What was published while it was down was missed.
    onState: (up) => up && revocations.hint(),
  });
  revocations.onNews = () => {
    // Nobody waits for it, and what cannot be sent at once is of no use later.
    if (client.isUp) client.send('PUBLISH', channel, '').catch(() => undefined);
  };
}
