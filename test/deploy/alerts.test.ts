import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import t from 'tap';
import { parse } from 'yaml';

interface Rule {
  readonly alert: string;
  readonly labels: { readonly severity: string };
  readonly annotations: { readonly summary: string; readonly runbook: string };
}

interface RuleTest {
  readonly name: string;
  readonly alert_rule_test: ReadonlyArray<{
    readonly alertname: string;
    readonly exp_alerts: readonly unknown[];
  }>;
}

const folder = 'deploy/prometheus';
const rules: readonly Rule[] = parse(readFileSync(`${folder}/alerts.yaml`, 'utf8')).groups[0].rules;
const tests: readonly RuleTest[] = parse(readFileSync(`${folder}/alerts.test.yaml`, 'utf8')).tests;

t.test('promtool takes the rules, and their unit tests pass', async (t) => {
  const promtool = (...args: string[]) => execFileSync('promtool', args, { cwd: folder, encoding: 'utf8' });
  t.match(promtool('check', 'rules', 'alerts.yaml'), 'SUCCESS');
  t.match(promtool('test', 'rules', 'alerts.test.yaml'), 'SUCCESS');
});

t.test('every alert has a history in which it fires and one in which it does not', async (t) => {
  for (const { alert } of rules) {
    const expected = tests
      .flatMap((test) => test.alert_rule_test)
      .filter(({ alertname }) => alertname === alert)
      .map(({ exp_alerts }) => exp_alerts.length > 0);
    t.strictSame(expected.sort(), [false, true], alert);
  }
});

t.test('every alert says how bad it is, what it is, and where the README says what to do', async (t) => {
  const readme = readFileSync('README.md', 'utf8');
  for (const { alert, labels, annotations } of rules) {
    t.match(labels.severity, /^(?:page|ticket)$/, alert);
    t.match(annotations.summary, /\.$/, alert);
    t.equal(annotations.runbook, `README.md#${alert.toLowerCase()}`);
    t.match(readme, new RegExp(`^#+ ${alert}$`, 'm'), `the README explains ${alert}`);
  }
});
