/** The endpoints of an admin who looks after users. */
import { z } from 'zod';
import type { Endpoint } from '../endpoints/endpoint.ts';
import { listOf, noStore, withBody } from './endpoint-parts.ts';
import {
  newUserSchema,
  pageSchema,
  resetPasswordSchema,
  toggleSchema,
  userChangesSchema,
  userSchema,
} from './shapes.ts';
import type { Users } from './users.ts';

const admin = { permission: 'admin', rateClass: 'admin', durable: true } as const;
const unknown = { description: 'No user has this id' };
const lastAdmin = { description: 'It would leave no active admin' };

export function userEndpoints(users: Users): readonly Endpoint[] {
  return [
    {
      ...admin,
      method: 'GET',
      path: '/admin/users',
      summary: 'List users',
      ...listOf(pageSchema, userSchema, 'Users, oldest first', (page) => users.list(page)),
    },
    {
      ...admin,
      method: 'POST',
      path: '/admin/users',
      summary: 'Create a user',
      answers: {
        201: { description: 'The user', schema: userSchema },
        409: { description: 'The username is taken' },
      },
      ...withBody(newUserSchema, async (body) => ({ status: 201, json: await users.create(body) })),
    },
    {
      ...admin,
      method: 'PATCH',
      path: '/admin/users/{id}',
      summary: 'Change a user’s permissions or address',
      answers: { 200: { description: 'The user', schema: userSchema }, 404: unknown, 409: lastAdmin },
      ...withBody(userChangesSchema, async (body, { params }) => ({
        status: 200,
        json: await users.patch(params.id ?? '', body),
      })),
    },
    {
      ...admin,
      method: 'POST',
      path: '/admin/users/{id}/toggle',
      summary: 'Disable or enable a user; disabling ends the user’s sessions, enabling lifts the locks',
      bodyOptional: true,
      answers: { 200: { description: 'The user', schema: userSchema }, 404: unknown, 409: lastAdmin },
      ...withBody(toggleSchema, async ({ is_active }, { params }) => ({
        status: 200,
        json: await users.toggle(params.id ?? '', is_active),
      })),
    },
    resetPassword(users),
  ];
}

function resetPassword(users: Users): Endpoint {
  const schema = userSchema.extend({ password: z.string().optional() });
  return {
    ...admin,
    method: 'POST',
    path: '/admin/users/{id}/reset-password',
    summary: 'Set a new password, generated unless given; the user’s sessions end, the locks are lifted',
    bodyOptional: true,
    answers: { 200: { description: 'The user, with the password if generated', schema }, 404: unknown },
    ...withBody(resetPasswordSchema, async ({ password }, { params: { id = '' } }) => {
      const next = await users.resetPassword(id, password);
      const shown = password === undefined ? { password: next } : {};
      return { status: 200, headers: noStore, json: { ...(await users.get(id)), ...shown } };
    }),
  };
}
