// Runs a chat template in a process of its own.
import { fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { listen } from '../../base/abort.js';
import { checkDescriptors, descriptorCause } from '../../base/descriptors.js';
import { LongVLMError, messageOf } from '../../base/errors.js';
import { processRemedy } from '../../base/processes.js';
import type { Rendered, RenderJob } from './renderer.js';

// Far more than the templates of known models need: a conversation takes them some hundred steps, and they make some thousand
// characters. Steps are counted over all conversations.
const limits = { steps: 300_000, characters: 1 << 18, milliseconds: 5000 };
const maxMemoryMiB = 128;
// Beside the template's own time: for the process to start on a busy machine.
const patienceMs = 20_000;

/**
 * Renders conversations. A template that breaks its process, or takes too long, is a problem of each conversation.
 * @throws LongVLMError `ERR_LONGVLM_LLM` if no process can be started; `signal.reason`
 */
export async function renderConversations(
  job: Omit<RenderJob, 'limits'>,
  signal: AbortSignal | undefined,
): Promise<readonly Rendered[]> {
  signal?.throwIfAborted();
  const failed = (problem: string) => job.conversations.map(() => ({ problem }));
  const { NODE_OPTIONS: _, NODE_V8_COVERAGE: __, ...env } = process.env;
  let end = () => {};
  try {
    checkDescriptors();
    return await new Promise<readonly Rendered[]>((resolve, reject) => {
      const child = fork(fileURLToPath(new URL('./renderer.js', import.meta.url)), [], {
        execArgv: [`--max-old-space-size=${maxMemoryMiB}`],
        stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
        env,
      });
      const timer = setTimeout(() => resolve(failed('it takes too long')), limits.milliseconds + patienceMs);
      const unlink = listen(signal, () => reject(signal!.reason));
      end = () => {
        clearTimeout(timer);
        unlink();
        child.kill('SIGKILL');
      };
      child.once('error', (error) => reject(cannotStart(error)));
      child.once('message', (rendered) => resolve(rendered as readonly Rendered[]));
      child.once('exit', () => resolve(failed('it takes too much memory')));
      child.send({ ...job, limits } satisfies RenderJob, (error) => {
        if (error) child.kill('SIGKILL');
      });
    });
  } catch (error) {
    if (error instanceof LongVLMError || signal?.aborted) throw error;
    throw cannotStart(error);
  } finally {
    end();
  }
}

function cannotStart(error: unknown): LongVLMError {
  const [cause, remedy] = descriptorCause(error) ?? [messageOf(error), processRemedy];
  return new LongVLMError(
    'ERR_LONGVLM_LLM',
    `No process can be started for the model's chat template: ${cause}. ${remedy}`,
    { cause: error },
  );
}
