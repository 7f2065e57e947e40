/** `tracing`: where spans go, and of how many requests. */
import { z } from 'zod';
import { section, text } from './forms.ts';

const endpointRule =
  'empty, or a URL such as http://127.0.0.1:4318, without credentials, query or fragment (OTLP over HTTP, not gRPC)';

const ratioRule = 'a number from 0 to 1 such as 0.1';
const ratio = z.union([z.number(), z.string()], { error: ratioRule }).transform((given, context) => {
  const number = typeof given === 'number' || /^\d{1,9}(?:\.\d{1,9})?$/.test(given) ? Number(given) : -1;
  if (number >= 0 && number <= 1) return number;
  context.addIssue({ code: 'custom', message: ratioRule });
  return z.NEVER;
});

const headersRule = 'a map of at most 32 headers such as Authorization: Bearer …';
const headerName = z.string().regex(/^[A-Za-z][A-Za-z0-9-]{0,63}$/, { error: 'the name of a header' });
const headerValue = z
  .string({ error: 'the value of a header' })
  .regex(/^[\x20-\x7e]{0,4096}$/, { error: 'the value of a header, in printable ASCII' });

export const tracing = section({
  /** The base address of an OTLP receiver; `/v1/traces` is added. Empty is off. */
  endpoint: z.string({ error: endpointRule }).refine(isEndpoint, { error: endpointRule }).default(''),
  /** Of the requests for which no trusted peer has decided. */
  sample_ratio: ratio.default(0.1),
  service_name: text('a name such as portcullis', 255).default('portcullis'),
  /** Sent with every export; those without a value are left out. */
  headers: z
    .record(headerName, headerValue, { error: headersRule })
    .refine((given) => Object.keys(given).length <= 32, { error: headersRule })
    .transform((given) => Object.fromEntries(Object.entries(given).filter(([, value]) => value !== '')))
    .default({}),
}).prefault({});

function isEndpoint(given: string): boolean {
  if (given === '') return true;
  if (!/^https?:\/\/[\x21-\x7e]+$/.test(given) || !URL.canParse(given)) return false;
  const { username, password, search, hash } = new URL(given);
  return `${username}${password}${search}${hash}` === '' && !/[?#]/.test(given);
}
