/** Hop-by-hop headers (RFC 9110 §7.6.1): they speak to the next hop only and never pass. */

const hopByHop = new Set([
  'connection',
  'keep-alive',
  'proxy-connection',
  'proxy-authenticate',
  'proxy-authorization',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
]);

const none: ReadonlySet<string> = new Set();

/** Whether a header stops here; `name` in lower case and with `-` for `_`, `nominated` from {@link nominatedBy}. */
export function stopsHere(name: string, nominated: ReadonlySet<string>): boolean {
  return hopByHop.has(name) || (nominated.size > 0 && nominated.has(name));
}

/**
 * The names that `Connection` nominates, in lower case and with `-` for `_`. Strip these first, then add ours
 * (CVE-2024-45410).
 */
export function nominatedBy(connection: string | undefined): ReadonlySet<string> {
  if (connection === undefined || /^(?:keep-alive|close)$/i.test(connection)) return none;
  return new Set(connection.split(',').map((name) => name.trim().toLowerCase().replaceAll('_', '-')));
}
