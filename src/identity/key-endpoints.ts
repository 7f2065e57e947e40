/** The endpoints of an admin who looks after API keys. */
import type { Endpoint } from '../endpoints/endpoint.ts';
import { listOf, noStore, withBody } from './endpoint-parts.ts';
import type { Keys } from './keys.ts';
import {
  keyChangesSchema,
  keyPageSchema,
  keySchema,
  keyWithSecretSchema,
  newKeySchema,
  rotateKeySchema,
  toggleSchema,
} from './shapes.ts';

const admin = { permission: 'admin', rateClass: 'admin', durable: true } as const;
const unknown = { description: 'No key has this id' };

export function keyEndpoints(keys: Keys): readonly Endpoint[] {
  return [
    {
      ...admin,
      method: 'GET',
      path: '/admin/api-keys',
      summary: 'List API keys; idle=true: those never used, or not for 90 days',
      ...listOf(keyPageSchema, keySchema, 'Keys, oldest first', ({ idle, ...page }) =>
        keys.list(page, { idle: idle === 'true' }),
      ),
    },
    {
      ...admin,
      method: 'POST',
      path: '/admin/api-keys',
      summary: 'Create an API key; it is shown this once',
      answers: { 201: { description: 'The key', schema: keyWithSecretSchema } },
      ...withBody(newKeySchema, async (body, { exchange }) => ({
        status: 201,
        headers: noStore,
        json: await keys.create(body, exchange.principal.subject),
      })),
    },
    {
      ...admin,
      method: 'PATCH',
      path: '/admin/api-keys/{id}',
      summary: 'Change an API key’s permissions, expiry or description',
      answers: { 200: { description: 'The key', schema: keySchema }, 404: unknown },
      ...withBody(keyChangesSchema, async (body, { params }) => ({
        status: 200,
        json: await keys.patch(params.id ?? '', body),
      })),
    },
    {
      ...admin,
      method: 'POST',
      path: '/admin/api-keys/{id}/toggle',
      summary: 'Disable or enable an API key; disabling ends its sessions',
      bodyOptional: true,
      answers: { 200: { description: 'The key', schema: keySchema }, 404: unknown },
      ...withBody(toggleSchema, async ({ is_active }, { params }) => ({
        status: 200,
        json: await keys.toggle(params.id ?? '', is_active),
      })),
    },
    {
      ...admin,
      method: 'POST',
      path: '/admin/api-keys/{id}/rotate',
      summary:
        'Give an API key a new secret; the old one goes on for `overlap` (up to 7d), or is dead at once',
      bodyOptional: true,
      answers: { 200: { description: 'The key', schema: keyWithSecretSchema }, 404: unknown },
      ...withBody(rotateKeySchema, async ({ overlap }, { params }) => ({
        status: 200,
        headers: noStore,
        json: await keys.rotate(params.id ?? '', overlap),
      })),
    },
    {
      ...admin,
      method: 'DELETE',
      path: '/admin/api-keys/{id}',
      summary: 'Delete an API key and its sessions',
      answers: { 204: { description: 'Deleted' }, 404: unknown },
      answer: async ({ params }) => {
        await keys.delete(params.id ?? '');
        return { status: 204 };
      },
    },
  ];
}
