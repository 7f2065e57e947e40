import t from 'tap';
import { hasItsBoundary, isAllowed, isJsonType, isUtf8, mediaTypeOf } from '../../src/http/media-type.ts';
import { requestOf } from '../support/exchange.ts';

const other = { essence: 'multipart/none', parameters: new Map([['charset', 'none']]) };
const typeOf = (value: string) => mediaTypeOf(requestOf({ headers: ['Content-Type', value] }));

t.test('type and parameters are read apart', async (t) => {
  const type = typeOf('Application/JSON ; Charset="UTF-8"; x=a');
  t.equal(type?.essence, 'application/json');
  t.strictSame(
    [...(type?.parameters ?? [])],
    [
      ['charset', 'UTF-8'],
      ['x', 'a'],
    ],
  );
});

for (const bad of [
  '',
  'json',
  'a/b/c',
  'a/b, c/d',
  'a/b;',
  'a/b; x',
  'a/b; x=',
  'a/b; x="a',
  'a/b; x=1; X=2',
  'a/b x',
  'a /b',
  `a/b; x=${'y'.repeat(600)}`,
])
  t.test(`${JSON.stringify(bad.slice(0, 30))} is no content type`, async (t) => {
    t.equal(typeOf(bad), undefined);
  });

t.test('no header, no type', async (t) => {
  t.equal(mediaTypeOf(requestOf()), undefined);
});

t.test('JSON is UTF-8 unless it says otherwise', async (t) => {
  const isUtf = (value: string) => isUtf8(typeOf(value) ?? other);
  t.ok(isUtf('application/json'));
  t.ok(isUtf('application/json; charset=UTF-8'));
  t.notOk(isUtf('application/json; charset=utf-16'));
  t.notOk(isUtf('application/json; charset=utf8'));
});

t.test('multipart needs a boundary that every parser reads alike', async (t) => {
  const has = (value: string) => hasItsBoundary(typeOf(value) ?? other);
  t.ok(has('multipart/form-data; boundary=----WebKitFormBoundaryX'));
  t.ok(has('multipart/form-data; boundary="a b"') === false);
  t.notOk(has('multipart/form-data'));
  t.notOk(has(`multipart/mixed; boundary=${'x'.repeat(71)}`));
  t.ok(has('text/plain'));
});

t.test('a list of types is exact, or a family', async (t) => {
  t.ok(isAllowed('image/png', ['text/plain', 'image/*']));
  t.notOk(isAllowed('imagex/png', ['image/*']));
  t.notOk(isAllowed('application/json', ['application/jsonp']));
  t.ok(isJsonType('application/vnd.api+json'));
  t.notOk(isJsonType('text/json'));
});
