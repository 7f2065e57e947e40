/** What no single value of `listen.tls` and `auth.certificates` shows. */
import type { Draft } from './checks.ts';
import { takenNames } from './issuer-checks.ts';
import type { Report } from './report.ts';

export function checkTls({ listen }: Draft, report: Report): void {
  const { client_ca, client_certificates } = listen?.tls ?? {};
  if (client_ca === undefined && (client_certificates ?? 'none') !== 'none') {
    const hint = 'Write client_ca: the path of the PEM of the authorities to believe.';
    report.value(['listen', 'tls', 'client_certificates'], 'needs an authority to believe', hint);
  }
}

export function checkCertificates({ listen, auth }: Draft, report: Report): void {
  if (!auth?.certificates) return;
  const { name } = auth.certificates;
  const path = ['auth', 'certificates', 'name'];
  if (takenNames.has(name))
    report.value(path, 'is the start of other subjects', 'Write another name, such as mesh.');
  const twin = auth.issuers.findIndex((issuer) => issuer.name === name);
  if (twin !== -1)
    report.value(path, `is the same as auth.issuers.${twin}.name`, 'Give each a name of its own.');
  if (!listen || (listen.tls?.client_certificates ?? 'none') !== 'none') return;
  const hint = 'Write listen.tls.client_certificates: optional or required, or remove auth.certificates.';
  report.value(['auth', 'certificates'], 'no certificate of a client is asked for', hint);
}
