/** The answer to a browser's preflight question. What is allowed stands in the CORS headers, which every response has. */
import { Refusal } from '../errors.ts';
import type { Cors } from '../http/cors.ts';
import type { Endpoint } from './endpoint.ts';

/** Not in the route table: phase 1 knows the question by its method and headers, whatever its path. */
export function preflightEndpoint(cors: Cors): Endpoint {
  return {
    method: 'GET',
    path: '/preflight',
    permission: 'none',
    rateClass: 'public',
    durable: false,
    summary: 'CORS preflight',
    hidden: true,
    answers: { 204: { description: 'The headers tell.' } },
    answer: ({ exchange }) => {
      if (cors.allows(exchange.request.headers.origin ?? '')) return { status: 204 };
      throw new Refusal('origin_not_allowed', { detail: 'This origin is not one of ALLOWED_ORIGINS.' });
    },
  };
}
