// Asks two questions about a video, with streamed answers. The video is decoded, encoded and evaluated once.
//
//   LONGVLM_VISION=clip/ LONGVLM_PROJECTOR=mm_projector.safetensors LONGVLM_LLM=vicuna.gguf node examples/ask.mjs talk.mp4
import { LongVLM } from 'longvlm';

const { LONGVLM_VISION: vision, LONGVLM_PROJECTOR: projector, LONGVLM_LLM: llm } = process.env;
const vlm = await LongVLM.load({ vision, projector, llm });
try {
  const chat = await vlm.chat(process.argv[2], {
    onProgress: ({ stage, done, total, unit }) => console.error(`${stage}: ${done} of ${total} ${unit}`),
  });
  for (const question of ['What happens in this video?', 'And at the end?']) {
    console.log(`\n> ${question}`);
    for await (const text of chat.stream(question, { maxTokens: 64 })) process.stdout.write(text);
  }
} finally {
  await vlm.dispose();
}
