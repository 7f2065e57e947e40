/** How gateway.yaml names the Redis that counts for several gateways. What its URL may say is in `redis/url.ts`. */
import { z } from 'zod';
import { oneOf } from './forms.ts';
import { duration, integer } from './units.ts';

const redisRule =
  'a URL such as redis://host:6379, rediss://…, redis+sentinel://h1,h2/master or redis+cluster://h1,h2, or empty for none';

/** Empty: every gateway counts in its own memory. */
export const redis = z.string({ error: redisRule }).default('');

/** How many gateways share the limits: what `when_redis_is_away: local` divides by. */
export const replicas = integer(1, 10_000).default(1);

/** How long a request waits for Redis before its class's `when_redis_is_away` decides. */
export const deadline = duration(5, 1_000).default(50);

const policies = ['local', 'closed', 'open'] as const;
export type WhenRedisIsAway = (typeof policies)[number];

/** Who decides while Redis does not answer: this replica's share of the rate, nobody may pass, or everybody. */
export const whenRedisIsAway = oneOf(policies).default('local');
