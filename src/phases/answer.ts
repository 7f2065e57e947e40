/** Phase 7 for the gateway's own endpoints, and for the refusals that are routes: the answer is made here. */
import type { z } from 'zod';
import type { Answer, Endpoint } from '../endpoints/endpoint.ts';
import { Refusal } from '../errors.ts';
import type { Body, Exchange, Permit, Route } from '../exchange.ts';
import { fieldErrors } from '../http/field-errors.ts';
import { commonHeaders, type ResponsePolicy, sendStream, sendWhole, withOwn } from '../http/response.ts';

type LocalDestination = Exclude<Route['destination'], { kind: 'upstream' }>;

/** @throws what the endpoint throws, or `validation_failed`, `route_not_found`, `method_not_allowed` */
export async function answer(
  policy: ResponsePolicy,
  exchange: Exchange,
  permit: Permit,
  destination: LocalDestination,
  body: Body,
): Promise<void> {
  if (destination.kind === 'refusal') throw refusalOf(destination);
  const { endpoint } = destination;
  const given = await endpoint.answer({
    exchange,
    permit,
    params: exchange.params,
    query: queryOf(endpoint, exchange.query),
    body:
      endpoint.bodySchema && validated(endpoint.bodySchema, body.kind === 'whole' ? body.value : {}, 'body'),
  });
  await send(policy, exchange, given);
}

function refusalOf({ code, allow }: Extract<LocalDestination, { kind: 'refusal' }>): Refusal {
  return new Refusal(code, allow === undefined ? {} : { headers: { Allow: allow } });
}

async function send(policy: ResponsePolicy, exchange: Exchange, given: Answer): Promise<void> {
  if (given.stream !== undefined) {
    const headers = withOwn(commonHeaders(policy, exchange), given.headers ?? {});
    return sendStream(policy, exchange, given.status, headers, given.stream);
  }
  const isJson = given.json !== undefined;
  const headers = { ...(isJson && { 'Content-Type': 'application/json' }), ...given.headers };
  const body = isJson ? JSON.stringify(given.json) : (given.body ?? '');
  sendWhole(
    policy,
    exchange,
    given.status,
    withOwn(commonHeaders(policy, exchange), headers),
    Buffer.from(body),
  );
}

/** The first value of each parameter. One that is malformed or unknown to the endpoint's schema is refused. */
function queryOf(endpoint: Endpoint, query: string): Readonly<Record<string, string>> {
  const given = Object.fromEntries([...new URLSearchParams(query)].reverse());
  return endpoint.querySchema === undefined
    ? given
    : (validated(endpoint.querySchema, given, 'query') as Readonly<Record<string, string>>);
}

function validated(schema: z.ZodType, value: unknown, what: 'body' | 'query'): unknown {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  throw new Refusal('validation_failed', {
    detail: `The ${what} has a field that is missing or wrong; see errors.`,
    errors: fieldErrors(result.error),
  });
}
