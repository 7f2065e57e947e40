/** Requests that are nearly right: well-formed ones, and what a seeded generator makes of them. */

/** Numbers that look random and follow from the seed (mulberry32). */
export class Chance {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** From 0 to `below - 1`. */
  whole(below: number): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = this.#state;
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296) * below);
  }

  one<Item>(items: readonly Item[]): Item {
    return items[this.whole(items.length)] as Item;
  }
}

/** Stands for a key that may read, of the length of one, so that a case is the same whatever the key. */
const keyMark = 'K'.repeat(50);

const line = (...lines: string[]) => `${lines.join('\r\n')}\r\n\r\n`;
const host = 'Host: gateway.example';
const credential = `X-API-Key: ${keyMark}`;

const wellFormed: readonly string[] = [
  line('GET /tools HTTP/1.1', host, credential),
  line('GET /tools/a%20b?q=1&r=/../x HTTP/1.1', host, `Authorization: Bearer ${keyMark}`, 'Accept: */*'),
  line('GET /open/x HTTP/1.1', host, 'X-Auth-Subject: admin'),
  line('HEAD /tools HTTP/1.1', host, credential, 'Connection: X-Auth-Subject'),
  line('GET /tools HTTP/1.0', credential),
  `${line('POST /tools HTTP/1.1', host, credential, 'Content-Length: 11')}hello world`,
  `${line('PUT /tools/x HTTP/1.1', 'Content-Length: 35', host, credential)}GET /tools/smuggled HTTP/1.1\r\nA: \r\n`,
  `${line('POST /tools HTTP/1.1', host, credential, 'Transfer-Encoding: chunked')}5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n`,
  `${line('DELETE /tools/x HTTP/1.1', host, credential, 'Transfer-Encoding: chunked')}1f\r\nGET /tools/smuggled HTTP/1.1\r\n\r\n\r\n0\r\n\r\n`,
  `${line('POST /open/x HTTP/1.1', host, 'Transfer-Encoding: chunked', 'Trailer: X-T')}5;ext=1\r\nhello\r\n0\r\nX-T: 1\r\n\r\n`,
  `${line('POST /json/x HTTP/1.1', host, 'Content-Type: application/json', 'Content-Length: 7')}{"a":1}`,
  `${line('POST /open/x HTTP/1.1', host, 'Content-Length: 5', 'Expect: 100-continue')}hello`,
  line('GET /tools HTTP/1.1', host, credential, 'Connection: Upgrade', 'Upgrade: websocket'),
  `${line('GET /tools HTTP/1.1', host, credential)}${line('GET /tools/second HTTP/1.1', host, credential)}`,
  `${line('POST /open/x HTTP/1.1', host, 'Content-Length: 5')}hello${line('GET /open/y HTTP/1.1', host)}`,
];

const tokens: readonly string[] = [
  ...[
    '\r',
    '\n',
    '\r\n',
    '\n\r',
    '\r\r\n',
    '\r\n\r\n',
    '\n\n',
    '\0',
    '\t',
    ' ',
    '\x0b',
    '\x0c',
    '\x1f',
    '\x7f',
  ],
  ...[
    '\x85',
    '\xa0',
    '\xad',
    '\xff',
    '%00',
    '%0a',
    '%0d%0a',
    '%2e',
    '%2F',
    '%5c',
    '%25',
    '..',
    '/../',
    '//',
    '\\',
  ],
  ...[
    ';',
    '#',
    '?',
    '@',
    ':',
    ',',
    '"',
    '*',
    '=',
    '-',
    '_',
    '+',
    '0',
    '0x',
    '5',
    '\r\n ',
    '\r\n\t',
    'chunked',
  ],
];

