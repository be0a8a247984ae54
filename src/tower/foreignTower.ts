import * as v from 'valibot';
import { attentionKinds } from '../base/attention.js';
import { frozenCopy, optional } from '../base/frozenCopy.js';
import { checkPlain } from '../base/plainData.js';
import { integer, nonEmptyString, parse, positiveNumber } from '../base/schema.js';
import { checkFunction, checkString, checkStrings, wrongValue } from '../base/validate.js';
import { checkGraph, checkLocations } from '../files/foreignModel.js';
import { pixelRules } from './pixels.js';
import { visionPrecisions } from './precision.js';
import type { Projection, TowerFamily, TowerSource } from './source.js';

const config = v.looseObject({
  ...pixelRules.entries,
  framesPerStep: v.optional(integer(1)),
  patches: integer(1),
  grid: v.tuple([integer(1), integer(1)]),
  channels: integer(1),
  summaries: integer(0),
  heads: integer(1),
  reduction: v.optional(nonEmptyString),
  attention: v.optional(v.picklist(attentionKinds)),
});

const details = v.record(v.string(), v.union([v.string(), v.number()]));

const precisions = v.array(v.picklist(visionPrecisions));

const projection = v.object({
  kind: nonEmptyString,
  width: integer(1),
  rows: v.optional(integer(1)),
  attention: v.optional(v.picklist(['causal', 'full'])),
  positionsPerSecond: v.optional(positiveNumber),
  ending: v.optional(v.unknown()),
});

const patchStates = v.object({ layers: v.array(integer(0)), depth: integer(0), keepsClassToken: v.boolean() });

/** A family from outside of the package, as it is now, with a check of all that it will give. @throws TypeError or RangeError */
export function foreignTower(given: TowerFamily): TowerFamily {
  const family = frozenCopy('family', given, {
    name: checkString,
    open: checkFunction,
    namesIn: optional(checkFunction),
  });
  const name = `the tower family ${family.name}`;
  return {
    name: family.name,
    open: async (path, options) => {
      const source = await family.open(path, options);
      return source ? checkSource(`what ${name} opened`, source) : undefined;
    },
    namesIn: (names) => checkStrings(`what namesIn() of ${name} gave`, family.namesIn?.(names) ?? []),
  };
}

function checkProjection(name: string, value: unknown): Projection {
  const read = parse(projection, value, name, `${name}.`);
  const [ending] = read.ending === undefined ? [] : checkLocations(`${name}.ending`, [read.ending]);
  return { ...read, ...(ending && { ending }) } as Projection;
}

function checkSource(argument: string, given: TowerSource): TowerSource {
  const source = frozenCopy(argument, given, {
    config: (name, value) => parse(config, value, name, `${name}.`),
    sizeOf: optional(checkFunction),
    patchStates: optional((name, value) => parse(patchStates, value, name, `${name}.`)),
    projection: optional(checkProjection),
    template: optional(checkString),
    details: (name, value) => parse(details, value, name, `${name}.`),
    description: checkPlain,
    tensors: checkLocations,
    attentionTensors: optional(checkLocations),
    linear: checkLocations,
    precisions: optional((name, value) => parse(precisions, value, name, `${name}.`)),
    graph: checkFunction,
  });
  if ((source.sizeOf === undefined) !== (source.config.cell === undefined))
    throw new TypeError(`Expected both or neither of ${argument}.sizeOf and ${argument}.config.cell but received one`);
  const { projection: ends, config: sizes } = source;
  const [rows, columns] = sizes.grid;
  if (rows * columns !== sizes.patches)
    wrongValue(`${argument}.config.grid`, `rows and columns of ${sizes.patches} patches`, `${rows}x${columns}`);
  if (ends && sizes.channels !== ends.width * (ends.rows ?? 1))
    wrongValue(
      `${argument}.config.channels`,
      `${ends.rows ?? 1} rows of projection.width (${ends.width})`,
      sizes.channels,
    );
  return {
    ...source,
    graph: async (options) => checkGraph(`${argument}.graph()`, await source.graph(options)),
  };
}
