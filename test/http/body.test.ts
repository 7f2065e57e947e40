import fc from 'fast-check';
import t from 'tap';
import { Refusal } from '../../src/errors.ts';
import { boundedChunks, decodeUtf8, parseForm, parseJson, wholeBody } from '../../src/http/body.ts';
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

t.test('what was within the bound has been passed on by then, what was over has not', async (t) => {
  const passed: string[] = [];
  const stream = async () => {
    for await (const chunk of boundedChunks(sending(['abc', 'defg'], false), 6))
      passed.push(chunk.toString());
  };
  await t.rejects(stream(), { code: 'body_too_large' });
  t.strictSame(passed, ['abc']);
});

t.test('refusing a body leaves the socket for the answer', async (t) => {
  const request = sending(['abcdefg'], false);
  await t.rejects(wholeBody(request, 6));
  t.equal(request.destroyed, false);
  t.equal(request.socket.destroyed, false);
});

t.test('a client that leaves is an error, not the end of a body', async (t) => {
  const request = sending(['abc'], false);
  const read = wholeBody(request, 6);
  setImmediate(() => request.destroy());
  await t.rejects(read);
});
