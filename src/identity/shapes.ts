/** What goes in and out of the /auth and /admin endpoints, as schemas: the checks, the types and the API page in one. */
import { z } from 'zod';
import { duration } from '../config/units.ts';
import {
  apiKeyCharsMax,
  pageSizeDefault,
  pageSizeMax,
  passwordCharsMax,
  rotationOverlapMsMax,
  tokenCharsMax,
} from '../limits.ts';

const permissionFields = {
  can_create: z.boolean().default(false),
  can_read: z.boolean().default(false),
  can_update: z.boolean().default(false),
  can_delete: z.boolean().default(false),
};
const permissionChanges = {
  can_create: z.boolean().optional(),
  can_read: z.boolean().optional(),
  can_update: z.boolean().optional(),
  can_delete: z.boolean().optional(),
};

const username = z.string().regex(/^[A-Za-z0-9._@+-]{1,64}$/, {
  error: 'a username is 1 to 64 of A-Z, a-z, 0-9 and . _ @ + -',
});
const email = z.email({ error: 'an address like someone@example.com' }).max(254).nullable();
/** Its strength is judged where the username is known. */
const newPassword = z.string().max(passwordCharsMax);
/** PostgreSQL's text has no U+0000. */
const storable = (text: z.ZodString) =>
  text.refine((given) => !given.includes('\0'), { error: 'text without U+0000' });
const keyName = storable(z.string().trim().min(1).max(128));
const description = storable(z.string().max(1_024)).nullable();
/** The id of the user that a key belongs to. */
const owner = z
  .string()
  .regex(/^[0-9A-Za-z]{1,64}$/, { error: 'the id of a user' })
  .nullable();
const expiresAt = z.iso
  .datetime({
    offset: true,
    local: true,
    abort: true,
    error: 'a time in ISO 8601, like 2030-12-31T23:59:59Z',
  })
  // An offset can carry it past the years that sort as text.
  .refine((given) => /^[1-9]\d{3}-(?!12-31)/.test(given) || /^[1-8]\d{3}-/.test(given), {
    error: 'a time from the year 1000 to 9999-12-30',
  })
  .nullable();

export const newUserSchema = z.strictObject({
  username,
  email: email.optional(),
  password: newPassword,
  ...permissionFields,
  is_admin: z.boolean().default(false),
});
export type NewUser = z.output<typeof newUserSchema>;

export const userChangesSchema = z.strictObject({
  email: email.optional(),
  ...permissionChanges,
  is_admin: z.boolean().optional(),
});
export type UserChanges = z.output<typeof userChangesSchema>;

export const newKeySchema = z.strictObject({
  name: keyName,
  description: description.optional(),
  ...permissionFields,
  expires_at: expiresAt.optional(),
  owner: owner.optional(),
});
export type NewKey = z.output<typeof newKeySchema>;

export const keyChangesSchema = z.strictObject({
  name: keyName.optional(),
  description: description.optional(),
  ...permissionChanges,
  /** `null` clears it; a time in the past ends the key at once. */
  expires_at: expiresAt.optional(),
  /** `null` makes it a key by itself. */
  owner: owner.optional(),
});
export type KeyChanges = z.output<typeof keyChangesSchema>;

const overlapRule = 'a duration up to 7d, written like 1h (s, m, h, d), or whole seconds up to 604800';
/** How long the old secret goes on working, in milliseconds; at once is the default, for a key that got out. */
export const rotateKeySchema = z.strictObject({
  overlap: z
    .union(
      [
        z
          .number()
          .int()
          .min(0)
          .max(rotationOverlapMsMax / 1000)
          .transform((seconds) => seconds * 1000),
        duration(0, rotationOverlapMsMax),
      ],
      { error: overlapRule },
    )
    .default(0),
});

/** Absent: flip. Given: set, so that a retry changes nothing more. */
export const toggleSchema = z.strictObject({ is_active: z.boolean().optional() });
export const resetPasswordSchema = z.strictObject({ password: newPassword.optional() });

