import { type VidCom2Options, vidCom2 } from '../kernels/index.js';
import { vidCom2Amount } from '../kernels/vidCom2.js';
import { gathering, tokensOf, type VideoMethod, videoKind } from './videoMethod.js';

const method: VideoMethod<VidCom2Options> = {
  name: 'vidcom2',
  options: [],
  gathers: true,
  least: ({ frames }) => [frames, `it keeps at least one of each of ${frames} frames or steps`],
  withTokens: (_, options, tokens) => ({ ...options, tokens }),
  count(video, options) {
    const { ratio, total } = vidCom2Amount(video, options);
    // By a ratio, each frame's share is rounded.
    return total ?? Math.min(tokensOf(video), Math.ceil(tokensOf(video) * ratio) + video.frames);
  },
  start: (video, options, signal) =>
    gathering(video, undefined, (tokens) => vidCom2(tokens, { ...options, ...(signal && { signal }) })),
  onDevice: (_, options) => (tokens, call) => vidCom2(tokens, { ...options, ...call }),
};

/** VidCom2: keeps what is least like its frame and the video, more of frames that are unlike it. Keeps exactly the budget. */
export const vidcom2 = videoKind(method);
