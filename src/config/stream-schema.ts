/** Streams and WebSockets: what of them a route takes, and how many of them may be open. */
import { section } from './forms.ts';
import { duration, flag, integer } from './units.ts';

/** The keys of a route. */
export const streamKeys = {
  /** Silence before and in the answer, in place of the upstream's `response` and `idle`; of a WebSocket, both ways. */
  stream_idle: duration(100, 86_400_000).optional(),
  /** Whether a WebSocket may be opened here. */
  websocket: flag.default(false),
};

export const websockets = section({
  /** At once; more are 503. */
  open: integer(1, 100_000).default(256),
  /** Of one caller, at most. */
  per_caller: integer(1, 100_000).default(32),
}).prefault({});
