/** A tool as the registry takes and gives it: the fields of an MCP tool, and where it is served. */
import { z } from 'zod';
import type { JsonObject } from './json.ts';
import {
  descriptionCharsMax,
  nameCharsMax,
  tagCharsMax,
  tagsMax,
  titleCharsMax,
  urlCharsMax,
  versionCharsMax,
} from './limits.ts';
import { schemaFault } from './schema-check.ts';

// A lone surrogate has no UTF-8 form: it would come back from the database as another character.
const isStorable = (text: string) => text.isWellFormed() && !text.includes('\0');
const isOneLine = (text: string) => isStorable(text) && text.trim() === text && !/\p{Cc}/u.test(text);

const line = (charsMax: number) =>
  z
    .string()
    .min(1)
    .max(charsMax)
    .refine(isOneLine, 'must be one line, without control characters or space around it');

/** A tag, in a tool and as a filter. */
export const tag = line(tagCharsMax).describe('A word to filter by; upper and lower case differ.');

const schema = z
  .record(z.string(), z.unknown())
  .superRefine((value, context) => {
    const fault = schemaFault(value as JsonObject);
    if (fault === undefined) return;
    context.addIssue({ code: 'custom', path: [...fault.path], message: fault.message });
  })
  .meta({ properties: { type: { const: 'object' } }, required: ['type'] });

/** Only what a caller of the tool can be sent to: a credential in it would be shown to every reader. */
function isServerUrl(text: string): boolean {
  // The URL parser drops tabs and turns `\` into `/`; what is stored must be read alike by every parser.
  if (/[\s\\\p{Cc}]/u.test(text) || !text.isWellFormed() || !URL.canParse(text)) return false;
  const url = new URL(text);
  return ['http:', 'https:'].includes(url.protocol) && url.username === '' && url.password === '';
}

const serverUrl = z
  .string()
  .max(urlCharsMax)
  .refine(isServerUrl, 'must be an absolute http or https URL without a credential')
  .meta({ format: 'uri' });

const server = z
  .discriminatedUnion('transport', [
    z.strictObject({ transport: z.enum(['streamable-http', 'sse']), url: serverUrl }),
    // Started by the client itself: there is no address.
    z.strictObject({ transport: z.literal('stdio') }),
  ])
  .describe('Where the tool is served, in the words of the MCP registry. `stdio` has no url.');

const annotations = z
  .strictObject({
    title: line(titleCharsMax).optional(),
    readOnlyHint: z.boolean().optional(),
    destructiveHint: z.boolean().optional(),
    idempotentHint: z.boolean().optional(),
    openWorldHint: z.boolean().optional(),
  })
  .describe("MCP's hints about what the tool does. Hints, not promises.");

/** What a client writes: the body of POST and PUT, and what a PATCH must result in. */
export const toolInput = z.strictObject({
  name: z
    .string()
    .regex(
      new RegExp(`^[A-Za-z0-9_.-]{1,${nameCharsMax}}$`),
      `must be 1 to ${nameCharsMax} of A-Z a-z 0-9 _ - .`,
    )
    .describe('Unique; upper and lower case differ. The rules are those MCP has for tool names.'),
  title: line(titleCharsMax).optional(),
  description: z
    .string()
    .max(descriptionCharsMax)
    .refine(isStorable, 'must be well-formed Unicode without U+0000')
    .optional(),
  inputSchema: schema.describe('JSON Schema 2020-12 of the arguments; references only into itself.'),
  outputSchema: schema.describe('JSON Schema 2020-12 of the structured result.').optional(),
  annotations: annotations.optional(),
  tags: z
    .array(tag)
    .max(tagsMax)
    .refine((tags) => new Set(tags).size === tags.length, 'must not hold a tag twice')
    .default([]),
  version: line(versionCharsMax).optional(),
  server: server.optional(),
});

/** What the registry itself sets. */
const registered = z.object({
  id: z.uuid(),
  created_at: z.iso.datetime(),
  updated_at: z.iso.datetime(),
  created_by: z
    .string()
    .nullable()
    .describe('The subject who registered the tool, as the gateway named it in X-Auth-Subject.'),
});

/** What a client reads. */
export const tool = registered.extend(toolInput.shape);

export type ToolInput = z.output<typeof toolInput>;
export type Tool = z.output<typeof tool>;

export const readOnlyFields = Object.keys(registered.shape) as ReadonlyArray<keyof typeof registered.shape>;
