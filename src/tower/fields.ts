// Schemas of values that the configurations of many towers have.
import * as v from 'valibot';
import { finiteNumber, positiveNumber } from '../base/schema.js';

/** An epsilon of a normalisation: a larger one would leave nothing of any value. */
export const epsilon = v.pipe(positiveNumber, v.maxValue(1, 'positive number of at most 1'));

/** A number for each colour channel. */
export const perChannel = v.strictTuple([finiteNumber, finiteNumber, finiteNumber]);
