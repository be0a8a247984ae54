import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { readVisionConfig, visionFiles } from '../../../dist/tower/clip/huggingFaceConfig.js';
import { openTower } from '../../../dist/tower/families.js';
import { frameGeometry } from '../../../dist/tower/pixels.js';
import { temporaryFolder } from '../../fixtures/vision/index.js';

const folder = await temporaryFolder();
let folders = 0;

async function read(config: unknown, preprocessor?: unknown) {
  const clip = join(folder, String(folders++));
  await mkdir(clip);
  await writeFile(join(clip, 'config.json'), typeof config === 'string' ? config : JSON.stringify(config));
  if (preprocessor) await writeFile(join(clip, 'preprocessor_config.json'), JSON.stringify(preprocessor));
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
      patchLayer: 11,
      activation: 'quick_gelu',
      layerNormEpsilon: 1e-5,
      mean: [0.48145466, 0.4578275, 0.40821073],
      std: [0.26862954, 0.26130258, 0.27577711],
      rescale: 1 / 255,
      resize: 'crop',
      shortestEdge: 224,
    });
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
    ['a squash', { size: { height: 224, width: 224 }, do_center_crop: false }, { resize: 'squash', shortestEdge: 224 }],
    [
      'no normalisation',
      { do_normalize: false, image_mean: [9, 9, 9] },
      { mean: [0, 0, 0], std: [1, 1, 1], rescale: 1 / 255 },
    ],
    ['no rescaling', { do_rescale: false }, { rescale: 1 }],
    ['other pixels', { image_mean: [0.5, 0.4, 0.3], image_std: [1, 2, 3] }, { mean: [0.5, 0.4, 0.3], std: [1, 2, 3] }],
  ])('reads a preprocessor with %s', async (_, preprocessor, expected) => {
    expect(await read(vision, preprocessor)).toMatchObject(expected);
  });

  test.each([
    [
      'SigLIP',
      { model_type: 'siglip_vision_model' },
      undefined,
      /config\.json: model_type "siglip_vision_model" is not supported\. Give a CLIP/,
    ],
    ['no model type', {}, undefined, /model_type undefined is not supported/],
    [
      'another activation',
      { ...vision, hidden_act: 'relu' },
      undefined,
      /hidden_act "relu" is not supported\. Use a tower with quick_gelu or gelu/,
    ],
    ['grey pictures', { ...vision, num_channels: 1 }, undefined, /num_channels 1 is not supported/],
    ['another filter', vision, { resample: 2 }, /preprocessor_config\.json: resample 2 is not supported/],
  ])('refuses %s as unsupported', async (_, config, preprocessor, message) => {
    await expect(read(config, preprocessor)).rejects.toMatchObject({ code: 'ERR_LONGVLM_UNSUPPORTED', message });
  });

  test.each([
    ['no JSON', '{', undefined, /config\.json: it holds no JSON object/],
    [
      'a size that is no size',
      { ...vision, hidden_size: '768' },
      undefined,
      /hidden_size is "768" where a positive integer is needed/,
    ],
    [
      'heads that do not divide',
      { ...vision, num_attention_heads: 7 },
      undefined,
      /hidden_size 768 is no multiple of num_attention_heads 7/,
    ],
    ['patches above the picture', { ...vision, patch_size: 225 }, undefined, /patch_size 225 is above image_size 224/],
    ['two means', vision, { image_mean: [1, 2] }, /image_mean is \[1,2\] where three numbers is needed/],
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
      /size\.shortest_edge is 0 where a positive integer is needed/,
    ],
  ])('refuses %s as damaged', async (_, config, preprocessor, message) => {
    await expect(read(config, preprocessor)).rejects.toMatchObject({ code: 'ERR_LONGVLM_WEIGHTS', message });
  });

  test('names what is missing', async () => {
    const empty = join(folder, 'empty');
    await mkdir(empty);
    await expect(visionFiles(join(folder, 'none'))).rejects.toMatchObject({
      code: 'ERR_LONGVLM_FILE',
      message: /none does not exist/,
    });
    await expect(visionFiles(empty).then(readVisionConfig)).rejects.toMatchObject({
      code: 'ERR_LONGVLM_FILE',
      message: `${join(empty, 'config.json')} does not exist. Check the path and its permissions.`,
    });
    await expect(openTower(empty)).rejects.toMatchObject({
      code: 'ERR_LONGVLM_FILE',
      message: /empty holds none of model\.safetensors, .*pytorch_model\.bin/,
    });
    await writeFile(join(empty, 'model.bin'), '');
    await expect(openTower(join(empty, 'model.bin'))).rejects.toMatchObject({
      code: 'ERR_LONGVLM_WEIGHTS',
      message: /model\.bin: of no kind of weights that can be read/,
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
