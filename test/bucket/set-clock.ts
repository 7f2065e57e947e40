/** The script with a clock that a test sets: the one line that asks Redis for the time is another one. */
import { readFileSync } from 'node:fs';

const script = readFileSync('src/bucket/take.lua', 'utf8');
const clock = "redis.call('TIME')";
/** Keys live as long as the test, whatever the time on its clock. */
const margin = '+ 1000)';

export const clockKey = 'test:clock';

if (script.split(clock).length !== 2 || script.split(margin).length !== 2)
  throw new Error('take.lua asks for the time elsewhere now');

/** Its clock stands where `clockKey` says, in microseconds. */
export const scriptWithSetClock = script
  .replace(clock, `{ 0, redis.call('GET', '${clockKey}') }`)
  .replace(margin, '+ 100000000)');
