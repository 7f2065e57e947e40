import t from 'tap';
import { continueTrace, type Sampling, sampleTrace } from '../../src/http/trace-context.ts';
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

const always = () => true;
const never = () => false;
const sampled = (samples: Sampling, ...headers: string[]) =>
  sampleTrace(requestOf({ headers }).headers, false, samples);

t.test('a sampled request passes on the id of its client span', async (t) => {
  const trace = sampled(always, 'traceparent', parent, 'tracestate', 'a=1');
  t.equal(trace.traceId, traceId);
  t.equal(trace.spans?.parent, 'b7ad6b7169203331');
  t.match(trace.spans?.server, /^[0-9a-f]{16}$/);
  t.match(trace.spans?.client, /^[0-9a-f]{16}$/);
  t.not(trace.spans?.server, trace.spans?.client);
  const traceparent = `00-${traceId}-${trace.spans?.client}-01`;
  t.strictSame(trace.headers, ['traceparent', traceparent, 'tracestate', 'a=1']);
});

t.test('a sampled request without a parent begins a trace, without the state', async (t) => {
  const trace = sampled(always, 'traceparent', `${parent}-x`, 'tracestate', 'a=1');
  t.not(trace.traceId, traceId);
  t.match(trace.traceId, /^[0-9a-f]{32}$/);
  t.equal(trace.spans?.parent, undefined);
  t.strictSame(trace.headers, ['traceparent', `00-${trace.traceId}-${trace.spans?.client}-01`]);
});

t.test('a request that is not sampled keeps its parent, and tells the upstream so', async (t) => {
  const trace = sampled(never, 'traceparent', parent, 'tracestate', 'a=1');
  t.equal(trace.spans, undefined);
  t.strictSame(trace.headers, ['traceparent', `00-${traceId}-b7ad6b7169203331-00`, 'tracestate', 'a=1']);
});

t.test('the random flag of a parent goes on, an unknown one does not', async (t) => {
  const flagsOf = (samples: Sampling, flags: string) =>
    sampled(samples, 'traceparent', parent.replace(/01$/, flags)).headers[1]?.slice(-2);
  t.equal(flagsOf(always, '02'), '03');
  t.equal(flagsOf(never, '03'), '02');
  t.equal(flagsOf(always, 'fc'), '01');
});

t.test("a trusted peer's decision is told to the sampler, another's is not", async (t) => {
  const told: Array<boolean | undefined> = [];
  const samples = (parentSampled: boolean | undefined) => {
    told.push(parentSampled);
    return false;
  };
  for (const peerTrusted of [true, false])
    for (const traceparent of [parent, parent.replace(/01$/, '00'), ''])
      sampleTrace(requestOf({ headers: ['traceparent', traceparent] }).headers, peerTrusted, samples);
  t.strictSame(told, [true, false, undefined, undefined, undefined, undefined]);
});
