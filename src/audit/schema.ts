/**
 * The lines of the audit log as a closed schema: a line that fits none of its branches is not ours. Published as JSON
 * Schema by `portcullis schema audit`.
 */
import { z } from 'zod';
import { errorKinds } from '../errors.ts';
import { auditFieldCharsMax } from '../limits.ts';
import { auditEvents, requestStages } from './record.ts';

const codes = Object.keys(errorKinds) as [string, ...string[]];
const text = z.string().max(auditFieldCharsMax);
const optionalText = text.nullable();
const seconds = z.number().min(0);
const timestamp = z.number().min(0).describe('Unix seconds, with a fraction');
const uuid = z.string().regex(/^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/);
const hash = z
  .string()
  .regex(/^[\w-]{43}$/)
  .describe('SHA-256, base64url');
const seq = z.number().int().min(1);
const chainId = z.string().regex(/^[0-9a-f]{32}$/);
const keyId = z
  .string()
  .regex(/^[0-9a-f]{16}$/)
  .describe('which key has signed');
const signature = z
  .string()
  .regex(/^[\w-]{86}$/)
  .describe(
    'Ed25519, base64url, over "portcullis audit v1\\n" and all of the line that stands before ,"sig"',
  );

const chained = {
  seq: seq.describe('counts the lines of the chain from 1'),
  chain: chainId.describe('of one process'),
  prev: hash.describe('of the line before it in its chain; 43 times A before the first'),
};

const written = {
  replica: z.string().describe('which process has written it'),
  config_digest: z.string().describe('which configuration was in force'),
  cut: z.literal(true).optional().describe('texts were cut so that the record has no more than 16 KiB'),
};

const request = z.strictObject({
  timestamp,
  method: text.describe('CLI for a command'),
  path: text,
  query_params: text.describe('values of secret-looking parameters are ***'),
  client_ip: text.describe('or a pseudonym; local and unix are nobody from outside'),
  user_agent: optionalText,
  status_code: z.number().int().min(100).max(599).nullable().describe('null before there is one'),
  process_time: seconds,
  auth_type: z.enum(['none', 'Bearer', 'ApiKey']),
  content_length: optionalText,
  stage: z.enum(requestStages),
  id: uuid.describe('the same in all stages of a request'),
  request_id: text,
  trace_id: z
    .string()
    .regex(/^[0-9a-f]{32}$/)
    .nullable(),
  principal: optionalText,
  credential_id: optionalText.describe('public'),
  route: optionalText,
  decision: z.enum(['allow', 'deny', 'error']).nullable(),
  code: z.enum(codes).nullable(),
  reason: z
    .string()
    .regex(/^[a-z_]{1,64}$/)
    .nullable(),
  findings: z
    .array(z.string().regex(/^[a-z]{1,16}:(?:refuse|report)$/))
    .nullable()
    .describe('rules of bodies that found something, with what was done'),
  upstream_time: seconds.nullable(),
  bytes_out: z.number().int().min(0),
  bytes_in: z.number().int().min(0).nullable().optional().describe('through a WebSocket from the client'),
  ...written,
  ...chained,
});

const event = z.strictObject({
  timestamp,
  stage: z.literal('event'),
  event: z.enum(auditEvents),
  detail: optionalText,
  id: uuid,
  request_id: optionalText,
  client_ip: optionalText,
  principal: optionalText,
  credential_id: optionalText,
  ...written,
  ...chained,
});

const links = z
  .array(
    z.strictObject({
      chain: chainId,
      seq,
      hash,
      file: z.number().int().min(1).optional().describe('in which file of the log it stands'),
    }),
  )
  .describe('last lines of other chains, as they stood in the file');

const checkpoint = z.strictObject({
  timestamp,
  stage: z.literal('checkpoint'),
  replica: z.string(),
  links: links.optional(),
  torn: z
    .array(
      z.strictObject({
        bytes: z.number().int().min(1),
        hash,
        own: z.literal(true).optional().describe('begun by this process itself, and written anew behind it'),
      }),
    )
    .optional()
    .describe('lines that a crash or a full disk has cut short'),
  company: z
    .literal(true)
    .optional()
    .describe('other processes write to the file all the time: workers of one gateway'),
  end: z.literal(true).optional().describe('no line of this chain follows'),
  key: keyId,
  ...chained,
  sig: signature,
});

const file = z.strictObject({
  timestamp,
  stage: z.literal('file'),
  replica: z.string(),
  log: chainId.describe('the same in all files of a log'),
  file: z.number().int().min(1).describe('which of its files, from 1'),
  links,
  key: keyId,
  sig: signature,
});

const joined = file.extend({
  stage: z.literal('joined'),
  links: links.describe('where the chain stood of the process that goes on in this file from here'),
});

/** A line of the log. */
const lineSchema = z.discriminatedUnion('stage', [request, event, checkpoint, file, joined]);

/** JSON Schema (draft 2020-12) of a line. */
export function auditJsonSchema(): z.core.JSONSchema.BaseSchema {
  return { title: 'A line of the audit log of Portcullis', ...z.toJSONSchema(lineSchema) };
}
