import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { readVisionConfig } from '../../../dist/tower/clip/huggingFaceConfig.js';
import { openTower } from '../../../dist/tower/families.js';
import { visionFiles } from '../../../dist/tower/huggingFace/files.js';
import { frameGeometry } from '../../../dist/tower/pixels.js';
import { temporaryFolder } from '../../fixtures/vision/index.js';

const folder = await temporaryFolder();
let folders = 0;

async function read(config: unknown, preprocessor?: unknown, processor?: unknown) {
  const clip = join(folder, String(folders++));
  await mkdir(clip);
  await writeFile(join(clip, 'config.json'), typeof config === 'string' ? config : JSON.stringify(config));
  if (preprocessor) await writeFile(join(clip, 'preprocessor_config.json'), JSON.stringify(preprocessor));
  if (processor) await writeFile(join(clip, 'processor_config.json'), JSON.stringify(processor));
  return readVisionConfig(await visionFiles(clip));
}

const vision = { model_type: 'clip_vision_model' };

describe('readVisionConfig()', () => {
  test("takes Hugging Face's defaults for what is absent", async () => {
    expect(await read(vision)).toEqual({
      channels: 768,
      intermediateSize: 3072,
      layers: 12,
      heads: 12,
      imageSize: 224,
      patchSize: 32,
      patches: 49,
      patchLayers: [11],
      keepsClassToken: false,
      activation: 'quick_gelu',
      layerNormEpsilon: 1e-5,
      mean: [0.48145466, 0.4578275, 0.40821073],
      std: [0.26862954, 0.26130258, 0.27577711],
      rescale: 1 / 255,
      resize: 'crop',
      shortestEdge: 224,
    });
  });

  test('takes null for absent', async () => {
    const config = { hidden_size: null, hidden_act: null, num_channels: null, layer_norm_eps: null };
    const preprocessor = {
      size: null,
      crop_size: { height: null },
      do_rescale: null,
      image_mean: null,
      resample: null,
    };
    expect(await read({ ...vision, ...config }, preprocessor)).toEqual(await read(vision));
  });

  test('reads the vision half of a whole CLIP', async () => {
    const half = { hidden_size: 1024, num_attention_heads: 16, image_size: 336, patch_size: 14, hidden_act: 'gelu' };
    expect(await read({ model_type: 'clip', hidden_size: 5, vision_config: half })).toMatchObject({
      channels: 1024,
      heads: 16,
      patches: 576,
      activation: 'gelu',
      shortestEdge: 336,
    });
  });

  test.each([
    ['integers', { size: 256, crop_size: 224 }, { resize: 'crop', shortestEdge: 256 }],
    [
      'objects',
      { size: { shortest_edge: 256 }, crop_size: { height: 224, width: 224 } },
      { resize: 'crop', shortestEdge: 256 },
    ],
    [
      'a squash',
      { size: { height: 224, width: 224 }, do_center_crop: false },
      { resize: 'squash', filter: 'bicubic', shortestEdge: 224 },
    ],
    ['a squash as one number', { size: 224, default_to_square: true }, { resize: 'squash', shortestEdge: 224 }],
    ["SigLIP's", { image_processor_type: 'SiglipImageProcessorFast' }, { resize: 'squash', mean: [0.5, 0.5, 0.5] }],
    ["LLaVA-NeXT's whole picture", { image_processor_type: 'LlavaNextImageProcessor' }, { resize: 'squash' }],
    ['padding', { image_processor_type: 'LlavaImageProcessor', do_pad: true }, { resize: 'pad', shortestEdge: 224 }],
    ['padding to the largest of a batch', { do_pad: true }, { resize: 'crop' }],
    ["the name of CLIP's first version", { feature_extractor_type: 'CLIPFeatureExtractor' }, { resize: 'crop' }],
    ['nulls beside a size', { size: { shortest_edge: 224, height: null, longest_edge: null } }, { shortestEdge: 224 }],
    [
      'no normalisation',
      { do_normalize: false, image_mean: [9, 9, 9] },
      { mean: [0, 0, 0], std: [1, 1, 1], rescale: 1 / 255 },
    ],
    ['no rescaling', { do_rescale: false }, { rescale: 1 }],
    [
      'nonsense in what is switched off',
      {
        do_normalize: false,
        image_std: 'none',
        do_rescale: false,
        rescale_factor: 0,
        do_center_crop: false,
        crop_size: 0,
        size: { height: 224, width: 224 },
      },
      { std: [1, 1, 1], rescale: 1, shortestEdge: 224 },
    ],
    ['other pixels', { image_mean: [0.5, 0.4, 0.3], image_std: [1, 2, 3] }, { mean: [0.5, 0.4, 0.3], std: [1, 2, 3] }],
  ])('reads a preprocessor with %s', async (_, preprocessor, expected) => {
    expect(await read(vision, preprocessor)).toMatchObject(expected);
  });

  test('reads the image processor of transformers 5 before the file of its own', async () => {
    const own = { image_mean: [0.1, 0.2, 0.3] };
    const nested = { image_mean: [0.4, 0.5, 0.6] };
    expect(await read(vision, own, { image_processor: nested })).toMatchObject({ mean: nested.image_mean });
    expect(await read(vision, undefined, { image_processor: nested })).toMatchObject({ mean: nested.image_mean });
    expect(await read(vision, own, { processor_class: 'CLIPProcessor' })).toMatchObject({ mean: own.image_mean });
    expect(await read(vision, own, { image_processor: null })).toMatchObject({ mean: own.image_mean });
    await expect(read(vision, own, { image_processor: [] })).rejects.toThrow(
      /\/processor_config\.json: Expected object for image_processor but received an instance of Array/,
    );
    await expect(read(vision, own, { image_processor: { size: { shortest_edge: '7' } } })).rejects.toThrow(
      /for image_processor\.size\.shortest_edge but received '7'/,
    );
  });

  test.each([
    [
      'SigLIP',
      { model_type: 'siglip_vision_model' },
      undefined,
      /config\.json: Expected one of clip_vision_model, clip, llava, llava_next, vipllava for model_type but received 'siglip_vision_model' of type string\. Give a CLIP/,
    ],
    ['no model type', {}, undefined, /for model_type but received undefined\. Give a CLIP/],
    [
      'a CLIP without a vision half',
      { model_type: 'clip', vision_config: [] },
      undefined,
      /Expected object for vision_config but received an instance of Array\. Give a CLIP/,
    ],
    [
      'a LLaVA with another tower',
      { model_type: 'llava', vision_config: { model_type: 'siglip_vision_model' } },
      undefined,
      /Expected clip_vision_model for vision_config\.model_type but received 'siglip_vision_model' of type string/,
    ],
    [
      'a LLaVA whose tower is of no type',
      { model_type: 'llava', vision_config: {} },
      undefined,
      /Expected clip_vision_model for vision_config\.model_type but received undefined/,
    ],
    [
      'another activation',
      { ...vision, hidden_act: 'prelu' },
      undefined,
      /config\.json: Expected one of quick_gelu, gelu, .*linear for hidden_act but received 'prelu' of type string\. Other values are not supported: use another tower\./,
    ],
    [
      'an activation that is no name',
      { model_type: 'clip', vision_config: { hidden_act: 5 } },
      undefined,
      /for vision_config\.hidden_act but received 5 of type number/,
    ],
    [
      'grey pictures',
      { ...vision, num_channels: 1 },
      undefined,
      /Expected 3 for num_channels but received 1 of type number/,
    ],
    [
      'another filter',
      vision,
      { resample: 2 },
      /preprocessor_config\.json: Expected 3 \(bicubic\) for resample but received 2 of type number/,
    ],
    ['frames as they are', vision, { do_resize: false }, /do_resize false leaves frames in their own size/],
    [
      'another processor',
      vision,
      { image_processor_type: 'ViTImageProcessor' },
      /an image processor of type 'ViTImageProcessor' is not supported/,
    ],
    ['frames that are not square', vision, { do_center_crop: false }, /leaves frames that are not square/],
    ['a longest edge', vision, { size: { longest_edge: 224 } }, /size\.longest_edge is not supported/],
    ['a limit of height', vision, { size: { max_height: 224, max_width: 224 } }, /size\.max_height is not supported/],
    [
      'pictures framed in black',
      vision,
      { size: 200 },
      /crop_size 224 is above size 200, which frames pictures in black/,
    ],
    [
      'a crop of what is squashed',
      vision,
      { size: { height: 256, width: 256 } },
      /crop_size 224 of pictures that are made square with size 256/,
    ],
    ['padding to a size', vision, { do_pad: true, pad_size: 300 }, /pad_size is not supported/],
    [
      'padding without a mean',
      { model_type: 'llava', vision_config: vision },
      { do_pad: true, do_normalize: false },
      /do_pad without do_normalize/,
    ],
    ['a size of its own class', vision, { use_square_size: true }, /use_square_size is not supported/],
  ])('refuses %s as unsupported', async (_, config, preprocessor, message) => {
    await expect(read(config, preprocessor)).rejects.toMatchObject({ code: 'ERR_LONGVLM_UNSUPPORTED', message });
  });

  test.each([
    ['no JSON', '{', undefined, /config\.json: it holds no JSON object .*\. Correct the file or download it again\./],
    ['a list', '[]', undefined, /it holds no JSON object \(Expected object for it but received an instance of Array\)/],
    [
      'a size that is no size',
      { ...vision, hidden_size: '768' },
      undefined,
      /Expected positive integer for hidden_size but received '768' of type string\. Correct the file or download it again\./,
    ],
    [
      'a size in the vision half',
      { model_type: 'clip', vision_config: { patch_size: 0 } },
      undefined,
      /Expected positive integer for vision_config\.patch_size but received 0 of type number/,
    ],
    [
      'an infinite number',
      '{"model_type":"clip_vision_model","layer_norm_eps":1e999}',
      undefined,
      /Expected positive number for layer_norm_eps but received Infinity/,
    ],
    [
      'an epsilon that leaves nothing',
      { ...vision, layer_norm_eps: 1e30 },
      undefined,
      /Expected positive number of at most 1 for layer_norm_eps but received 1e\+30/,
    ],
    ['a part of a layer', { ...vision, num_hidden_layers: 2.5 }, undefined, /for num_hidden_layers but received 2\.5/],
    [
      'a size of two kinds',
      vision,
      { size: { shortest_edge: 224, height: 224 } },
      /size names a shortest edge, and height or width, too/,
    ],
    [
      'heads that do not divide the vision half',
      { model_type: 'clip', vision_config: { num_attention_heads: 7 } },
      undefined,
      /vision_config\.hidden_size 768 is no multiple of vision_config\.num_attention_heads 7/,
    ],
    [
      'heads that do not divide',
      { ...vision, num_attention_heads: 7 },
      undefined,
      /hidden_size 768 is no multiple of num_attention_heads 7/,
    ],
    ['patches above the picture', { ...vision, patch_size: 225 }, undefined, /patch_size 225 is above image_size 224/],
    [
      'two means',
      vision,
      { image_mean: [1, 2] },
      /preprocessor_config\.json: Expected finite number for image_mean\[2\] but received undefined/,
    ],
    ['four means', vision, { image_mean: [1, 2, 3, 4] }, /Expected nothing for image_mean\[3\] but received 4/],
    [
      'a mean that is none',
      vision,
      { image_mean: [1, '2', 3] },
      /Expected finite number for image_mean\[1\] but received '2'/,
    ],
    [
      'a switch that is none',
      vision,
      { do_rescale: 1 },
      /Expected boolean for do_rescale but received 1 of type number/,
    ],
    ['a factor of 0', vision, { rescale_factor: 0 }, /Expected positive number for rescale_factor but received 0/],
    [
      'a list of sizes',
      vision,
      { size: [224, 224] },
      /Expected positive integer for size but received an instance of Array/,
    ],
    [
      'a nested size of another type',
      vision,
      { crop_size: { height: '224', width: 224 } },
      /Expected positive integer for crop_size\.height but received '224' of type string/,
    ],
    [
      'other pictures than the tower takes',
      vision,
      { crop_size: 336 },
      /it makes pictures of 336 pixels, where the tower of config\.json takes 224/,
    ],
    ['an oblong crop', vision, { crop_size: { height: 224, width: 200 } }, /crop_size 200x224 is not square/],
    [
      'a nested size that is none',
      vision,
      { size: { shortest_edge: 0 } },
      /Expected positive integer for size\.shortest_edge but received 0 of type number/,
    ],
  ])('refuses %s as damaged', async (_, config, preprocessor, message) => {
    await expect(read(config, preprocessor)).rejects.toMatchObject({ code: 'ERR_LONGVLM_WEIGHTS', message });
  });

  test('names what is missing', async () => {
    const empty = join(folder, 'empty');
    await mkdir(empty);
    await expect(visionFiles(join(folder, 'none'))).rejects.toMatchObject({
      code: 'ERR_LONGVLM_FILE',
      message: expect.stringMatching(/none does not exist/),
    });
    await expect(visionFiles(empty).then(readVisionConfig)).rejects.toMatchObject({
      code: 'ERR_LONGVLM_FILE',
      message: `${join(empty, 'config.json')} does not exist. Check the path and its permissions.`,
    });
    await expect(openTower(empty)).rejects.toMatchObject({
      code: 'ERR_LONGVLM_FILE',
      message: expect.stringMatching(/empty holds none of model\.safetensors, .*pytorch_model\.bin/),
    });
    await writeFile(join(empty, 'model.bin'), '');
    await expect(openTower(join(empty, 'model.bin'))).rejects.toMatchObject({
      code: 'ERR_LONGVLM_WEIGHTS',
      message: expect.stringMatching(/model\.bin: It is an empty file\. Download/),
    });
  });
});

describe('frameGeometry()', () => {
  test("gives the model's own way, or another", async () => {
    const config = await read(vision, { size: 256, crop_size: 224 });
    const geometry = { size: 224, shortestEdge: 256, padColor: [122, 116, 104] };
    expect(frameGeometry(config)).toEqual({ resize: 'crop', ...geometry });
    expect(frameGeometry(config, 'pad')).toEqual({ resize: 'pad', ...geometry });
    expect(() => frameGeometry(config, 'stretch' as 'pad')).toThrow(
      "Expected one of crop, squash, pad for resize but received 'stretch'",
    );
  });
});
