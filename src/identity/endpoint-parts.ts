/** What the /auth and /admin endpoints have in common. */
import type { z } from 'zod';
import type { Failures } from '../bucket/failures.ts';
import type { KnownCredentials } from '../credentials/known.ts';
import type { Answer, Call, Endpoint } from '../endpoints/endpoint.ts';
import { Refusal } from '../errors.ts';
import { listSchema, type pageSchema } from './shapes.ts';
import type { Identity } from './store.ts';

type AddressFailures = Pick<Failures, 'check' | 'record'>;

export interface EndpointDeps {
  readonly identity: Identity;
  readonly failures: AddressFailures;
  readonly known: Pick<KnownCredentials, 'has' | 'add'>;
}

/** What holds a secret must not be kept by any cache (RFC 6749 §5.1). */
export const noStore = { 'cache-control': 'no-store' };

/** A body's schema and the function that gets what the schema made of it. */
export function withBody<Schema extends z.ZodType>(
  bodySchema: Schema,
  answer: (body: z.output<Schema>, call: Call) => Promise<Answer>,
): Pick<Endpoint, 'bodySchema' | 'answer'> {
  return { bodySchema, answer: (call) => answer(call.body as z.output<Schema>, call) };
}

/** A paged list's query, answer and schema. */
export function listOf<Query extends typeof pageSchema>(
  querySchema: Query,
  item: z.ZodType,
  description: string,
  list: (query: z.output<Query>) => Promise<unknown>,
): Pick<Endpoint, 'querySchema' | 'answers' | 'answer'> {
  return {
    querySchema,
    answers: { 200: { description, schema: listSchema(item) } },
    answer: async (call) => ({
      status: 200,
      json: await list(querySchema.parse(call.query) as z.output<Query>),
    }),
  };
}

/**
 * Checks a secret on behalf of the caller's address: refused while its failures are used up, before any work,
 * and a failure takes one more.
 */
export async function guarded<T>(failures: AddressFailures, call: Call, work: () => Promise<T>): Promise<T> {
  failures.check(call.exchange.clientAddress);
  return counted(failures, call, work);
}

/**
 * Counts a failure and refuses nothing: for a caller who is known already, and whom a flood from the same address
 * must not lock out.
 */
export async function counted<T>(failures: AddressFailures, call: Call, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (isFailedSecret(error)) failures.record(call.exchange.clientAddress);
    throw error;
  }
}

function isFailedSecret(error: unknown): boolean {
  return (
    error instanceof Refusal && (error.code === 'invalid_credential' || error.reason === 'wrong_password')
  );
}
