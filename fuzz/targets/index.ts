// Every target, the quick ones first.
import type { Target } from '../target.js';
import { callTargets } from './calls.js';
import { chats } from './chats.js';
import { configTargets } from './configs.js';
import { hub } from './hub.js';
import { kernels } from './kernels.js';
import { loads } from './loads.js';
import { media } from './media.js';
import { pickle } from './pickle.js';
import { registered } from './registered.js';
import { towerTargets } from './towers.js';
import { weightTargets } from './weights.js';

export const targets: readonly Target[] = [
  ...callTargets,
  kernels,
  ...weightTargets,
  pickle,
  ...configTargets,
  ...towerTargets,
  registered,
  hub,
  media,
  loads,
  chats,
];
