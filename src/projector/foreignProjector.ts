import * as v from 'valibot';
import { frozenCopy, optional } from '../base/frozenCopy.js';
import { checkPlain } from '../base/plainData.js';
import { integer, parse } from '../base/schema.js';
import { checkFunction, checkInteger, checkString, checkStrings } from '../base/validate.js';
import { checkGraph, checkLocations } from '../files/foreignModel.js';
import type { ProjectorFamily, ProjectorSource } from './family.js';

const trainedStates = v.object({
  layers: v.array(integer(Number.MIN_SAFE_INTEGER)),
  keepsClassToken: v.boolean(),
});

const checkChannels = (name: string, value: unknown) => checkInteger(name, value, 1);

/** A family from outside of the package, as it is now, with a check of all that it will give. @throws TypeError or RangeError */
export function foreignProjector(given: ProjectorFamily): ProjectorFamily {
  const family = frozenCopy('family', given, {
    name: checkString,
    open: checkFunction,
    namesIn: optional(checkFunction),
  });
  const name = `the projector family ${family.name}`;
  return {
    name: family.name,
    open: async (...args) => {
      const source = await family.open(...args);
      return source ? checkSource(`what ${name} opened`, source) : undefined;
    },
    namesIn: (names) => checkStrings(`what namesIn() of ${name} gave`, family.namesIn?.(names) ?? []),
  };
}

function checkSource(argument: string, given: ProjectorSource): ProjectorSource {
  const source = frozenCopy(argument, given, {
    kind: checkString,
    description: checkPlain,
    inChannels: checkChannels,
    outChannels: checkChannels,
    trainedStates: optional((name, value) => parse(trainedStates, value, name, `${name}.`)),
    tensors: checkLocations,
    graph: checkFunction,
  });
  return { ...source, graph: async () => checkGraph(`${argument}.graph()`, await source.graph()) };
}
