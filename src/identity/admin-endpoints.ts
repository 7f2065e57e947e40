/** The endpoints that need the permission `admin`. */
import type { Endpoint } from '../endpoints/endpoint.ts';
import type { EndpointDeps } from './endpoint-parts.ts';
import { keyEndpoints } from './key-endpoints.ts';
import { userEndpoints } from './user-endpoints.ts';

export function adminEndpoints({ identity }: Pick<EndpointDeps, 'identity'>): readonly Endpoint[] {
  return [...userEndpoints(identity.users), ...keyEndpoints(identity.keys)];
}
