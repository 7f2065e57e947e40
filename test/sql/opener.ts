/** Opens both programs' databases at the word of a test, in a process of its own. */
import { once } from 'node:events';
import { Catalogue } from '../../registry/catalogue.ts';
import { systemClock } from '../../src/clock.ts';
import { openIdentity } from '../../src/identity/store.ts';
import { authOf } from '../identity/fixture.ts';

const url = process.argv[2] ?? '';
const onError = () => undefined;

process.send?.('ready');
await once(process, 'message');
try {
  const config = { database: url, auth: authOf(url) };
  const identity = await openIdentity({ config, clock: systemClock, onError });
  const catalogue = await Catalogue.open({ url, wallMs: Date.now, onError });
  await catalogue.ping();
  process.send?.((await identity.isEmpty()) ? 'ok' : 'not empty');
  await identity.close();
  await catalogue.close();
} catch (error) {
  process.send?.(error instanceof Error ? `${error.stack} ${String(error.cause)}` : String(error));
}
process.disconnect?.();
