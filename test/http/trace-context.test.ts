import t from 'tap';
import { continueTrace } from '../../src/http/trace-context.ts';
import { requestOf, valuesOf } from '../support/exchange.ts';

const traceId = '0af7651916cd43dd8448eb211c80319c';
const parent = `00-${traceId}-b7ad6b7169203331-01`;
const traceOf = (...headers: string[]) => continueTrace(requestOf({ headers }).headers);

t.test('a valid parent continues as it is', async (t) => {
  const trace = traceOf('traceparent', parent);
  t.equal(trace.traceId, traceId);
  t.strictSame(trace.headers, ['traceparent', parent]);
});

t.test('a valid parent keeps its state', async (t) => {
  t.strictSame(traceOf('traceparent', parent, 'tracestate', 'a=1').headers, [
    'traceparent',
    parent,
    'tracestate',
    'a=1',
  ]);
});

for (const [name, bad] of [
  ['no parent', ''],
  ['upper case', parent.toUpperCase()],
  ['a trace of zeros', `00-${'0'.repeat(32)}-b7ad6b7169203331-01`],
  ['a parent of zeros', `00-${traceId}-${'0'.repeat(16)}-01`],
  ['the version that is none', `ff-${traceId}-b7ad6b7169203331-01`],
  ['more after the flags', `${parent}-extra`],
  ['a short trace', `00-${traceId.slice(1)}-b7ad6b7169203331-01`],
  ['a line end', `${parent}\n`],
  ['space before it', ` ${parent}`],
] as const)
  t.test(`${name} starts a new trace, without the state`, async (t) => {
    const trace = traceOf('traceparent', bad, 'tracestate', 'a=1');
    t.match(trace.traceId, /^(?!0{32})[0-9a-f]{32}$/);
    t.not(trace.traceId, traceId);
    t.strictSame(trace.headers, ['traceparent', valuesOf(trace.headers, 'traceparent')[0]]);
    t.match(trace.headers[1], new RegExp(`^00-${trace.traceId}-[0-9a-f]{16}-00$`));
  });

t.test('two parents are none', async (t) => {
  t.not(traceOf('traceparent', parent, 'traceparent', parent).traceId, traceId);
});

t.test('a state without a parent does not pass', async (t) => {
  t.strictSame(valuesOf(traceOf('tracestate', 'a=1').headers, 'tracestate'), []);
});

t.test('a state over the bound does not pass', async (t) => {
  t.strictSame(traceOf('traceparent', parent, 'tracestate', `a=${'1'.repeat(600)}`).headers, [
    'traceparent',
    parent,
  ]);
});

t.test('no two new traces are alike', async (t) => {
  t.equal(new Set(Array.from({ length: 100 }, () => traceOf().traceId)).size, 100);
});
