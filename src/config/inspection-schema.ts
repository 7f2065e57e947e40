/** `inspection`: named sets of rules for JSON bodies, and the content types of a route. */
import { z } from 'zod';
import type { JsonBounds } from '../inspection/json-scan.ts';
import { type RuleAction, type RuleName, ruleActions, ruleNames } from '../inspection/rules.ts';
import { named, oneOf, section } from './forms.ts';
import { integer } from './units.ts';

const action = oneOf(ruleActions).default('refuse');

const limits = section({
  /** Nesting of objects and arrays. */
  depth: integer(1, 128).default(64),
  /** In all objects together. */
  keys: integer(1, 1_000_000).default(10_000),
  /** In all arrays together. */
  elements: integer(1, 1_000_000).default(100_000),
  /** Characters of one string. */
  string: integer(1, 16_777_216).default(262_144),
}).transform(({ string: stringChars, ...others }): JsonBounds => ({ ...others, stringChars }));

const ruleSet = section({
  /** Every rule refuses unless it is said otherwise. */
  rules: section(
    Object.fromEntries(ruleNames.map((rule) => [rule, action])) as Record<RuleName, typeof action>,
  ).prefault({}),
  limits: limits.prefault({}),
});

export const inspection = named(
  'sets of rules such as tools: { rules: { script: refuse } }',
  ruleSet,
).default({});

/** The set that `inspect: json` names: JSON that can be read in one way, and no rule for what it says. */
export const plainJson: z.output<typeof ruleSet> = {
  rules: Object.fromEntries(ruleNames.map((rule) => [rule, 'off'])) as Record<RuleName, RuleAction>,
  limits: limits.parse({}),
};

const typeRule = 'a content type such as application/json or image/*, in lower case and without parameters';
const typesRule = `a list of 1 to 32, each ${typeRule}`;
const token = "[a-z0-9!#$&'+.^_`|~-]{1,127}";

export const contentTypes = z
  .array(
    z.string({ error: typeRule }).regex(new RegExp(`^${token}/(?:${token}|\\*)$`), { error: typeRule }),
    { error: typesRule },
  )
  .min(1, { error: typesRule })
  .max(32, { error: typesRule });
