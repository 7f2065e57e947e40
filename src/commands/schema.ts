/** `portcullis schema`: what may stand in gateway.yaml, and what stands in the audit log, as JSON Schema. */
import { auditJsonSchema } from '../audit/schema.ts';
import { gatewayJsonSchema } from '../config/json-schema.ts';
import { CommandError, type Terminal } from './terminal.ts';

/** @param what `gateway` or `audit`. @throws CommandError */
export function schema(terminal: Terminal, what: string): void {
  const schemas = { gateway: gatewayJsonSchema, audit: auditJsonSchema };
  if (!Object.hasOwn(schemas, what))
    throw new CommandError(`there is no schema ${what}: write gateway or audit`);
  terminal.print(JSON.stringify(schemas[what as keyof typeof schemas](), null, 2));
}
