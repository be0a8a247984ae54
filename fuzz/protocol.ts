// What the process that runs cases tells the one that watches.

/** Argument of the process, as JSON. */
export type Batch = {
  readonly target: string;
  readonly seed: string;
  readonly from: number;
  readonly to: number;
  /** For its files, all of which are removed. */
  readonly folder: string;
  /** Runs the files of this folder instead of made ones, as one case. */
  readonly input?: string;
};

export type Report =
  | { readonly kind: 'begin'; readonly number: number }
  | {
      readonly kind: 'failure';
      readonly number: number;
      readonly what: string;
      readonly signature: string;
      readonly detail: string;
    }
  | { readonly kind: 'refused'; readonly count: number };
