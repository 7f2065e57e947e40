/** The headers that stand exactly once on every response, an error's too. */
import { validateHeaderName, validateHeaderValue } from 'node:http';
import { linesOf } from './checked-response.ts';

/** An API answers data, so a page made of it may load and do nothing. */
const apiContentPolicy = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const defaults: Readonly<Record<string, string>> = {
  'X-Content-Type-Options': 'nosniff',
  'X-Frame-Options': 'DENY',
  'X-XSS-Protection': '1; mode=block',
  'Strict-Transport-Security': 'max-age=31536000; includeSubDomains',
  'Referrer-Policy': 'strict-origin-when-cross-origin',
  'Permissions-Policy': 'geolocation=(), microphone=(), camera=()',
  'Content-Security-Policy': apiContentPolicy,
};

export class SecurityHeaders {
  readonly #flat: readonly string[];
  /** The same as whole lines. @throws TypeError at construction for what can stand in no header */
  readonly lines: string;
  readonly #names: ReadonlySet<string>;

  /** @param overrides values by name in any case; an empty value leaves the header out */
  constructor(overrides: Readonly<Record<string, string>> = {}) {
    const values = new Map(
      Object.entries(defaults).map(([name, value]) => [name.toLowerCase(), { name, value }]),
    );
    for (const [name, value] of Object.entries(overrides)) {
      const key = name.toLowerCase();
      values.set(key, { name: values.get(key)?.name ?? name, value });
    }
    this.#flat = [...values.values()]
      .filter(({ value }) => value !== '')
      .flatMap(({ name, value }) => [name, value]);
    for (const { name, value } of values.values()) {
      validateHeaderName(name);
      validateHeaderValue(name, value);
    }
    this.lines = linesOf(this.#flat);
    this.#names = new Set(values.keys());
  }

  /** Ours to set, so an upstream's own is dropped; `name` in lower case. */
  owns(name: string): boolean {
    return this.#names.has(name);
  }

  /** Name and value in turn, as `writeHead` takes them. */
  flat(): readonly string[] {
    return this.#flat;
  }
}
