import t from 'tap';
import { anonymous, type Permission, type Permit, type Principal, permissions } from '../../src/exchange.ts';
import { Cors } from '../../src/http/cors.ts';
import { authorize } from '../../src/phases/authorize.ts';
import { exchangeOf, principalOf, routeOf } from '../support/exchange.ts';

const cors = new Cors([]);
const holding = (...held: Permission[]) => principalOf({ permissions: new Set(held) });

for (const permission of permissions) {
  const route = routeOf({ permission });

  t.test(`with ${permission}, a route that needs it is allowed`, async (t) => {
    const principal = holding(permission);
    const permit = authorize(cors, exchangeOf(), route, principal);
    t.equal(permit.route, route);
    t.equal(permit.principal, principal);
  });

  t.test(
    `with everything but ${permission}, a route that needs it is refused, and the scope named`,
    async (t) => {
      const others = permissions.filter((other) => other !== permission);
      t.throws(() => authorize(cors, exchangeOf(), route, holding(...others)), {
        code: 'permission_denied',
        status: 403,
        scope: permission,
      });
    },
  );

  t.test(`anonymous, a route that needs ${permission} is refused`, async (t) => {
    t.throws(() => authorize(cors, exchangeOf(), route, anonymous), { code: 'permission_denied' });
  });
}

t.test('a route for any verified caller takes one without a permission', async (t) => {
  t.ok(authorize(cors, exchangeOf(), routeOf({ permission: 'any' }), holding()));
});

t.test('a route for any verified caller refuses the anonymous one', async (t) => {
  t.throws(() => authorize(cors, exchangeOf(), routeOf({ permission: 'any' }), anonymous), {
    code: 'permission_denied',
  });
});

t.test('a public route takes everyone', async (t) => {
  t.ok(authorize(cors, exchangeOf(), routeOf({ permission: 'none' }), anonymous));
});

t.test(
  'a change from a foreign origin is refused, on a public route too and whatever the caller may do',
  async (t) => {
    const foreign = exchangeOf({ method: 'POST', headers: ['Origin', 'https://evil.example'] });
    for (const permission of ['none', 'any', 'create'] as const) {
      t.throws(() => authorize(cors, foreign, routeOf({ permission }), holding(...permissions)), {
        code: 'origin_not_allowed',
        status: 403,
      });
    }
  },
);

/**
 * None of these lines runs: the type check fails as soon as one of them compiles, since an error that is expected
 * and does not come is one.
 */
function forge(permit: Permit, principal: Principal): Permit[] {
  const route = routeOf();
  // @ts-expect-error an object that looks like one
  const literal: Permit = { route, principal };
  // @ts-expect-error one with every public part
  const whole: Permit = { route, principal, valid: true };
  // @ts-expect-error a copy is not the thing
  const spread: Permit = { ...permit, principal };
  // @ts-expect-error a class of one's own with the same parts
  const own: Permit = new (class {
    readonly #made = true;
    readonly route = route;
    readonly principal = principal;
    get valid() {
      return this.#made;
    }
  })();
  // @ts-expect-error there is no class to construct one with: Permit is a type only
  const constructed: Permit = new Permit(route, principal);
  // @ts-expect-error its principal cannot be exchanged
  permit.principal = principal;
  // @ts-expect-error nor its route
  permit.route = route;
  return [literal, whole, spread, own, constructed];
}

t.test('a permit cannot be made up, which the type check of this file holds', async (t) => {
  t.type(forge, 'function');
});

t.test('at run time too, nothing exported makes a permit', async (t) => {
  t.strictSame(Object.keys(await import('../../src/phases/authorize.ts')), ['authorize']);
});
