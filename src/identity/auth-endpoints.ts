/** The endpoints of someone who logs in: /auth/* and the JWK Set. */

import { z } from 'zod';
import { readApiKey } from '../credentials/api-key.ts';
import type { Answer, Call, Endpoint } from '../endpoints/endpoint.ts';
import { Refusal } from '../errors.ts';
import { counted, type EndpointDeps, guarded, noStore, withBody } from './endpoint-parts.ts';
import type { Grant } from './grants.ts';
import {
  changePasswordSchema,
  keyLoginSchema,
  loginSchema,
  meSchema,
  refreshSchema,
  tokenAnswerSchema,
} from './shapes.ts';
import { parseSubject } from './subject.ts';

const refused = { description: 'Not accepted; the answer does not say why' };
const tokenAnswers = { 200: { description: 'Tokens', schema: tokenAnswerSchema }, 401: refused };

export function authEndpoints(deps: EndpointDeps): readonly Endpoint[] {
  return [
    login(deps),
    keyLogin(deps),
    refresh(deps),
    logout(deps),
    me(deps),
    changePassword(deps),
    jwks(deps),
  ];
}

function login({ identity, failures, known }: EndpointDeps): Endpoint {
  return {
    method: 'POST',
    path: '/auth/login',
    secretInBody: 'password',
    permission: 'none',
    rateClass: 'public',
    durable: true,
    summary: 'Log in with username and password',
    bodyTypes: ['application/x-www-form-urlencoded', 'application/json'],
    answers: tokenAnswers,
    ...withBody(loginSchema, async ({ username, password }, call) => {
      const grant = await guarded(failures, call, async () => {
        const { clientAddress } = call.exchange;
        const row = await identity.users
          .authenticate(username, password, clientAddress)
          .catch(async (error) => {
            await nameWhoWasTried(identity, username, call, error);
            throw error;
          });
        return identity.grants.begin({ kind: 'user', row });
      });
      return tokenAnswer(known, call, grant, grant.sessionId);
    }),
  };
}

/**
 * For the record: whom a wrong password was for. Only a user that exists is named, by id: people type passwords into
 * the field of the name. Both cases take one query, so that neither answers sooner.
 */
async function nameWhoWasTried(
  { users }: EndpointDeps['identity'],
  username: string,
  { exchange }: Call,
  error: unknown,
): Promise<void> {
  if (!(error instanceof Refusal) || error.reason === undefined) return;
  exchange.credentialId = await users.subjectOf(username).catch(() => undefined);
}

function keyLogin({ identity, failures, known }: EndpointDeps): Endpoint {
  return {
    method: 'POST',
    path: '/auth/api-key-login',
    secretInBody: 'api_key',
    permission: 'none',
    rateClass: 'public',
    durable: true,
    summary: 'Exchange an API key for tokens',
    answers: tokenAnswers,
    ...withBody(keyLoginSchema, async ({ api_key }, call) => {
      const limit = known.has(api_key) ? counted : guarded;
      const grant = await limit(failures, call, async () => {
        const { id } = readApiKey(identity.keys.prefix, api_key);
        call.exchange.credentialId = id;
        const held = await identity.keys.authenticate(api_key);
        return identity.grants.begin({ kind: 'key', held });
      });
      return tokenAnswer(known, call, grant, call.exchange.credentialId);
    }),
  };
}

function refresh({ identity, failures, known }: EndpointDeps): Endpoint {
  return {
    method: 'POST',
    path: '/auth/refresh',
    secretInBody: 'refresh_token',
    permission: 'none',
    rateClass: 'public',
    durable: true,
    summary: 'Exchange a refresh token for new tokens; it works once',
    answers: tokenAnswers,
    ...withBody(refreshSchema, async ({ refresh_token }, call) => {
      // Its signature is checked first, which costs less than the request did.
      const grant = await counted(failures, call, () =>
        identity.grants.refresh(refresh_token, ({ subject, sessionId }) => {
          call.exchange.identifiedSubject = subject;
          call.exchange.credentialId = sessionId;
        }),
      );
      return tokenAnswer(known, call, grant, grant.sessionId);
    }),
  };
}

