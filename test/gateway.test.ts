/** What surrounds the phases. */
import t from 'tap';
import { Connection } from '../src/connection.ts';
import { beginExchange, type Gateway } from '../src/gateway.ts';
import { Metrics } from '../src/telemetry/metrics.ts';
import { exchangeOf } from './support/exchange.ts';

t.test('a request that cannot begin is not counted as under way', async (t) => {
  const metrics = new Metrics({ version: '0', nodeVersion: '0' });
  const { request, response } = exchangeOf();
  const gateway = {
    recorder: { begin: () => metrics.requestBegins() },
    policy: { clock: { wallMs: () => 0, monotonicMs: () => 0 } },
    trust: () => false,
    sampling: undefined,
  } as unknown as Gateway;
  const incoming = { request, response, connection: new Connection(request.socket) };
  const underWay = async () => /^portcullis_http_requests_in_flight (\d+)$/m.exec(await exposed())?.[1];
  const exposed = () => metrics.registry.metrics();
  const faulty = {
    ...gateway,
    trust: () => {
      throw new Error('a fault');
    },
  };
  t.throws(() => beginExchange(faulty, incoming), { message: 'a fault' });
  t.equal(await underWay(), '0');
  beginExchange(gateway, incoming);
  t.equal(await underWay(), '1', 'the control');
});
