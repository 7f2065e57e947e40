/** What no single value of `auth.issuers` shows. */

import type { Draft } from './checks.ts';
import { type IssuerConfig, isSafeAddress } from './issuer-schema.ts';
import type { Path } from './problem.ts';
import type { Report } from './report.ts';

/** Other subjects start with these words. */
export const takenNames = new Set(['user', 'key', 'cli', 'anonymous', 'address']);

export function checkIssuers({ auth }: Draft, report: Report): void {
  if (!auth) return;
  const seen = new Map<string, string>([[`issuer ${auth.tokens.issuer}`, 'auth.tokens.issuer']]);
  for (const [index, issuer] of auth.issuers.entries()) {
    const path = ['auth', 'issuers', index];
    checkNames(path, issuer, seen, report);
    checkSource(path, issuer, report);
    checkAddress(path, issuer, report);
  }
}

function checkNames(
  path: Path,
  { name, issuer }: IssuerConfig,
  seen: Map<string, string>,
  report: Report,
): void {
  if (takenNames.has(name)) {
    report.value([...path, 'name'], 'is the start of other subjects', 'Write another name, such as corp.');
  }
  for (const [key, value] of Object.entries({ name, issuer })) {
    const other = seen.get(`${key} ${value}`);
    seen.set(`${key} ${value}`, [...path, key].join('.'));
    if (other === undefined) continue;
    const hint =
      key === 'name' ? 'Give each issuer a name of its own.' : 'A token must have one issuer it can be of.';
    report.value([...path, key], `is the same as ${other}`, hint);
  }
}

function checkSource(path: Path, issuer: IssuerConfig, report: Report): void {
  const sources = [issuer.jwks_uri, issuer.jwks_file, issuer.discovery || undefined];
  const given = sources.filter((source) => source !== undefined).length;
  const hint = 'Write one of jwks_uri: https://…, jwks_file: path, and discovery: true.';
  if (given === 0) report.value(path, 'says nothing of where the keys of the issuer come from', hint);
  if (given > 1) report.value(path, 'has more than one source of keys', hint);
  if (issuer.jwks_file === undefined) return;
  for (const key of ['ca_file', 'token_file'] as const) {
    if (issuer[key] === undefined) continue;
    report.value([...path, key], 'is for keys that are fetched, and these come from a file', 'Remove it.');
  }
}

function checkAddress(path: Path, issuer: IssuerConfig, report: Report): void {
  const [key, url] = issuer.discovery ? ['issuer', issuer.issuer] : ['jwks_uri', issuer.jwks_uri];
  if (url === undefined) return;
  if (!/^https?:\/\//.test(url) || !URL.canParse(url)) {
    report.value(
      [...path, 'issuer'],
      'is no URL, so there is nothing to discover',
      'Write jwks_uri or jwks_file.',
    );
  } else if (!issuer.allow_http && !isSafeAddress(url)) {
    const hint = 'Write https, or allow_http: true where nobody can stand in between.';
    report.value(
      [...path, key ?? ''],
      'is plain http, over which anyone in between can give keys of his own',
      hint,
    );
  }
}