function logout({ identity }: EndpointDeps): Endpoint {
  return {
    method: 'POST',
    path: '/auth/logout',
    permission: 'any',
    rateClass: 'write',
    durable: true,
    summary: 'End the session of the token presented',
    answers: {
      204: {
        description: 'Ended; an API key or an external token presented directly has no session here to end',
      },
    },
    answer: async ({ exchange }) => {
      const { sessionId } = exchange.principal;
      if (sessionId !== undefined) await identity.sessions.end(sessionId, 'logout');
      return { status: 204 };
    },
  };
}

function me({ identity }: EndpointDeps): Endpoint {
  return {
    method: 'GET',
    path: '/auth/me',
    permission: 'any',
    rateClass: 'read',
    durable: true,
    summary: 'Who the credential stands for, and what it may do',
    answers: { 200: { description: 'The user, key or external subject', schema: meSchema } },
    answer: async ({ exchange: { principal } }) => {
      const shown = { subject: principal.subject, permissions: [...principal.permissions] };
      // Of someone vouched for by an external issuer nothing is stored here.
      if (principal.kind === 'external') return { status: 200, json: { kind: 'external', ...shown } };
      const { kind, id } = parseSubject(principal.subject);
      const stored = kind === 'user' ? await identity.users.get(id) : await identity.keys.get(id);
      return { status: 200, json: { kind, ...shown, ...stored } };
    },
  };
}

function changePassword({ identity, failures }: EndpointDeps): Endpoint {
  return {
    method: 'POST',
    path: '/auth/change-password',
    secretInBody: 'password',
    permission: 'any',
    rateClass: 'write',
    durable: true,
    summary: 'Change one’s own password; all other sessions end',
    answers: {
      204: { description: 'Changed' },
      403: { description: 'Only a user of the gateway has a password here' },
      422: { description: 'The current password is wrong, or the new one not acceptable' },
    },
    ...withBody(changePasswordSchema, async ({ current_password, new_password }, call) => {
      const { principal, clientAddress } = call.exchange;
      const { kind, subject, sessionId } = principal;
      if (kind !== 'user') {
        throw new Refusal('permission_denied', { detail: 'Only a user has a password to change.' });
      }
      const { id } = parseSubject(subject);
      // Whoever has stolen a token must not get to guess the password with it: the username's own lock sees to that.
      await counted(failures, call, () =>
        identity.users.changePassword({
          id,
          current: current_password,
          next: new_password,
          clientAddress,
          sessionId,
        }),
      );
      return { status: 204 };
    }),
  };
}

/** Without those of our tokens while they are signed with a secret, which nobody may know. */
function jwks({ identity }: EndpointDeps): Endpoint {
  const schema = z.object({ keys: z.array(z.record(z.string(), z.unknown())) });
  return {
    method: 'GET',
    path: '/.well-known/jwks.json',
    permission: 'none',
    rateClass: 'public',
    durable: false,
    summary: 'The public keys of our tokens and assertions (RFC 7517)',
    answers: { 200: { description: 'A JWK Set', schema } },
    answer: () => ({ status: 200, json: { keys: identity.jwks() } }),
  };
}

function tokenAnswer(
  known: EndpointDeps['known'],
  call: Call,
  grant: Grant,
  credentialId: string | undefined,
): Answer {
  known.add(grant.access.text);
  call.exchange.identifiedSubject = grant.subject;
  call.exchange.credentialId = credentialId;
  const json = {
    access_token: grant.access.text,
    refresh_token: grant.refresh.text,
    token_type: 'bearer',
    expires_in: grant.access.lifetimeSeconds,
  };
  return { status: 200, headers: noStore, json };
}
