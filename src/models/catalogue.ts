// The catalogue of models by name: their files, and the settings they were trained with.
import { fileURLToPath } from 'node:url';
import { onDisk } from '../base/onDisk.js';
import { defaultSampling } from '../encode/sampling.js';
import { type ModelUse, readPreset } from './preset.js';

/** A model of the catalogue. */
export type KnownModel = {
  readonly name: string;
  readonly description: string;
  readonly license: string;
  /** Approximate download size in bytes; `0` for a model in this package. */
  readonly bytes: number;
  /** @throws LongVLMError `ERR_LONGVLM_PRESET` for a model in this package whose files are incomplete */
  readonly options: ModelUse;
};

/** The model that is loaded if none is named. */
export const defaultModel = 'nano';

// `models` is next to both `src` and `dist`, so this path also works after compilation.
const nanoFolder = onDisk(fileURLToPath(new URL('../../models/nano', import.meta.url)));

const { frames, segmentFrames, tokensPerSegment, globalLayers } = defaultSampling;

// LLaVA's preprocessing pads frames to a square; BakLLaVA was trained with LLaVA's code and prompt. None of them was trained on
// videos: sampling and merging are the paper's.
const llava = {
  resize: 'pad',
  template: 'vicuna_v1_1',
  frames,
  segmentFrames,
  tokensPerSegment,
  globalLayers,
} as const satisfies Partial<ModelUse>;

// As these models were trained: nothing reduced unless a budget is given, and the prompt of the tower's own.
const withTimes = { fps: 1, maxFrames: 64, segmentFrames: 4, tokens: 'all' } as const satisfies Partial<ModelUse>;
const numbered = { frames: 16, segmentFrames: 4, tokens: 'all' } as const satisfies Partial<ModelUse>;
// Frames of any size are many tokens.
const inPairs = { frames: 64, segmentFrames: 8, tokens: 4096 } as const satisfies Partial<ModelUse>;