/** What an OAuth 2 client adds to a password form (RFC 6749 §4.3.2) is taken and not used. */
const ignored = z.string().max(1_024).optional();
export const loginSchema = z.strictObject({
  username: storable(z.string().min(1).max(256)),
  password: z.string().min(1).max(passwordCharsMax),
  grant_type: ignored,
  scope: ignored,
  client_id: ignored,
  client_secret: ignored,
});
export const keyLoginSchema = z.strictObject({ api_key: z.string().min(1).max(apiKeyCharsMax) });
export const refreshSchema = z.strictObject({ refresh_token: z.string().min(1).max(tokenCharsMax) });
export const changePasswordSchema = z.strictObject({
  current_password: z.string().min(1).max(passwordCharsMax),
  new_password: newPassword,
});

export const pageSchema = z.strictObject({
  page: z.coerce.number().int().min(1).max(1_000_000).default(1),
  page_size: z.coerce.number().int().min(1).max(pageSizeMax).default(pageSizeDefault),
});
export type Page = z.output<typeof pageSchema>;
export const keyPageSchema = pageSchema.extend({
  /** `true`: only keys never used, or not for 90 days. */
  idle: z.enum(['true', 'false']).optional(),
});

const permissionsShown = {
  can_create: z.boolean(),
  can_read: z.boolean(),
  can_update: z.boolean(),
  can_delete: z.boolean(),
};
const time = z.iso.datetime();

export const userSchema = z.object({
  id: z.string(),
  username: z.string(),
  email: z.string().nullable(),
  ...permissionsShown,
  is_admin: z.boolean(),
  is_active: z.boolean(),
  created_at: time,
  updated_at: time,
  last_login_at: time.nullable(),
  locked_until: time.nullable().meta({
    description:
      'Until when too many wrong passwords keep some address from logging in as this user; null when none is kept',
  }),
  locked_addresses: z.number().int().meta({ description: 'How many addresses are kept out by name' }),
});
/** A user as everyone outside this folder sees one: without the hash. */
export type User = z.output<typeof userSchema>;

export const keySchema = z.object({
  id: z.string(),
  name: z.string(),
  description: z.string().nullable(),
  ...permissionsShown,
  is_active: z.boolean(),
  expires_at: time.nullable(),
  created_at: time,
  updated_at: time,
  created_by: z.string(),
  owner: z.string().nullable().meta({
    description: 'The id of the user that it belongs to, and is disabled with; null for a key by itself',
  }),
  last_used_at: time.nullable(),
  idle: z.boolean().meta({ description: 'Never used, or not for 90 days' }),
  rotated_at: time.nullable(),
  previous_valid_until: time.nullable().meta({
    description: 'When the secret before the last rotation stops working; null when it did at once',
  }),
});
/** A key as everyone outside this folder sees one: without secret or HMAC. */
export type Key = z.output<typeof keySchema>;

export const keyWithSecretSchema = keySchema.extend({ key: z.string() });
/** The only time a key's text is shown. */
export type KeyWithSecret = z.output<typeof keyWithSecretSchema>;

export const tokenAnswerSchema = z.object({
  access_token: z.string(),
  refresh_token: z.string(),
  token_type: z.literal('bearer'),
  /** Seconds. */
  expires_in: z.number().int(),
});

export const meSchema = z.union([
  userSchema.extend({ kind: z.literal('user'), subject: z.string(), permissions: z.array(z.string()) }),
  keySchema.extend({ kind: z.literal('key'), subject: z.string(), permissions: z.array(z.string()) }),
  z.object({ kind: z.literal('external'), subject: z.string(), permissions: z.array(z.string()) }),
]);

export function listSchema(item: z.ZodType) {
  return z.object({
    items: z.array(item),
    total: z.number().int(),
    page: z.number().int(),
    page_size: z.number().int(),
  });
}

export interface List<Item> {
  readonly items: readonly Item[];
  readonly total: number;
  readonly page: number;
  readonly page_size: number;
}
