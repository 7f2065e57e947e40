import fc from 'fast-check';
import t from 'tap';
import { Refusal } from '../../src/errors.ts';
import { decodeUtf8, parseForm, parseJson, wholeBody } from '../../src/http/body.ts';
import { BoundedBody } from '../../src/http/bounded-body.ts';
import { endpointJsonMax } from '../../src/limits.ts';
import { requestOf } from '../support/exchange.ts';

const malformed = { code: 'malformed_body', status: 400 };
const nested = (depth: number) => '['.repeat(depth) + ']'.repeat(depth);

for (const text of [
  '{}',
  '[]',
  'null',
  '"x"',
  ' {"a": 1} ',
  '{"constructor": "x"}',
  '{"constructor": null}',
  '{"properties": {"constructor": {"type": "string"}, "prototype": {}}}',
  '{"description": "O\'Reilly <3 SELECT \\"{[\\\\"}',
  `{"text": "${'['.repeat(1_000)}"}`,
  `{"text": "\\"${'['.repeat(1_000)}"}`,
  nested(endpointJsonMax.depth),
])
  t.test(`takes ${text.slice(0, 60)}`, async (t) => {
    t.equal(JSON.stringify(parseJson(text, endpointJsonMax)), JSON.stringify(JSON.parse(text)));
  });

for (const [name, text] of [
  ['nothing', ''],
  ['half a value', '{"a":'],
  ['two values', '{}{}'],
  ['a comment', '{} // x'],
  ['NaN', 'NaN'],
  ['a byte-order mark', '\ufeff{}'],
  ['one level too deep', nested(endpointJsonMax.depth + 1)],
  ['depth hidden behind a string', `{"a": "]\\"]", "b": ${nested(endpointJsonMax.depth)}}`],
  ['attack 36: 100,000 levels', '['.repeat(100_000)],
  ['__proto__', '{"__proto__": {"isAdmin": true}}'],
  ['__proto__ in escapes', '{"\\u005f_proto__": {"isAdmin": true}}'],
  ['__proto__ below', '{"a": [{"__proto__": null}]}'],
  ['a key twice', '{"a": 1, "a": 2}'],
  ['a key twice, once in escapes', '{"a": 1, "\\u0061": 2}'],
  ['half a surrogate pair', '"\\ud800"'],
  ['constructor.prototype', '{"constructor": {"prototype": {"isAdmin": true}}}'],
] as const)
  t.test(`refuses ${name}`, async (t) => {
    t.throws(() => parseJson(text, endpointJsonMax), malformed);
  });

t.test('a refusal of JSON keeps nothing of what was sent, which may be a password', async (t) => {
  const error = thrownBy(() => parseJson('{"password": "hunter2', endpointJsonMax));
  t.notMatch(JSON.stringify([error.message, error.detail, error.cause, error.stack]), /hunter2/);
});

function thrownBy(action: () => unknown): Refusal {
  try {
    action();
  } catch (error) {
    if (error instanceof Refusal) return error;
  }
  throw new Error('nothing was refused');
}

t.test('a poisoned prototype is called one', async (t) => {
  t.match(
    thrownBy(() => parseJson('{"a": {"__proto__": {}}}', endpointJsonMax)).detail,
    /poison a prototype/,
  );
});

t.test('property: what is taken means what JSON.parse says', async () => {
  fc.assert(
    fc.property(fc.json({ maxDepth: 8 }), (text) => {
      if (/"(?:__proto__|constructor)"/.test(text)) return true;
      return JSON.stringify(parseJson(text, endpointJsonMax)) === JSON.stringify(JSON.parse(text));
    }),
  );
});

for (const [name, bytes] of [
  ['an overlong slash', [0xc0, 0xaf]],
  ['a surrogate', [0xed, 0xa0, 0x80]],
  ['half a character', [0xe2, 0x82]],
  ['latin1', [0x63, 0x61, 0x66, 0xe9]],
  ['UTF-16', [0xff, 0xfe, 0x7b, 0x00]],
] as const)
  t.test(`${name} is no UTF-8`, async (t) => {
    t.throws(() => decodeUtf8(Buffer.from(bytes)), malformed);
  });

t.test('a byte-order mark is not taken off in silence', async (t) => {
  t.equal(decodeUtf8(Buffer.from('\ufeffx')), '\ufeffx');
});

t.test('a form is read', async (t) => {
  t.strictSame(parseForm('username=a%20b&password=c+d%2Be&empty='), {
    username: 'a b',
    password: 'c d+e',
    empty: '',
  });
});

t.test('a form field given twice is refused, however it is spelled', async (t) => {
  t.throws(() => parseForm('username=a&username=b'), malformed);
  t.throws(() => parseForm('username=a&%75sername=a'), malformed);
});

t.test('a form poisons no prototype', async (t) => {
  const form = parseForm('__proto__=x&constructor=y');
  t.equal(Object.getPrototypeOf(form), Object.prototype);
  t.strictSame(Object.keys(form), ['__proto__', 'constructor']);
});

