// The worker thread of a Projector.
import type { OnnxModel } from '../onnx/graphBuilder.js';
import { Session, type SessionOptions } from '../onnx/session.js';
import { serveWorker } from '../onnx/workerServer.js';
import { type Float32Tensor, float32Tensor } from '../tensor.js';

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
