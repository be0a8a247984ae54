// How many tokens a method and a budget leave, told before anything is asked.
import { counted, withCommas } from '../inspect/draw/scene.js';
import type { TokenPlan } from '../inspect/tokenPlan.js';
import { type Api, isAbort, type Model, type Sampling, sentenceOf } from './api.js';
import { afterPause, byId, element, setText } from './dom.js';
import { percent } from './words.js';

/** What the methods do, for those that people know by name. */
const methods: Readonly<Record<string, string>> = {
  merge: 'Merges the patches that are most alike, segment by segment, as LongVLM does.',
  pick: 'Groups patches as merging does, and keeps one of each group unchanged.',
  pool: 'Averages patches that follow each other. For comparison.',
  subsample: 'Keeps patches at even distances. For comparison.',
  all: 'Keeps every patch.',
  uniform: 'Keeps patches of the whole video at even distances. For comparison.',
  random: 'Keeps patches of the whole video by chance. For comparison.',
};
/** A budget that is enough for any method, as some keep a token of each frame. */
const ample = 1024;
const ofPaper = 'Reduces the whole video at once, as its paper describes.';

export class Budget {
  readonly #api: Api;
  readonly #secondsOf: () => number | undefined;
  readonly #method = byId<HTMLSelectElement>('method');
  readonly #tokens = byId<HTMLInputElement>('tokens');
  readonly #frames = byId<HTMLInputElement>('frames');
  /** The method where none is asked for. */
  #usual = '';
  #asking = new AbortController();

  /**
   * @param secondsOf the length of the video, as far as it is known
   * @param onChange called when other tokens are wanted
   */
  constructor(api: Api, secondsOf: () => number | undefined, onChange: () => void) {
    this.#api = api;
    this.#secondsOf = secondsOf;
    const soon = afterPause(250, () => void this.plan());
    for (const field of [this.#method, this.#tokens, this.#frames])
      field.addEventListener('input', () => {
        this.#describe();
        soon();
        onChange();
      });
  }

  /** Fills the fields for a model. */
  async use(model: Model): Promise<void> {
    const { asked, methods: all } = await this.#api.plan({}, { budgets: [ample] });
    this.#usual = asked.reduction;
    const possible = all.filter(({ own, budgets }) => [own, ...budgets].some((each) => 'tokens' in each));
    this.#method.replaceChildren(
      ...possible.map(({ reduction }) => {
        const isUsual = reduction === asked.reduction;
        return element(
          'option',
          { value: reduction, selected: isUsual },
          isUsual ? `${reduction} (default)` : reduction,
        );
      }),
    );
    this.#frames.step = this.#frames.min = String(model.longvlm.segmentFrames);
    this.#describe();
    await this.plan();
  }

  /** What is asked for; nothing where the defaults are. */
  get sampling(): Sampling {
    const method = this.#method.value;
    const [tokens, frames] = [this.#tokens, this.#frames].map((field) => field.valueAsNumber);
    return {
      ...(method !== this.#usual && { reduction: method }),
      ...(!this.#tokens.disabled && Number.isFinite(tokens) && { tokens: tokens! }),
      ...(Number.isFinite(frames) && { frames: frames! }),
    };
  }

  /** Asks the service how many tokens there will be, and shows it. */
  async plan(): Promise<void> {
    this.#asking.abort();
    this.#asking = new AbortController();
    const { signal } = this.#asking;
    try {
      this.#show(await this.#api.plan(this.sampling, { seconds: this.#secondsOf(), signal }));
    } catch (error) {
      if (!isAbort(error) && !signal.aborted) this.#refuse(sentenceOf(error));
    }
  }

  #refuse(sentence: string): void {
    setText(byId('plan-error'), sentence);
    setText(byId('plan-words'), '');
    setText(byId('budget-words'), 'These settings do not work');
    byId('meter-part').style.width = '0';
  }

  #describe(): void {
    const { value } = this.#method;
    // All of them is a number already.
    this.#tokens.disabled = value === 'all';
    setText(byId('method-words'), methods[value] ?? ofPaper);
  }

  #show({ asked: { reduction, own }, frames, patches, global, context }: TokenPlan): void {
    if ('problem' in own) {
      this.#refuse(`${own.problem}.`);
      return;
    }
    const { tokens } = own;
    if (context !== undefined && tokens >= context) {
      this.#refuse(
        `${counted(tokens, 'token')} do not fit into a context of ${withCommas(context)}. Give fewer tokens or frames.`,
      );
      return;
    }
    setText(byId('plan-error'), '');
    setText(
      byId('budget-words'),
      `The model gets ${counted(tokens, 'token')}${patches === undefined ? '' : ` of ${withCommas(patches)}`}, by ${reduction}`,
    );
    setText(
      byId('plan-words'),
      [
        ...(patches === undefined ? [] : [`${percent(tokens, patches)} of all patches`]),
        ...(frames === undefined ? [] : [counted(frames, 'frame')]),
        ...(global > 0 ? [counted(global, 'global token')] : []),
        ...(context === undefined ? [] : [`${percent(tokens, context)} of a context of ${withCommas(context)}`]),
      ].join(' · '),
    );
    if (this.#tokens.value === '') this.#tokens.placeholder = withCommas(tokens);
    if (this.#frames.value === '' && frames !== undefined) this.#frames.placeholder = withCommas(frames);
    byId('meter-part').style.width =
      `${Math.max(0.5, Math.min(100, (100 * tokens) / (context ?? patches ?? tokens)))}%`;
  }
}