/** The models of the catalogue. Sizes and licences are those on the hub. */
export const catalogue: readonly KnownModel[] = [
  {
    name: 'nano',
    description: 'the embedded model, for one small made-up world',
    license: 'mit',
    bytes: 0,
    // Read on demand: help and lists need no files.
    get options() {
      return readPreset('nano', nanoFolder, 'Name vision, projector and llm, or install a longvlm that has it.');
    },
  },
  {
    name: 'llava-1.5-7b',
    description: 'LLaVA-1.5 on Vicuna 7B, 4 bits',
    license: 'llama2',
    bytes: 4.7e9,
    options: {
      llm: 'hf:second-state/Llava-v1.5-7B-GGUF/llava-v1.5-7b-Q4_K_M.gguf',
      projector: 'hf:second-state/Llava-v1.5-7B-GGUF/llava-v1.5-7b-mmproj-model-f16.gguf',
      ...llava,
    },
  },
  {
    name: 'llava-1.5-13b',
    description: 'LLaVA-1.5 on Vicuna 13B, 4 bits',
    license: 'llama2',
    bytes: 8.0e9,
    options: {
      llm: 'hf:PsiPi/liuhaotian_llava-v1.5-13b-GGUF/llava-v1.5-13b-Q4_0.gguf',
      projector: 'hf:PsiPi/liuhaotian_llava-v1.5-13b-GGUF/mmproj-model-f16.gguf',
      ...llava,
    },
  },
  {
    name: 'llava-1.6-vicuna-7b',
    description: 'LLaVA-1.6 on Vicuna 7B, 4 bits',
    license: 'llama2',
    bytes: 4.7e9,
    options: {
      llm: 'hf:second-state/Llava-v1.6-Vicuna-7B-GGUF/llava-v1.6-vicuna-7b-Q4_K_M.gguf',
      projector: 'hf:second-state/Llava-v1.6-Vicuna-7B-GGUF/llava-v1.6-vicuna-7b-mmproj-model-f16.gguf',
      ...llava,
    },
  },
  {
    name: 'sharegpt4v-7b',
    description: 'ShareGPT4V on Vicuna 7B, 5 bits',
    license: 'llama2',
    bytes: 5.4e9,
    options: {
      llm: 'hf:nakodanei/ShareGPT4V-7B_GGUF/ShareGPT4V-7B_Q5_K_M.gguf',
      projector: 'hf:nakodanei/ShareGPT4V-7B_GGUF/mmproj-model-f16.gguf',
      ...llava,
    },
  },
  {
    name: 'bakllava-1',
    description: 'BakLLaVA on Mistral 7B, 4 bits',
    license: 'apache-2.0',
    bytes: 5.0e9,
    options: {
      llm: 'hf:abetlen/BakLLaVA-1-GGUF/bakllava-1.Q4_K.gguf',
      projector: 'hf:abetlen/BakLLaVA-1-GGUF/mmproj-model-f16.gguf',
      ...llava,
    },
  },
  {
    name: 'smolvlm2-500m',
    description: 'SmolVLM2 500M, trained on videos, 8 bits',
    license: 'apache-2.0',
    bytes: 0.64e9,
    options: {
      llm: 'hf:ggml-org/SmolVLM2-500M-Video-Instruct-GGUF/SmolVLM2-500M-Video-Instruct-Q8_0.gguf',
      projector: 'hf:ggml-org/SmolVLM2-500M-Video-Instruct-GGUF/mmproj-SmolVLM2-500M-Video-Instruct-f16.gguf',
      ...withTimes,
    },
  },
  {
    name: 'smolvlm2-2.2b',
    description: 'SmolVLM2 2.2B, trained on videos, 4 bits',
    license: 'apache-2.0',
    bytes: 2.0e9,
    options: {
      llm: 'hf:ggml-org/SmolVLM2-2.2B-Instruct-GGUF/SmolVLM2-2.2B-Instruct-Q4_K_M.gguf',
      projector: 'hf:ggml-org/SmolVLM2-2.2B-Instruct-GGUF/mmproj-SmolVLM2-2.2B-Instruct-f16.gguf',
      ...withTimes,
    },
  },
  {
    name: 'internvl3.5-1b',
    description: 'InternVL3.5 1B on Qwen3, 4 bits',
    license: 'apache-2.0',
    bytes: 1.1e9,
    options: {
      llm: 'hf:bartowski/OpenGVLab_InternVL3_5-1B-GGUF:Q4_K_M',
      projector: 'hf:bartowski/OpenGVLab_InternVL3_5-1B-GGUF/mmproj-OpenGVLab_InternVL3_5-1B-f16.gguf',
      ...numbered,
    },
  },
  {
    name: 'internvl3.5-2b',
    description: 'InternVL3.5 2B on Qwen3, 4 bits',
    license: 'apache-2.0',
    bytes: 1.9e9,
    options: {
      llm: 'hf:bartowski/OpenGVLab_InternVL3_5-2B-GGUF/OpenGVLab_InternVL3_5-2B-Q4_K_M.gguf',
      projector: 'hf:bartowski/OpenGVLab_InternVL3_5-2B-GGUF/mmproj-OpenGVLab_InternVL3_5-2B-f16.gguf',
      ...numbered,
    },
  },
  {
    name: 'qwen3-vl-2b',
    description: 'Qwen3-VL 2B, trained on long videos with times, 4 bits',
    license: 'apache-2.0',
    bytes: 1.9e9,
    options: {
      llm: 'hf:Qwen/Qwen3-VL-2B-Instruct-GGUF/Qwen3VL-2B-Instruct-Q4_K_M.gguf',
      projector: 'hf:Qwen/Qwen3-VL-2B-Instruct-GGUF/mmproj-Qwen3VL-2B-Instruct-F16.gguf',
      ...inPairs,
    },
  },
  {
    name: 'qwen3-vl-4b',
    description: 'Qwen3-VL 4B, trained on long videos with times, 4 bits',
    license: 'apache-2.0',
    bytes: 3.3e9,
    options: {
      llm: 'hf:Qwen/Qwen3-VL-4B-Instruct-GGUF/Qwen3VL-4B-Instruct-Q4_K_M.gguf',
      projector: 'hf:Qwen/Qwen3-VL-4B-Instruct-GGUF/mmproj-Qwen3VL-4B-Instruct-F16.gguf',
      ...inPairs,
    },
  },
];

/** The model with that name. @throws RangeError if there is none */
export function knownModel(name: string): KnownModel {
  const known = catalogue.find((model) => model.name === name);
  if (known) return known;
  const names = catalogue.map((model) => model.name).join(', ');
  throw new RangeError(`Expected ${names} for model but received ${JSON.stringify(name)}`);
}
