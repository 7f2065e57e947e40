/** One set of rules for JSON bodies, ready to be applied. */
import { Refusal } from '../errors.ts';
import { parseJson } from '../http/body.ts';
import type { BodySchema } from './body-schema.ts';
import { type JsonBounds, type JsonPlace, type JsonReader, where } from './json-scan.ts';
import {
  type Finding,
  isReadAlike,
  objects,
  type RuleAction,
  type RuleName,
  ruleNames,
  ruleWords,
  type TextRule,
} from './rules.ts';

export interface InspectionOptions {
  readonly bounds: JsonBounds;
  readonly rules: Readonly<Record<RuleName, RuleAction>>;
  readonly schema: BodySchema | undefined;
}

export class Inspection {
  readonly #options: InspectionOptions;
  readonly #textRules: readonly TextRule[];

  constructor(options: InspectionOptions) {
    this.#options = options;
    this.#textRules = ruleNames.filter(
      (rule): rule is TextRule => rule !== 'numbers' && options.rules[rule] !== 'off',
    );
  }

  /** Whether a request without a body has something to answer for. */
  get needsBody(): boolean {
    return this.#options.schema !== undefined;
  }

  /**
   * @param findings takes what was found, also when it refuses
   * @returns what the JSON says
   * @throws `malformed_body`, `content_refused`, `validation_failed`
   */
  judge(text: string, findings: Finding[]): unknown {
    const { bounds, schema } = this.#options;
    const value = parseJson(text, bounds, this.#reader(findings));
    schema?.check(value);
    return value;
  }

  #reader(findings: Finding[]): JsonReader {
    const { rules } = this.#options;
    return {
      text: (value, isName, place) => {
        for (const rule of this.#textRules) {
          if (objects(rule, value)) this.#found(rule, isName, place, findings);
        }
      },
      number: (literal, place) => {
        if (rules.numbers !== 'off' && !isReadAlike(literal)) this.#found('numbers', false, place, findings);
      },
    };
  }

  #found(rule: RuleName, isName: boolean, place: JsonPlace, findings: Finding[]): void {
    const action = this.#options.rules[rule];
    if (action === 'off') return;
    if (!findings.some((finding) => finding.rule === rule)) findings.push({ rule, action });
    if (action === 'report') return;
    const what = isName
      ? `A key of the object ${where(place.pointer())}`
      : `The value ${where(place.pointer())}`;
    throw new Refusal('content_refused', { detail: `${what} holds ${ruleWords[rule]} (rule ${rule}).` });
  }
}
