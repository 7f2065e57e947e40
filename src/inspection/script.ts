/**
 * Script injection: text that a page which shows it carelessly would run. Every step is linear in the text's length:
 * no expression here can match at more than a bounded number of places for each character.
 *
 * Where markup begins, everything behind it is judged as if it stood in a tag: where a tag ends depends on quotes,
 * comments and the element around it, and parsers differ there (which is how sanitizers are deceived).
 */

/** Without one of these characters, or one that a service which normalizes takes for one, nothing here can be found. */
const suspicious = /[<&:=\uff1c\ufe64\uff06\ufe60\uff1a\ufe55\ufe13\uff1d\ufe66\u207c\u208c\u2a74-\u2a76]/;

/** Whether a reader of HTML or Markdown could run something of it, by any of its usual readings. */
export function runsScript(text: string): boolean {
  if (!suspicious.test(text)) return false;
  const lower = text.toLowerCase();
  if (isActive(lower)) return true;
  // Once unescaped, as a page does with attributes, and a careless one with everything.
  const decoded = lower.includes('&') ? decodeEntities(lower).toLowerCase() : lower;
  if (decoded !== lower && isActive(decoded)) return true;
  return beyondAscii.test(decoded) && isActiveNormalized(decoded);
}

const beyondAscii = /[\u0080-\uffff]/;

/**
 * `＜ｓｃｒｉｐｔ＞`, `<𝓼𝓬𝓻𝓲𝓹𝓽>` and `<ſcript>` are `<script>` to a service that normalizes (the last to one, too, that
 * writes it in upper case); and what it makes of `＆lt;` is unescaped by a page after it.
 */
function isActiveNormalized(text: string): boolean {
  const plain = text.normalize('NFKC').toLowerCase();
  if (plain === text) return false;
  return isActive(plain) || (plain.includes('&') && isActive(decodeEntities(plain).toLowerCase()));
}

const scriptElement = /<\/?(?:[a-z][\w.-]*:)?script/;
const markup = /<[a-z/!?]/;
/** HTML's event handlers are all `on` and letters; the shortest are `oncut` and `onend`. */
const eventHandler = /[\s/"'`]on[a-z]{3,}\s*=/;
/** An attribute that holds a whole page. */
const innerPage = /[\s/"'`]srcdoc\s*=/;
/** Text that leaves the attribute it is put into. */
const breakout = /["'`][\s/]*on[a-z]{3,}\s*=/;
const scriptUrl = /(?:java|vb)script:|data:(?:text\/(?:html|xml)|application\/(?:xhtml\+)?xml)/;
/** A value that is such a URL as a whole; `JavaScript: The Good Parts` is a book. */
const wholeUrl = /^\s*(?:(?:java|vb)script:\S|data:text\/html)/;
/** `[x](javascript:…)`, `[x]: javascript:…` */
const markdownUrl = /\](?:\(|:)[\s<]*(?:(?:java|vb)script:|data:text\/html)/;
/** URL parsers drop tabs, line ends and leading control characters. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are the subject
const droppedInUrls = /[\0-\x1f\x7f-\x9f]/g;

/** @param text in lower case */
function isActive(text: string): boolean {
  if (scriptElement.test(text) || breakout.test(text)) return true;
  const url = text.includes(':') ? text.replace(droppedInUrls, '') : '';
  if (wholeUrl.test(url) || markdownUrl.test(url)) return true;
  const start = text.search(markup);
  if (start === -1) return false;
  const behind = text.slice(start);
  return (
    eventHandler.test(behind) ||
    innerPage.test(behind) ||
    (url !== '' && scriptUrl.test(url.slice(url.search(markup))))
  );
}

const named: Readonly<Record<string, string>> = {
  lt: '<',
  gt: '>',
  quot: '"',
  apos: "'",
  amp: '&',
  colon: ':',
  equals: '=',
  sol: '/',
  tab: '\t',
  newline: '\n',
};

const entity = /&(?:#x([0-9a-f]+)|#([0-9]+)|(lt|gt|quot|apos|amp|colon|equals|sol|tab|newline));?/g;

/** Once, with or without the semicolon. */
function decodeEntities(text: string): string {
  return text.replace(entity, (_, hex?: string, decimal?: string, name?: string) => {
    if (name !== undefined) return named[name] ?? '';
    const code = hex === undefined ? Number(decimal) : Number.parseInt(hex, 16);
    return code <= 0x10ffff ? String.fromCodePoint(code) : '\ufffd';
  });
}
