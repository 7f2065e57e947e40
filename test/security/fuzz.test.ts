/**
 * Requests that are nearly right, thousands of them, and what of each reaches the upstream: nothing, or exactly what
 * one strict reader reads in it, for a target its caller may ask for, with the caller's identity in our words.
 *
 * `FUZZ_SECONDS` (20) is how long, `FUZZ_SEED` (1) which requests. `FUZZ_CASE=n` repeats one of them alone. What fails
 * is printed with its seed and number, and made as small as it still fails.
 */
import { connect } from 'node:net';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { readStrictly, type StrictRequest, strictValues } from '../support/strict-http.ts';
import { type Edge, startEdge } from './edge.ts';
import { readAsMeant } from './meant.ts';
import { mutated } from './mutations.ts';

const seconds = Number(process.env.FUZZ_SECONDS ?? 20);
const seed = Number(process.env.FUZZ_SEED ?? 1);
const only = process.env.FUZZ_CASE;

/** Gateways at work at once, each with an upstream of its own, so that what arrives belongs to one request. */
const lanes = 6;
/** Silence after which nothing more is to come. */
const quietMs = 25;
const wholeMs = 3_000;
/** Requests of one lane after which nothing of one may be late. */
const lateMax = 8;
const casesMax = 1_000_000;
const shrinkingRunsMax = 300;

interface Result {
  /** What came back, in latin1. */
  readonly answer: string;
  /** What arrived, by connection. */
  readonly arrived: readonly string[];
}

async function run({ gateway, recorder }: Edge, sent: readonly string[], quiet = quietMs): Promise<Result> {
  recorder.reset();
  const socket = connect({ port: Number(new URL(gateway.trafficUrl).port), host: '127.0.0.1' });
  let answer = '';
  await new Promise<void>((resolve) => {
    let silence = setTimeout(resolve, wholeMs);
    const whole = setTimeout(resolve, wholeMs);
    const rest = () => {
      clearTimeout(silence);
      silence = setTimeout(resolve, quiet);
    };
    socket.on('data', (data) => {
      answer += data.toString('latin1');
      rest();
    });
    socket.on('error', () => undefined);
    socket.on('close', () => {
      clearTimeout(silence);
      clearTimeout(whole);
      resolve();
    });
    void write(sent).then(rest);
  });
  const closed = socket.destroyed;
  socket.destroy();
  // What was cut off in the middle is taken from the upstream, too, before the next one comes.
  if (!closed) await pause(5);
  return { answer, arrived: recorder.byConnection().filter((bytes) => bytes !== '') };

  async function write(pieces: readonly string[]): Promise<void> {
    for (const piece of pieces) {
      if (socket.destroyed) return;
      socket.write(Buffer.from(piece, 'latin1'));
      if (pieces.length > 1) await pause(4);
    }
  }
}

/**
 * What is wrong with what arrived; undefined when nothing is.
 * @param before what was sent before: its client gone, a piece of it may have been late
 */
function fault(
  { key, subject }: Edge,
  sent: readonly string[],
  { answer, arrived }: Result,
  before: ReadonlyArray<readonly string[]> = [],
): string | undefined {
  const read = [sent, ...before].map((pieces) => readAsMeant(pieces.join('')));
  const requests = read.flatMap((meant) => meant.requests);
  const lines = read.flatMap((meant) => meant.lines);
  const complete: StrictRequest[] = [];
  for (const bytes of arrived) {
    try {
      const { requests: whole, cutOff } = readStrictly(bytes);
      complete.push(...whole);
      const begun = cutOff.split('\r\n', 1)[0] ?? '';
      if (begun !== '' && !lines.includes(begun)) return `a request begun that nobody sent: ${begun}`;
    } catch (error) {
      return `the upstream cannot read it: ${String(error)}`;
    }
  }
  if (answer !== '' && !/^HTTP\/1\.1 \d{3} /.test(answer)) return `no answer: ${answer.slice(0, 80)}`;
  if (/^HTTP\/1\.1 500 /m.test(answer)) return `500: ${answer}`;
  for (const request of complete) {
    const wrong = faultOf(request);
    if (wrong !== undefined) return `${wrong}: ${JSON.stringify(request)}`;
  }
  return undefined;

  function faultOf(request: StrictRequest): string | undefined {
    const alike = requests.filter(
      ({ method, target, body }) =>
        method === request.method && target === request.target && body === request.body,
    );
    const asked = alike.find(({ credentials }) => credentials.join() === key) ?? alike[0];
    if (asked === undefined) return 'a request that nobody sent, or not as often';
    requests.splice(requests.indexOf(asked), 1);
    const identity = request.headers.filter(([name]) => /^x[-_]auth[-_]/i.test(name)).map(([name]) => name);
    const path = decodeURIComponent(request.target.replace(/\?.*/, ''));
    if (/^\/(?:open|json)\//.test(path)) {
      if (identity.length > 0) return 'an identity on a public route';
    } else if (/^\/tools(?:\/|$)/.test(path)) {
      if (asked.credentials.join() !== key) return 'passed without a credential';
      if (strictValues(request, 'x-auth-subject').join() !== subject) return 'another subject';
      if (identity.length !== 4) return 'another identity';
    } else return 'a target that no route has';
    for (const name of ['via', 'x-forwarded-for', 'x-forwarded-proto', 'x-request-id', 'traceparent', 'host'])
      if (strictValues(request, name).length !== 1)
        return `${name} is there ${strictValues(request, name).length} times`;
    for (const [name] of request.headers)
      if (
        /^(?:upgrade|te|trailer|keep-alive|expect|proxy[-_](?:connection|authenticate|authorization)|authorization|x[-_]api[-_]key)$/i.test(
          name,
        )
      )
        return `${name} has passed`;
    return undefined;
  }
}

