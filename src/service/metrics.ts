// What the service counts, for Prometheus.
import { Counter, Gauge, Histogram, Registry } from 'prom-client';
import type { LaneScheduler } from '../jobs/laneScheduler.js';
import type { Answered } from './answering.js';
import type { KeptChats } from './keptChats.js';

/** The counts of one service. */
export class Metrics {
  readonly #registry = new Registry();
  readonly #requests: Counter<'route' | 'status'>;
  readonly #seconds: Histogram<'route'>;
  readonly #tokens: Counter<'kind'>;
  readonly #firstToken: Histogram;
  readonly #contexts: Counter<'from'>;

  constructor(scheduler: LaneScheduler, kept: KeptChats) {
    const registers = [this.#registry];
    this.#requests = new Counter({
      name: 'longvlm_requests_total',
      help: 'Requests that were answered, by route and HTTP status.',
      labelNames: ['route', 'status'],
      registers,
    });
    this.#seconds = new Histogram({
      name: 'longvlm_request_seconds',
      help: 'Time from a request to the end of its answer.',
      labelNames: ['route'],
      buckets: [0.01, 0.1, 0.5, 1, 2, 5, 10, 30, 60, 300, 1800],
      registers,
    });
    this.#tokens = new Counter({
      name: 'longvlm_tokens_total',
      help: 'Tokens of prompts, those of them that a kept context had (cached), and of answers.',
      labelNames: ['kind'],
      registers,
    });
    this.#firstToken = new Histogram({
      name: 'longvlm_first_token_seconds',
      help: 'Time from a question to the first token of its answer, without the video.',
      buckets: [0.01, 0.05, 0.1, 0.5, 1, 2, 5, 10, 30],
      registers,
    });
    const gauge = (name: 'running' | 'waiting', help: string) =>
      new Gauge({
        ...{ name: `longvlm_${name}`, help, labelNames: ['lane'], registers },
        collect() {
          for (const [lane, load] of Object.entries(scheduler.load)) this.set({ lane }, load[name]);
        },
      });
    gauge('running', 'Work that goes on, by lane.');
    gauge('waiting', 'Work that waits, by lane.');
    this.#contexts = new Counter({
      name: 'longvlm_contexts_total',
      help: 'Contexts of answers: kept from a turn before, or new.',
      labelNames: ['from'],
      registers,
    });
    const ofKept = (name: string, help: string, value: () => number) =>
      new Gauge({
        ...{ name, help, registers },
        collect() {
          this.set(value());
        },
      });
    ofKept('longvlm_kept_contexts', 'Contexts that wait for the next turn of their conversations.', () => kept.count);
    ofKept('longvlm_kept_contexts_bytes', 'Their memory.', () => kept.bytes);
    new Gauge({
      ...{ name: 'longvlm_resident_memory_bytes', help: 'Memory of the process.', registers },
      collect() {
        this.set(process.memoryUsage.rss());
      },
    });
  }

  onResponse(route: string, status: number, ms: number): void {
    this.#requests.inc({ route, status: String(status) });
    this.#seconds.observe({ route }, ms / 1000);
  }

  onAnswered({ answer, promptTokens, cachedTokens }: Answered): void {
    this.#contexts.inc({ from: cachedTokens > 0 ? 'kept' : 'new' });
    this.#tokens.inc({ kind: 'cached' }, cachedTokens);
    this.#tokens.inc({ kind: 'prompt' }, promptTokens);
    this.#tokens.inc({ kind: 'answer' }, answer.tokenIds.length);
    this.#firstToken.observe(answer.timings.firstToken / 1000);
  }

  get type(): string {
    return this.#registry.contentType;
  }

  text(): Promise<string> {
    return this.#registry.metrics();
  }
}
