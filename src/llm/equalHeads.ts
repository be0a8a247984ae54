/**
 * Architectures for which llama.cpp ends the process (GGML_ASSERT) unless keys and values of a head are of one length. The others
 * are those with several lengths by design, such as DeepSeek's, and some that do not ask.
 */
export const equalHeads: ReadonlySet<string> = new Set([
  ...['afmoe', 'apertus', 'arcee', 'arctic', 'baichuan', 'bailingmoe2', 'bitnet', 'bloom', 'chameleon', 'chatglm'],
  ...['codeshell', 'cogvlm', 'cohere2', 'cohere2moe', 'command-r', 'dbrx', 'deci', 'deepseek', 'dots1', 'ernie4_5'],
  ...['ernie4_5-moe', 'exaone', 'exaone-moe', 'exaone4', 'falcon', 'glm4', 'glm4moe', 'gpt2', 'gptneox', 'granite'],
  ...[
    'granite_swa',
    'granitehybrid',
    'granitemoe',
    'graniteswitch',
    'grok',
    'grovemoe',
    'hunyuan-dense',
    'hunyuan-moe',
  ],
  ...['hunyuan_vl', 'hy_v3', 'internlm2', 'jais', 'jais2', 'laguna', 'llama', 'llama4', 'maincoder', 'maple', 'mellum'],
  ...[
    'minimax-01',
    'minimax-m2',
    'minimax-m3',
    'mistral3',
    'mpt',
    'muse-glimmer',
    'nanbeige',
    'nemotron',
    'nemotron_h',
  ],
  ...[
    'nemotron_h_moe',
    'olmo',
    'olmo2',
    'olmoe',
    'openelm',
    'orion',
    'pangu-embedded',
    'phi2',
    'phi3',
    'phimoe',
    'plamo',
  ],
  ...['qwen', 'qwen2', 'qwen2moe', 'qwen2vl', 'qwen3', 'qwen3moe', 'qwen3next', 'qwen3vl', 'qwen3vlmoe', 'refact'],
  ...['seed_oss', 'smallthinker', 'smollm3', 'spark2_5', 'stablelm', 'starcoder', 'starcoder2', 'talkie', 'xverse'],
]);