/** Smaller and smaller, as long as it is still wrong. */
async function shrink(edge: Edge, sent: readonly string[]): Promise<string[]> {
  let smallest = [...sent];
  let runs = 0;
  for (let size = Math.ceil(smallest.join('').length / 2); size >= 1; size = Math.floor(size / 2)) {
    for (let at = 0; at < smallest.join('').length && runs < shrinkingRunsMax; runs += 1) {
      const text = smallest.join('');
      const tried = [text.slice(0, at) + text.slice(at + size)];
      if (fault(edge, tried, await run(edge, tried, 100)) === undefined) at += size;
      else smallest = tried;
    }
  }
  return smallest;
}

async function isAlive(t: Test, edge: Edge, before: ReadonlyArray<readonly string[]>): Promise<void> {
  const control = [edge.head('GET /tools/control HTTP/1.1', 'Connection: close')];
  const result = await run(edge, control, 1_000);
  t.match(result.answer, /^HTTP\/1\.1 200 /, 'a control request is answered');
  t.equal(fault(edge, control, result, before), undefined);
  t.equal(result.arrived.join('\n').match(/^GET \/tools\/control HTTP\/1\.1$/gm)?.length, 1);
}

t.test(
  `requests that are nearly right, from seed ${seed}, for ${seconds} s`,
  { timeout: (seconds + 120) * 1_000 },
  async (t) => {
    const root = t.testdir(
      Object.fromEntries(Array.from({ length: lanes }, (_, lane) => [`lane-${lane}`, {}])),
    );
    const edges = await Promise.all(
      Array.from({ length: only === undefined ? lanes : 1 }, (_, lane) =>
        startEdge(t, { directory: join(root, `lane-${lane}`) }),
      ),
    );
    const endMs = performance.now() + seconds * 1_000;
    let next = Number(only ?? 0);
    let passed = 0;
    const failures: string[] = [];
    await Promise.all(
      edges.map(async (edge) => {
        let before: Array<readonly string[]> = [];
        for (let done = 1; performance.now() < endMs && next < casesMax && failures.length < 5; done += 1) {
          const number = next;
          next += 1;
          const sent = mutated(seed, number, edge.key);
          const result = await run(edge, sent);
          if (result.arrived.length > 0) passed += 1;
          const wrong = fault(edge, sent, result, before);
          before = [sent, ...before.slice(0, lateMax)];
          if (wrong !== undefined) await examine(edge, number, sent, wrong);
          if (done % 200 === 0) await isAlive(t, edge, before);
          if (only !== undefined) return;
        }
      }),
    );
    t.strictSame(failures, []);
    t.ok(only !== undefined || passed > next / 20, 'some of them pass, or nothing was shown');
    t.comment(`${next} requests, of which ${passed} reached the upstream`);

    /** Under load an answer can be late, and what arrives belong to the one before: what is wrong is wrong again. */
    async function examine(
      edge: Edge,
      number: number,
      sent: readonly string[],
      first: string,
    ): Promise<void> {
      await pause(200);
      const again = await run(edge, sent, 300);
      const wrong = fault(edge, sent, again);
      if (wrong === undefined)
        return t.comment(`FUZZ_SEED=${seed} FUZZ_CASE=${number} was wrong once, and not again: ${first}`);
      const small = await shrink(edge, sent);
      failures.push(
        `FUZZ_SEED=${seed} FUZZ_CASE=${number}: ${wrong}\n  sent ${JSON.stringify(sent)}\n  in small ${JSON.stringify(small)}`,
      );
    }
  },
);

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
