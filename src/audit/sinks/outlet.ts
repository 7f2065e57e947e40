/** Where audit lines go: one primary, which carries the durability, and any number of outlets beside it. */

import type { Seen } from '../file-sink.ts';

/** Takes every line and must lose none in silence. */
export interface Primary {
  /** The sink's label in metrics. */
  readonly name: string;
  /** Whether it takes lines. */
  readonly up: boolean;
  /** Whether a line would be taken now. */
  hasRoomFor(line: string): boolean;
  /** Resolves once what came before is written, with what others have left in the file. */
  look(): Promise<Seen>;
  /** Buffers a line; false when the buffer is full and the line is lost. */
  append(line: string): boolean;
  /** Resolves when the line is where no end of this process can lose it. Rejects with what is in the way. */
  appendDurable(line: string): Promise<void>;
  flush(): Promise<void>;
  /** Writes what is buffered without waiting for anything. */
  flushNow(): void;
  /** Opens anew what something else may have moved away. */
  reopen(): void;
  close(): Promise<void>;
}

/** Takes every line as it can. Offering never throws and never waits: a dead outlet costs a request nothing. */
export interface Outlet {
  readonly name: string;
  /** @param line line end included */
  offer(line: string): void;
  /** Resolves when what was offered has been delivered, or cannot be now. */
  flush(): Promise<void>;
  /** Delivers what it can within `outletCloseMs`, keeps or counts the rest, and lets go. */
  close(): Promise<void>;
}