const lines: readonly string[] = [
  ...[
    'Content-Length: 0',
    'Content-Length: 5',
    'Content-Length: 11',
    'Content-Length: 005',
    'Content-Length: 5,5',
  ],
  ...[
    'Content-Length:5 ',
    'Content-Length: +5',
    'Content_Length: 5',
    'content-length : 5',
    'Content-Length: 1e1',
  ],
  ...[
    'Transfer-Encoding: chunked',
    'Transfer-Encoding: Chunked',
    'Transfer-Encoding:chunked ',
    'TE: trailers, chunked',
  ],
  ...[
    'Transfer-Encoding: identity',
    'Transfer-Encoding: gzip',
    'Transfer_Encoding: chunked',
    'Transfer-Encoding:\tchunked',
  ],
  ...[
    'Transfer-Encoding: chunked, identity',
    'Transfer-Encoding : chunked',
    'X: y\r\n Transfer-Encoding: chunked',
  ],
  ...[
    'Host: evil.example',
    'Host:',
    'host: a b',
    'X-Forwarded-Host: evil.example',
    'Forwarded: for=1',
    'Via: 1.1 x',
  ],
  ...[
    'Connection: close',
    'Connection: keep-alive',
    'Connection: Content-Length',
    'Connection: Transfer-Encoding, Host',
  ],
  ...[
    'Connection: X-Auth-Subject, X-Request-Id',
    'Proxy-Connection: x',
    'Keep-Alive: timeout=1',
    'Upgrade: h2c',
  ],
  ...[
    'HTTP2-Settings: AA',
    'Expect: 100-continue',
    'Expect: x',
    'Trailer: Content-Length',
    'Proxy-Authorization: x',
  ],
  ...[
    'X-Auth-Subject: admin',
    'x_auth_subject: admin',
    'X-Auth_Permissions: admin',
    'X-Auth-Subject : admin',
  ],
  ...[
    'X-Forwarded-For: 1.1.1.1',
    'X-HTTP-Method-Override: DELETE',
    'X-Original-URL: /admin',
    'X-Request-Id: a b',
  ],
  ...[
    `X-API-Key: ${keyMark}`,
    `Authorization: Bearer ${keyMark}`,
    'Authorization: Basic YTpi',
    'X-API-Key:',
    'X_API_Key: x',
  ],
  ...[
    '__proto__: x',
    ': x',
    'X\0Y: z',
    'X\tY: z',
    'X(Y): z',
    'X-\xe4: z',
    'X-V: \xe4\x01',
    'X-V: a\x7fb',
    'Origin: http://evil',
  ],
  ...[
    'Cookie: a=1',
    'Content-Encoding: gzip',
    'Content-Type: application/json',
    'Sec-WebSocket-Key: AAAA',
    'Range: bytes=0-',
  ],
];

const targets: readonly string[] = [
  ...[
    '/tools/../admin',
    '/tools/%2e%2e/admin',
    '//evil/tools',
    'http://evil/tools',
    'http://gateway.example/tools',
    '*',
  ],
  ...[
    'gateway.example:80',
    '/tools#x',
    '/tools?a#b',
    '/tools\\x',
    '/tools;x',
    '/tools/%00',
    '/tools/%c0%af',
    '/admin/users',
  ],
  ...[
    '/auth/me',
    '/health',
    '/open/../tools',
    '/open/x?/tools',
    '/TOOLS',
    '/tools/',
    '/tools/\xe4',
    '/tools/%C3%A4',
    '?x',
  ],
  ...[
    '/open/x HTTP/1.1\r\nX: y',
    '/%74ools',
    '/open/%2574',
    '/tools?\x01',
    '/tools/$&+,:=@',
    `/open/${'a'.repeat(9_000)}`,
  ],
];

const methods: readonly string[] = [
  ...[
    'GET',
    'HEAD',
    'POST',
    'PUT',
    'PATCH',
    'DELETE',
    'OPTIONS',
    'TRACE',
    'CONNECT',
    'QUERY',
    'PRI',
    'get',
    'G\tT',
    '',
  ],
  ...['PROPFIND', 'SOURCE', 'M-SEARCH', 'LOCK', 'GET\0', ' GET', 'GET ', '\r\nGET', '\nGET', 'XYZZY'],
];

const versions: readonly string[] = [
  ...[
    'HTTP/1.1',
    'HTTP/1.0',
    'HTTP/0.9',
    'HTTP/1.2',
    'HTTP/2.0',
    'HTTP/1.1 ',
    ' HTTP/1.1',
    'HTTP/01.1',
    'HTTP/1.10',
  ],
  ...[
    'http/1.1',
    'HTTP/1',
    'HTTPS/1.1',
    'ICE/1.0',
    'RTSP/1.0',
    'HTTP/1.1\0',
    '',
    'HTTP/1.1\t',
    'HTTP/1.1 HTTP/1.1',
  ],
];

const sizes: readonly string[] = [
  ...[
    '0',
    '00',
    '1',
    '5',
    '6',
    '05',
    '0x5',
    '+5',
    '-5',
    ' 5',
    '5 ',
    '5;',
    '5;a=b',
    '5;a="\r\n"',
    '5\t',
    'g',
    'ffffffff',
  ],
  ...['ffffffffffffffff', '10000000000000005', '5\r', '5\n', '5;\n', '5\r\n\r\n', ''],
];

type Mutation = (chance: Chance, text: string) => string;

