/** Certificates as operators make them, by openssl: an authority of the test's own and what it signs. */
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

export interface Signed {
  readonly cert: string;
  readonly key: string;
}

export interface Authority {
  /** PEM. */
  readonly ca: string;
  /** @param san as openssl writes it: `DNS:localhost,URI:spiffe://example.org/ci`; @param days negative is expired */
  sign(san: string, options?: { days?: number; usage?: 'serverAuth' | 'clientAuth' }): Signed;
}

/** @param directory of the test's own; @param name makes it another authority than the next one */
export function makeAuthority(directory: string, name = 'authority'): Authority {
  const openssl = (...args: string[]) => execFileSync('openssl', args, { cwd: directory, stdio: 'pipe' });
  const file = (suffix: string) => `${name}.${suffix}`;
  const text = (path: string) => readFileSync(join(directory, path), 'utf8');
  openssl('genpkey', '-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-256', '-out', file('key'));
  openssl('req', '-x509', '-key', file('key'), '-out', file('crt'), '-days', '30', '-subj', `/CN=${name}`);
  let count = 0;
  return {
    ca: text(file('crt')),
    sign: (san, { days = 30, usage } = {}) => {
      count += 1;
      const leaf = (suffix: string) => file(`${count}.${suffix}`);
      openssl('genpkey', '-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-256', '-out', leaf('key'));
      openssl('req', '-new', '-key', leaf('key'), '-subj', `/CN=${count}`, '-out', leaf('csr'));
      const lines = [san && `subjectAltName=${san}`, usage && `extendedKeyUsage=${usage}`].filter(Boolean);
      writeFileSync(join(directory, leaf('ext')), `${lines.join('\n')}\n`);
      const from = ['-CA', file('crt'), '-CAkey', file('key'), '-CAcreateserial', '-extfile', leaf('ext')];
      openssl('x509', '-req', '-in', leaf('csr'), ...from, '-days', String(days), '-out', leaf('crt'));
      return { cert: text(leaf('crt')), key: text(leaf('key')) };
    },
  };
}
