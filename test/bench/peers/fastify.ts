/**
 * The usual stack in Node, doing the same job: Fastify with its own proxy, rate limit and helmet, a key looked up in a
 * map, identity headers, one line of JSON a request in writes of 64 KiB, a counter and a histogram.
 * `node fastify.ts PORT UPSTREAM KEY SUBJECT LOG [REDIS]`
 */
import { randomUUID } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';
import helmet from '@fastify/helmet';
import httpProxy from '@fastify/http-proxy';
import rateLimit from '@fastify/rate-limit';
import Fastify, { type FastifyRequest } from 'fastify';
import { Redis } from 'ioredis';
import { pino } from 'pino';
import { Counter, Histogram } from 'prom-client';

const [, , port = '0', upstream = '', key = '', subject = '', log = '', redis] = process.argv;
const subjects = new Map([[key, subject]]);
const subjectOf = ({ headers }: { headers: IncomingHttpHeaders }) =>
  subjects.get(String(headers['x-api-key'] ?? ''));

const audit = pino(pino.destination({ dest: log, minLength: 64 * 1024, maxWrite: 128 * 1024, sync: false }));
const requests = new Counter({
  name: 'http_requests_total',
  help: 'Requests.',
  labelNames: ['route', 'method', 'status'],
});
const seconds = new Histogram({
  name: 'http_request_duration_seconds',
  help: 'Seconds.',
  labelNames: ['route'],
});

const app = Fastify({ genReqId: () => randomUUID() });
app.addHook('onRequest', async (request, reply) => {
  if (subjectOf(request) === undefined) return reply.code(401).send({ code: 'invalid_credential' });
  reply.header('X-Request-Id', request.id);
});
app.addHook('onResponse', async (request, reply) => {
  const route = request.routeOptions.url ?? 'none';
  requests.inc({ route, method: request.method, status: String(reply.statusCode) });
  seconds.observe({ route }, reply.elapsedTime / 1000);
  audit.info({
    method: request.method,
    path: request.url,
    client_ip: request.ip,
    user_agent: request.headers['user-agent'],
    status_code: reply.statusCode,
    process_time: reply.elapsedTime / 1000,
    request_id: request.id,
    principal: subjectOf(request),
    route,
  });
});
await app.register(helmet);
await app.register(rateLimit, {
  max: 1_000_000,
  timeWindow: '1 second',
  keyGenerator: (request: FastifyRequest) => subjectOf(request) ?? request.ip,
  ...(redis !== undefined && { redis: new Redis(redis) }),
});
await app.register(httpProxy, {
  upstream,
  undici: { connections: 64, pipelining: 1 },
  replyOptions: {
    rewriteRequestHeaders: (request, headers) => {
      const { 'x-api-key': _, ...kept } = headers;
      return { ...kept, 'x-auth-subject': subjectOf(request) ?? '', 'x-request-id': String(request.id) };
    },
  },
});
await app.listen({ port: Number(port), host: '127.0.0.1' });
