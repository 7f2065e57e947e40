/** What a rate class is beyond its bucket: who shares one. */
import { partitions } from '../exchange.ts';
import { oneOf } from './forms.ts';

/** By default every verified caller, and every address of anonymous ones, has a bucket of its own. */
export const partition = oneOf(partitions).default('principal');
