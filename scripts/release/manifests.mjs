// What is published, and how the packages depend on each other. Pure: from this repository's package.json to the others.

/** Where the addon runs, as package managers choose by; `onnxruntime` is the folder of its library in onnxruntime-node. */
export const platforms = {
  'linux-x64': { os: ['linux'], cpu: ['x64'], libc: ['glibc'], onnxruntime: 'linux/x64', llama: 'linux-x64' },
  'linux-arm64': { os: ['linux'], cpu: ['arm64'], libc: ['glibc'], onnxruntime: 'linux/arm64', llama: 'linux-arm64' },
  'linux-x64-musl': { os: ['linux'], cpu: ['x64'], libc: ['musl'] },
  'darwin-arm64': { os: ['darwin'], cpu: ['arm64'], onnxruntime: 'darwin/arm64', llama: 'mac-arm64-metal' },
  'darwin-x64': { os: ['darwin'], cpu: ['x64'], llama: 'mac-x64' },
  'win32-x64': { os: ['win32'], cpu: ['x64'], onnxruntime: 'win32/x64', llama: 'win-x64' },
};

/** What is needed to build the addon alone, or is taken from at packing. */
const notAtRunTime = ['cmake-js', 'node-addon-api', 'onnxruntime-node'];

export const nodeLlamaCpp = '@longvlm/node-llama-cpp';
export const kernels = '@longvlm/kernels';
export const addonOf = (platform) => `@longvlm/${platform}`;
export const onnxruntimeOf = (platform) => `@longvlm/onnxruntime-${platform}`;
/** llama.cpp for arm64: node-llama-cpp's own package for it says that it fits x64, too, and would be installed there. */
export const llamaArm64 = '@longvlm/llama-linux-arm64';

const each = (names, version) => Object.fromEntries(names.map((name) => [name, version]));
/** What a package has of os, cpu and libc. */
const fits = ({ os, cpu, libc }) => ({ os, cpu, ...(libc && { libc }) });
const shared = ({ version, license, engines }) => ({ version, license, engines });

/** Those of `released` that have a library of ONNX Runtime. */
export const withOnnxruntime = (released) => released.filter((name) => platforms[name].onnxruntime);

/**
 * The package `longvlm` as it is published: without scripts, so that an install runs none, and with a package for each
 * platform instead of what needs scripts.
 * @param own this repository's package.json
 * @param released names of platforms whose packages are published with it: a name that is in no registry breaks Yarn
 */
export function mainManifest(own, released) {
  const { scripts: _, devDependencies: _dev, optionalDependencies = {}, gypfile: _gyp, ...kept } = own;
  const dependencies = Object.fromEntries(
    Object.entries(own.dependencies)
      .filter(([name]) => !notAtRunTime.includes(name))
      .map(([name, range]) => [name, name === 'node-llama-cpp' ? `npm:${nodeLlamaCpp}@${range}` : range]),
  );
  return {
    ...kept,
    files: [...own.files.filter((path) => path !== 'binding.gyp'), 'scripts/binding.gyp'],
    dependencies,
    optionalDependencies: each(
      [...released.map(addonOf), ...withOnnxruntime(released).map(onnxruntimeOf)],
      own.version,
    ),
    // It downloads a program by a script at install, so it is installed on purpose.
    peerDependencies: { ...own.peerDependencies, 'ffmpeg-static': optionalDependencies['ffmpeg-static'] },
    peerDependenciesMeta: { ...own.peerDependenciesMeta, 'ffmpeg-static': { optional: true } },
    // llama.cpp and ffmpeg read the files in models/ by their paths.
    preferUnplugged: true,
  };
}

/** `longvlm/kernels` by itself. */
export function kernelsManifest(own, released) {
  return {
    name: kernels,
    description: 'The token-merging kernels of longvlm by themselves: the same module as longvlm/kernels.',
    ...shared(own),
    type: 'module',
    main: './dist/kernels/index.js',
    types: './dist/kernels/index.d.ts',
    exports: {
      '.': { types: './dist/kernels/index.d.ts', default: './dist/kernels/index.js' },
      './package.json': './package.json',
    },
    files: ['dist'],
    optionalDependencies: each(released.map(addonOf), own.version),
  };
}

export function addonManifest(own, platform) {
  return {
    name: addonOf(platform),
    description: `The native addon of longvlm for ${platform}.`,
    ...shared(own),
    ...fits(platforms[platform]),
    main: './longvlm.node',
    files: ['longvlm.node'],
    preferUnplugged: true,
  };
}

export function onnxruntimeManifest(own, platform, upstream) {
  return {
    name: onnxruntimeOf(platform),
    description: `The library of ONNX Runtime ${upstream.version} for longvlm on ${platform}, as in onnxruntime-node.`,
    ...shared(own),
    license: upstream.license,
    repository: upstream.repository,
    ...fits(platforms[platform]),
    files: ['*.so.1', '*.dylib', '*.dll', 'LICENSE'],
    preferUnplugged: true,
  };
}

/**
 * node-llama-cpp without its script, its command line, llama.cpp's sources and the builds for GPUs, which are installed on
 * purpose. The version is node-llama-cpp's: its files, and what longvlm checks, are.
 * @param imported the packages that its code imports
 */
export function nodeLlamaCppManifest(upstream, released, imported) {
  const { version, license, type, main, types, engines, repository, author } = upstream;
  const llama = released.map((name) => platforms[name].llama).filter(Boolean);
  return {
    name: nodeLlamaCpp,
    version,
    description: `node-llama-cpp ${version} as longvlm uses it: unchanged code, without its command line, install script and GPU builds.`,
    license,
    author,
    repository,
    type,
    main,
    types,
    engines,
    exports: { '.': upstream.exports['.'] },
    files: ['dist', 'llama', 'bins', 'LICENSE'],
    dependencies: Object.fromEntries(Object.entries(upstream.dependencies).filter(([name]) => imported.has(name))),
    optionalDependencies: Object.fromEntries(
      llama.map((name) => [
        `@node-llama-cpp/${name}`,
        name === 'linux-arm64' ? `npm:${llamaArm64}@${version}` : version,
      ]),
    ),
    preferUnplugged: true,
  };
}

/** @param upstream the manifest of @node-llama-cpp/linux-arm64 */
export function llamaArm64Manifest(upstream) {
  return {
    ...upstream,
    name: llamaArm64,
    description: `${upstream.name} ${upstream.version}, unchanged, for arm64 alone.`,
    cpu: ['arm64'],
  };
}

export function cudaManifest(own) {
  return {
    name: '@longvlm/cuda-linux-x64',
    description: 'The kernels of longvlm for NVIDIA GPUs, on Linux on x64. Installed on purpose.',
    ...shared(own),
    ...fits(platforms['linux-x64']),
    files: ['liblongvlm_cuda.so'],
    preferUnplugged: true,
  };
}
