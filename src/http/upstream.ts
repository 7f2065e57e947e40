/** A service behind the gateway: one undici Pool, and how many requests may be on their way to it. */
import type { Pool } from 'undici';

export interface Upstream {
  readonly name: string;
  readonly pool: Pool;
}
