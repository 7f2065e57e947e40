/** Whose address a request comes from: the nearest one in the chain that is not a trusted proxy. */
import type { IncomingMessage } from 'node:http';
import { isIP } from 'node:net';
import proxyaddr from '@fastify/proxy-addr';
import ipaddr from 'ipaddr.js';
import type { Principal } from '../exchange.ts';

/** Says whether a peer's forwarded headers are believed. */
export type Trust = (address: string) => boolean;

/** @param networks addresses and CIDR networks; empty trusts nobody */
export function trustOf(networks: readonly string[]): Trust {
  if (networks.length === 0) return () => false;
  const compiled = proxyaddr.compile([...networks]);
  return (address) => ipaddr.isValid(address) && compiled(address, 0);
}

/**
 * An address in its one form: IPv4-mapped IPv6 is IPv4, IPv6 is compressed. Undefined when it is no address;
 * `1`, `0x7f.1` and `010.0.0.1` are none, whatever C's inet_aton makes of them (CWE-1389).
 */
export function normalizeAddress(address: string | undefined): string | undefined {
  const family = address === undefined ? 0 : isIP(address);
  if (address === undefined || family === 0) return undefined;
  // Four decimal numbers without leading zeros: it is written in its one form.
  if (family === 4) return address;
  return ipaddr.process(address).toString();
}

/** What a bucket of an address is kept by: IPv4 whole, IPv6 by its /64, since one client owns all of that. */
export function addressPartition(address: string): string {
  if (!address.includes(':')) return address;
  const parsed = ipaddr.parse(address);
  if (!(parsed instanceof ipaddr.IPv6)) return address;
  return `${parsed.parts
    .slice(0, 4)
    .map((part) => part.toString(16))
    .join(':')}::/64`;
}

/** Some load balancers write `203.0.113.7:5678` or `[2001:db8::7]:5678`. */
function withoutPort(hop: string): string {
  const match = /^(?:(\d+\.\d+\.\d+\.\d+)|\[([0-9A-Fa-f:.]+)\])(?::\d{1,5})?$/.exec(hop);
  return match?.[1] ?? match?.[2] ?? hop;
}

/** Who sends, and whether what it says of others is believed. */
export interface Peer {
  readonly address: string;
  readonly isTrusted: boolean;
}

/** The client's address; what a peer that is not trusted says in X-Forwarded-For is not looked at. */
export function clientAddress(request: IncomingMessage, peer: Peer, trust: Trust): string {
  if (!peer.isTrusted) return peer.address;
  const chain = (request.headers['x-forwarded-for'] ?? '').toString().split(',');
  let client = peer.address;
  for (const hop of chain.reverse()) {
    const address = normalizeAddress(withoutPort(hop.trim()));
    if (address === undefined) return client;
    client = address;
    if (!trust(address)) return client;
  }
  return client;
}

/** What a caller's limits are counted by: a principal, whatever token or session it uses; the anonymous share an address's. */
export function partitionOf(address: string, { kind, subject }: Principal): string {
  // No subject starts like this, whatever an issuer is called.
  return kind === 'anonymous' ? `@${addressPartition(address)}` : subject;
}
