/** Whether the gateway answers; for people and load balancers. Probes use the operations port. */
import { z } from 'zod';
import type { Endpoint } from './endpoint.ts';

export const healthEndpoint: Endpoint = {
  method: 'GET',
  path: '/health',
  permission: 'none',
  rateClass: 'public',
  durable: false,
  summary: 'Whether the gateway answers',
  answers: { 200: { description: 'It does.', schema: z.object({ status: z.literal('ok') }) } },
  answer: () => ({ status: 200, json: { status: 'ok' } }),
};
