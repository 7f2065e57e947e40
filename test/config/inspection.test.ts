import t from 'tap';
import { linesOf, parse, routed } from './reading.ts';

const route = (keys: string) =>
  `  - { upstream: registry, permission: read, class: read, path: /a, ${keys} }\n`;
const sets = 'inspection: { tools: { rules: { script: report } } }\n';

t.test('a set refuses unless it is said otherwise', async (t) => {
  const { config } = parse(routed.replace('routes:', `${sets}routes:`) + route('inspect: tools'));
  t.match(config.inspection.tools, {
    rules: { script: 'report', bidi: 'refuse', invisible: 'refuse', control: 'refuse', numbers: 'refuse' },
    limits: { depth: 64, keys: 10_000, elements: 100_000, stringChars: 262_144 },
  });
});

t.test('a set that is not there is told, with what may be meant', async (t) => {
  t.match(linesOf(routed.replace('routes:', `${sets}routes:`) + route('inspect: tols')), [
    /^12:\d+ routes\.0\.inspect: there is no set "tols"\. Did you mean tools\?$/,
  ]);
  t.match(linesOf(routed + route('inspect: strict')), [/Write none or json, or add it under inspection\.$/]);
});

t.test('the names that mean something already are no names of sets', async (t) => {
  t.match(
    linesOf(`${routed.replace('routes:', 'inspection: { json: {} }\nroutes:')}${route('inspect: json')}`),
    [/^10:\d+ inspection\.json: means something already/],
  );
});

t.test('an unknown rule, action or limit is an error', async (t) => {
  const lines = linesOf(
    routed.replace(
      'routes:',
      'inspection: { a: { rules: { scripts: off, bidi: warn }, limits: { depth: 0 } } }\nroutes:',
    ) + route('inspect: a'),
  );
  t.equal(lines.length, 3, lines.join('\n'));
  t.match(lines.join('\n'), /scripts.*script/);
  t.match(lines.join('\n'), /must be one of refuse, report or off/);
  t.match(lines.join('\n'), /must be a whole number from 1 to 128/);
});

t.test('types are types, and JSON where JSON is inspected', async (t) => {
  t.strictSame(linesOf(routed + route('content_types: [text/plain, "image/*"]')), []);
  t.match(linesOf(routed + route('content_types: [Text/Plain]')), [/must be a content type such as/]);
  t.match(linesOf(routed + route('content_types: []')), [/must be a list of 1 to 32/]);
  t.match(linesOf(routed + route('inspect: json, content_types: [application/json, text/plain]')), [
    /content_types\.1: is no JSON, and this route inspects JSON/,
  ]);
});

t.test('a schema is read, compiled and told of by check', async (t) => {
  const of = (keys: string, file: string) => linesOf(routed + route(keys), {}, { 'a.json': file });
  t.strictSame(of('inspect: json, schema: a.json', '{"type":"object"}'), []);
  t.match(of('inspect: json, schema: b.json', ''), [/^11:\d+ routes\.0\.schema: cannot be read/]);
  t.match(of('inspect: json, schema: a.json', '{"type":'), [/schema: is not JSON: /]);
  t.match(of('inspect: json, schema: a.json', '{"type":"objekt"}'), [/schema: is not taken: /]);
  t.match(of('inspect: json, schema: a.json', '{"items":{"$ref":"#"}}'), [/leads back to itself/]);
  t.match(of('schema: a.json', '{}'), [/schema: is for bodies that are inspected/]);
});
