// Who may import whom in src/: two tables, and the rules of dependency-cruiser made from them.
// `npm run check` runs `depcruise src` in the root, which reads this file.

// The folders of src/, and files directly in it, lowest first.
const library = [
  ...[
    'base',
    'bindingReducers.ts',
    'binding.ts',
    'kernels',
    'files',
    'cache',
    'compute',
    'video',
    'tower',
    'projector',
    'reduce',
    'encode',
  ],
  ...['llm', 'models', 'load', 'longvlm.ts', 'eval', 'inspect', 'jobs', 'service', 'batch', 'ai', 'queue'],
];
const below = (name) => library.slice(0, library.indexOf(name));

// What each of them may import besides its own files. Whatever is not listed is an error, be it a folder or an import.
const mayImport = {
  base: [],
  'bindingReducers.ts': [],
  'binding.ts': ['base', 'bindingReducers.ts'],
  kernels: ['base', 'binding.ts'],
  files: ['base'],
  cache: ['base', 'binding.ts', 'files'],
  compute: ['base', 'bindingReducers.ts', 'binding.ts', 'kernels', 'files'],
  video: ['base'],
  tower: ['base', 'kernels', 'files', 'cache', 'compute'],
  projector: ['base', 'kernels', 'files', 'cache', 'compute'],
  reduce: ['base', 'kernels'],
  encode: ['base', 'kernels', 'files', 'cache', 'compute', 'video', 'tower', 'projector', 'reduce'],
  llm: ['base', 'binding.ts', 'files'],
  models: ['base', 'files', 'cache', 'encode', 'llm'],
  load: below('load'),
  'longvlm.ts': ['base', 'video', 'tower', 'projector', 'reduce', 'encode', 'llm', 'models', 'load'],
  eval: ['base', 'files', 'cache', 'encode', 'llm', 'load', 'longvlm.ts'],
  inspect: ['base', 'video', 'reduce', 'encode', 'longvlm.ts'],
  jobs: ['base'],
  service: ['base', 'video', 'encode', 'llm', 'longvlm.ts', 'inspect', 'jobs'],
  ai: ['base', 'video', 'encode', 'llm', 'longvlm.ts'],
  batch: ['base', 'cache', 'video', 'encode', 'llm', 'load', 'longvlm.ts', 'jobs', 'service'],
  queue: ['base', 'video', 'encode', 'longvlm.ts', 'jobs', 'service', 'batch'],
  // Modules of the browser, which nothing imports.
  page: ['inspect'],
  'index.ts': [...below('jobs'), 'jobs', 'service', 'batch'],
  cli: [...library, 'index.ts'],
};

// npm packages, and where they may be imported.
const packagesIn = {
  '@fastify/multipart': ['service'],
  '@huggingface/jinja': ['llm'],
  '@valibot/to-json-schema': ['service'],
  aws4fetch: ['cache'],
  bullmq: ['queue'],
  'cli-progress': ['cli'],
  commander: ['cli'],
  'env-paths': ['cache'],
  fastify: ['service'],
  ioredis: ['queue'],
  'node-llama-cpp': ['llm'],
  'onnxruntime-node': ['compute'],
  'proper-lockfile': ['cache'],
  'prom-client': ['service'],
  protobufjs: ['compute'],
  undici: ['video'],
  valibot: [
    'base',
    'files',
    'cache',
    'tower',
    'projector',
    'encode',
    'llm',
    'models',
    'load',
    'eval',
    'service',
    'batch',
    'queue',
  ],
};

/** Matches the paths below any of `names`, each a folder of src/ or a file in it. */
function pathsOf(names) {
  return names.map((name) => `^src/${name.replace('.', '\\.')}${name.endsWith('.ts') ? '$' : '/'}`);
}

/** Matches the paths of a package: of its files, of its types, and its bare name where it is not installed. */
function pathsOfPackage(name) {
  return [`(^|/)node_modules/(@types/)?${name}/`, `^${name}($|/)`];
}

const folderRules = Object.entries(mayImport).map(([name, targets]) => ({
  name: `imports-of-${name}`,
  comment: `${name} may import ${targets.join(', ') || 'nothing'} besides its own files.`,
  severity: 'error',
  from: { path: pathsOf([name]) },
  to: { path: '^src/', pathNot: pathsOf([name, ...targets]) },
}));

const packageRules = Object.entries(packagesIn).map(([name, folders]) => ({
  name: `users-of-${name}`,
  comment: `${name} may be imported in ${folders.join(', ')} only.`,
  severity: 'error',
  from: { path: '^src/', pathNot: pathsOf(folders) },
  to: { path: pathsOfPackage(name) },
}));

export default {
  forbidden: [
    ...folderRules,
    ...packageRules,
    {
      name: 'no-cycles',
      comment: 'Imports of types count, too.',
      severity: 'error',
      from: { path: '^src/' },
      to: { circular: true },
    },
    {
      name: 'no-other-packages',
      comment:
        'A package has a line in packagesIn, a dependency in package.json, and a reason in docs/dependencies.md.',
      severity: 'error',
      from: { path: '^src/' },
      to: { dependencyTypesNot: ['core', 'local'], pathNot: Object.keys(packagesIn).flatMap(pathsOfPackage) },
    },
    {
      name: 'nothing-outside-src',
      comment: 'src/ is all that is compiled and published.',
      severity: 'error',
      from: { path: '^src/' },
      to: { dependencyTypes: ['local'], pathNot: '^src/' },
    },
  ],
  required: [
    {
      // Nothing has this path, so every module outside the table fails, whether it imports anything or not.
      name: 'listed',
      comment: 'A folder of src/, and a file directly in it, needs a line in mayImport.',
      severity: 'error',
      module: { path: '^src/', pathNot: pathsOf(Object.keys(mayImport)) },
      to: { path: '^$' },
    },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    tsConfig: { fileName: 'tsconfig.json' },
    tsPreCompilationDeps: true,
    enhancedResolveOptions: { exportsFields: ['exports'], conditionNames: ['import', 'node', 'default', 'types'] },
  },
};