/** A request whose body is these chunks; the stream stays open, as a slow client's does, unless `ends`. */
function sending(chunks: readonly string[], ends = true) {
  const request = requestOf({ method: 'POST' });
  for (const chunk of chunks) request.push(chunk);
  if (ends) request.push(null);
  return request;
}

t.test('a body within its bound comes whole', async (t) => {
  t.equal((await wholeBody(sending(['abc', 'def']), 6)).toString(), 'abcdef');
});

t.test('no body is an empty one', async (t) => {
  t.equal((await wholeBody(sending([]), 0)).length, 0);
});

t.test('attack 36: an endless body is refused at the first byte over, not at its end', async (t) => {
  await t.rejects(wholeBody(sending(['abc', 'def', 'g'], false), 6), { code: 'body_too_large', status: 413 });
});

/** Reads it to its end, or to the error that ends it. */
function read(body: BoundedBody, onData: (chunk: Buffer) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    body.on('data', onData).on('end', resolve).on('error', reject).resume();
  });
}

t.test('what was within the bound has been passed on by then, what was over has not', async (t) => {
  const passed: string[] = [];
  const body = new BoundedBody(sending(['abc', 'defg'], false), 6, false);
  await t.rejects(
    read(body, (chunk) => passed.push(chunk.toString())),
    { code: 'body_too_large' },
  );
  t.strictSame(passed, ['abc']);
});

t.test('chunks are handed on as they came, not copied', async (t) => {
  const request = requestOf({ method: 'POST' });
  const sent = [Buffer.from('abc'), Buffer.from('def')];
  for (const chunk of [...sent, null]) request.push(chunk);
  const passed: Buffer[] = [];
  await read(new BoundedBody(request, 6, false), (chunk) => passed.push(chunk));
  t.equal(passed.length, 2);
  t.ok(passed.every((chunk, index) => chunk === sent[index]));
});

t.test('a body that nobody has begun to read is still there for the next one', async (t) => {
  const request = sending(['abc']);
  new BoundedBody(request, 6, false).destroy();
  t.equal((await wholeBody(request, 6)).toString(), 'abc');
});

t.test('while it is paused, nothing comes', async (t) => {
  const request = sending(['abc'], false);
  const passed: string[] = [];
  const body = new BoundedBody(request, 6, false);
  body.on('data', (chunk) => {
    passed.push(chunk.toString());
    body.pause();
  });
  body.resume();
  await new Promise(setImmediate);
  request.push('def');
  await new Promise(setImmediate);
  t.strictSame(passed, ['abc']);
  body.resume();
  await new Promise(setImmediate);
  t.strictSame(passed, ['abc', 'def']);
});

t.test(
  'what was passed on gives its memory back once the reader has room again, and not before',
  async (t) => {
    const request = requestOf({ method: 'POST' });
    const passed: Buffer[] = [];
    const body = new BoundedBody(request, 100_000, true);
    body.on('data', (chunk) => {
      passed.push(chunk);
      body.pause();
    });
    body.resume();
    request.push(Buffer.alloc(20_000));
    request.push(Buffer.alloc(20_000));
    await new Promise(setImmediate);
    t.strictSame(
      passed.map(({ length }) => length),
      [20_000],
    );
    body.resume();
    await new Promise(setImmediate);
    t.strictSame(
      passed.map(({ length }) => length),
      [0, 20_000],
    );
  },
);

t.test('memory that other chunks may lie in is left alone', async (t) => {
  const request = requestOf({ method: 'POST' });
  const passed: Buffer[] = [];
  const body = new BoundedBody(request, 100_000, true);
  body.on('data', (chunk) => passed.push(chunk));
  body.resume();
  request.push(Buffer.alloc(40_000).subarray(0, 20_000));
  await new Promise(setImmediate);
  body.pause();
  body.resume();
  t.strictSame(
    passed.map(({ length }) => length),
    [20_000],
  );
});

t.test('whoever wants no more of it hears no more, and leaves no listener behind', async (t) => {
  const request = sending(['abc', 'def']);
  const before = request.eventNames();
  const body = new BoundedBody(request, 6, false);
  const passed: string[] = [];
  body.on('data', (chunk) => {
    passed.push(chunk.toString());
    body.destroy();
  });
  body.on('end', () => t.fail('an end'));
  body.resume();
  await new Promise(setImmediate);
  t.strictSame(passed, ['abc']);
  t.same(request.eventNames(), before);
});

t.test('refusing a body leaves the socket for the answer', async (t) => {
  const request = sending(['abcdefg'], false);
  await t.rejects(wholeBody(request, 6));
  t.equal(request.destroyed, false);
  t.equal(request.socket.destroyed, false);
});

t.test('a client that leaves is an error, not the end of a body', async (t) => {
  const request = sending(['abc'], false);
  const whole = wholeBody(request, 6);
  setImmediate(() => request.destroy());
  await t.rejects(whole, { code: 'client_closed' });
});

t.test('so is one that had left before anyone read', async (t) => {
  const request = sending(['abc'], false);
  request.destroy();
  await new Promise(setImmediate);
  await t.rejects(wholeBody(request, 6), { code: 'client_closed' });
});