const mutations: readonly Mutation[] = [
  // A token, anywhere.
  (chance, text) => insert(text, chance.whole(text.length + 1), chance.one(tokens)),
  (chance, text) => insert(text, chance.whole(text.length + 1), chance.one(tokens)),
  // A byte, replaced.
  (chance, text) => replace(text, chance.whole(text.length), 1, String.fromCharCode(chance.whole(256))),
  // A piece, left out or said twice.
  (chance, text) => replace(text, chance.whole(text.length), 1 + chance.whole(12), ''),
  (chance, text) => {
    const start = chance.whole(text.length);
    const piece = text.slice(start, start + 1 + chance.whole(60));
    return insert(text, chance.whole(text.length + 1), piece);
  },
  // A header more, anywhere among the others.
  (chance, text) => addLine(chance, text, chance.one(lines)),
  (chance, text) => addLine(chance, text, chance.one(lines)),
  (chance, text) => addLine(chance, text, chance.one(lines)),
  // A line twice, left out, in another case, or ended otherwise.
  (chance, text) => atLine(chance, text, (one) => `${one}\r\n${one}`),
  (chance, text) => atLine(chance, text, () => undefined),
  (chance, text) => atLine(chance, text, (one) => one.toUpperCase()),
  (chance, text) =>
    atLineEnd(chance, text, chance.one(['\n', '\r', '\n\r', '\r\r\n', ' \r\n', '\t\r\n', '\0\r\n', ''])),
  // Another method, target, version, chunk size.
  (chance, text) => text.replace(/^[A-Z]+/, () => chance.one(methods)),
  (chance, text) => text.replace(/(?<=^[A-Z]+ )\S+/, () => chance.one(targets)),
  (chance, text) => text.replace(/HTTP\/1\.[01]/, () => chance.one(versions)),
  (chance, text) => text.replace(/(?<=\r\n)[0-9a-f]{1,2}(?=[;\r])/, () => chance.one(sizes)),
  (chance, text) =>
    text.replace(/\d+/g, (number) =>
      chance.whole(3) === 0 ? String(Number(number) + chance.whole(5) - 2) : number,
    ),
  // Far too much of something.
  (chance, text) =>
    addLine(chance, text, Array.from({ length: 1 + chance.whole(2_500) }, (_, at) => `a${at}:`).join('\r\n')),
  (chance, text) => addLine(chance, text, `X-Long: ${'a'.repeat(chance.whole(20_000))}`),
  // Another request behind it.
  (chance, text) => text + chance.one(wellFormed),
  (_, text) => text + line('GET /tools/smuggled HTTP/1.1', host, credential),
  (chance, text) => text.slice(0, chance.whole(text.length)) + chance.one(wellFormed),
];

/**
 * The request of this number under this seed, in latin1: the same one every time, in the pieces it is sent in.
 * @param key that may read
 */
export function mutated(seed: number, number: number, key: string): string[] {
  const chance = new Chance(Math.imul(seed, 0x9e3779b1) ^ Math.imul(number + 1, 0x85ebca6b));
  let text = chance.one(wellFormed);
  for (let left = chance.whole(4); left >= 0; left -= 1) text = chance.one(mutations)(chance, text);
  return pieces(chance, text.replaceAll(keyMark, key));
}

function pieces(chance: Chance, text: string): string[] {
  if (chance.whole(3) !== 0) return [text];
  const cut = chance.whole(text.length + 1);
  return [text.slice(0, cut), text.slice(cut)];
}

function insert(text: string, at: number, token: string): string {
  return text.slice(0, at) + token + text.slice(at);
}

function replace(text: string, at: number, length: number, token: string): string {
  return text.slice(0, at) + token + text.slice(at + length);
}

function addLine(chance: Chance, text: string, added: string): string {
  const [head = '', ...rest] = text.split('\r\n\r\n');
  const all = head.split('\r\n');
  all.splice(1 + chance.whole(all.length), 0, added);
  return [all.join('\r\n'), ...rest].join('\r\n\r\n');
}

function atLine(chance: Chance, text: string, change: (line: string) => string | undefined): string {
  const all = text.split('\r\n');
  const at = chance.whole(all.length);
  const changed = change(all[at] ?? '');
  all.splice(at, 1, ...(changed === undefined ? [] : [changed]));
  return all.join('\r\n');
}

function atLineEnd(chance: Chance, text: string, end: string): string {
  const all = text.split('\r\n');
  const at = chance.whole(all.length - 1 || 1);
  return all
    .map((one, index) => one + (index === all.length - 1 ? '' : index === at ? end : '\r\n'))
    .join('');
}
