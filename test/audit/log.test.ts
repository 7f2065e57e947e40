import { join } from 'node:path';
import t from 'tap';
import { FileSink } from '../../src/audit/file-sink.ts';
import { AuditLog } from '../../src/audit/log.ts';
import { noPseudonyms } from '../../src/audit/pseudonyms.ts';
import { recordOf } from '../../src/audit/record.ts';
import { systemClock } from '../../src/clock.ts';
import { signingKey } from '../support/audit.ts';
import { exchangeOf } from '../support/exchange.ts';

t.test('a checkpoint is written at once, whatever waits until then', async (t) => {
  const path = join(t.testdir(), 'audit.log');
  const sink = await FileSink.open({ path, fsync: false, onUp: () => undefined });
  const done: string[] = [];
  const [append, flush] = [sink.append.bind(sink), sink.flush.bind(sink)];
  sink.append = (line) => {
    done.push(line.includes('"stage":"checkpoint"') ? 'checkpoint' : 'record');
    return append(line);
  };
  sink.flush = () => {
    done.push('flush');
    return flush();
  };
  const context = { replica: 'test', configDigest: 'digest', pseudonyms: noPseudonyms };
  const audit = new AuditLog({ sink, context, clock: systemClock, key: signingKey });
  t.teardown(() => audit.close());
  audit.append(recordOf(exchangeOf(), 'complete', 1));
  await audit.signNow();
  t.equal(done[0], 'record');
  t.strictSame(done.slice(-2), ['checkpoint', 'flush']);
});
