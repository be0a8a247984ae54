// The worker thread of a Projector.

import { type Float32Tensor, float32Tensor } from '../base/tensor.js';
import type { OnnxModel } from '../compute/graphBuilder.js';
import { Session, type SessionOptions } from '../compute/ortSession.js';
import { serveWorker } from '../compute/workerServer.js';

export type ProjectorWorkerData = {
  readonly model: OnnxModel;
  readonly session: SessionOptions;
  readonly outChannels: number;
};

await serveWorker(async ({ model, session: options, outChannels }: ProjectorWorkerData) => {
  const session = await Session.create(model, options);
  return {
    handlers: {
      project: async (features: Float32Tensor) => {
        const tokens = features.dims[0]!;
        const data = new Float32Array(tokens * outChannels);
        const embeddings = float32Tensor(data, [tokens, outChannels]);
        await session.run({ features }, { embeddings });
        return { value: embeddings, transfer: [data.buffer] };
      },
    },
    info: session.device,
    close: () => session.release(),
  };
});
