// How many tokens methods and budgets would leave of a video, as plain JSON. Nothing in here needs Node: browsers read plans, too.

/** What is left of a video by each method, for each budget. All of it is JSON. */
export type TokenPlan = {
  readonly object: 'inspection.plan';
  /** Undefined where only frames per second are known, and no duration: then all numbers are those of one segment. */
  readonly frames?: number;
  readonly segments?: number;
  /** Tokens before the reduction; undefined for a tower of any size, where the size of the video says it. */
  readonly patches?: number;
  readonly global: number;
  /** The longest context that the language model was trained for; undefined where none is loaded. */
  readonly context?: number;
  /** What was asked for, or the model's own. */
  readonly asked: PlannedMethod;
  /** All methods. */
  readonly methods: readonly PlannedMethod[];
};

export type PlannedMethod = {
  readonly reduction: string;
  /** Without a budget of the whole video: by the tokens of a segment. */
  readonly own: PlannedTokens;
  readonly budgets: readonly (PlannedTokens & { readonly budget: number })[];
};

/** The most tokens of the video that the language model would see, or why it cannot be. */
export type PlannedTokens = { readonly tokens: number } | { readonly problem: string };
