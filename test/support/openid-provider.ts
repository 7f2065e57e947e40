/** A real OpenID provider (oidc-provider) on loopback, whose clients get JWT access tokens for a resource. */
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import Provider from 'oidc-provider';
import { type TestKey, testKey } from './issuer.ts';

export interface OpenIdProvider {
  readonly issuer: string;
  /** Paths asked for so far. */
  readonly paths: string[];
  /** An access token by the client-credentials grant (RFC 6749 §4.4) for a resource (RFC 8707). */
  token(clientId: string, resource: string, scope: string): Promise<string>;
  close(): Promise<void>;
}

export interface ProviderOptions {
  /** 0 takes any free port. */
  readonly port?: number;
  readonly keys?: readonly TestKey[];
}

/** `resource` is `urn:<audience>:<algorithm>`: the token's audience, and what it is signed with. */
export async function startOpenIdProvider({
  port = 0,
  keys = defaultKeys(),
}: ProviderOptions = {}): Promise<OpenIdProvider> {
  const paths: string[] = [];
  const server = createServer();
  server.listen(port, '127.0.0.1');
  await once(server, 'listening');
  const issuer = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const handle = new Provider(issuer, configurationOf(keys)).callback();
  server.on('request', (request, response) => {
    paths.push(request.url ?? '');
    handle(request, response);
  });
  return {
    issuer,
    paths,
    token: (clientId, resource, scope) => fetchToken(issuer, clientId, resource, scope),
    close: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

export const defaultKeys = () => [testKey('RS256'), testKey('ES256'), testKey('EdDSA')];

function configurationOf(keys: readonly TestKey[]): object {
  return {
    jwks: {
      keys: keys.map(({ privateKey, kid, alg }) => ({
        ...privateKey.export({ format: 'jwk' }),
        kid,
        alg,
        use: 'sig',
      })),
    },
    clients: ['robot', 'platform-team'].map((clientId) => ({
      client_id: clientId,
      client_secret: `${clientId}-secret`,
      grant_types: ['client_credentials'],
      redirect_uris: [],
      response_types: [],
    })),
    scopes: ['tools:read', 'tools:write'],
    extraTokenClaims: (_context: unknown, token: { clientId: string }) => ({
      'https://corp.example/roles': token.clientId === 'platform-team' ? ['platform-admins'] : ['robots'],
    }),
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: (_context: unknown, resource: string) => {
          const [, audience, alg] = resource.split(':');
          return {
            audience,
            scope: 'tools:read tools:write',
            accessTokenFormat: alg === 'opaque' ? 'opaque' : 'jwt',
            accessTokenTTL: 300,
            jwt: { sign: { alg } },
          };
        },
      },
    },
  };
}

async function fetchToken(
  issuer: string,
  clientId: string,
  resource: string,
  scope: string,
): Promise<string> {
  const response = await fetch(`${issuer}/token`, {
    method: 'POST',
    headers: { authorization: `Basic ${btoa(`${clientId}:${clientId}-secret`)}` },
    body: new URLSearchParams({ grant_type: 'client_credentials', resource, scope }),
  });
  const { access_token: token } = (await response.json()) as { access_token?: string };
  if (token === undefined) throw new Error(`the provider answered ${response.status}`);
  return token;
}
