# The native addon by node-gyp, for machines without CMake. The same sources and flags as CMakeLists.txt.
{
  'variables': {
    # set LONGVLM_WERROR=1 to turn compiler warnings into errors
    'werror%': '<!(node -p "Number(process.env.LONGVLM_WERROR) || 0")',
  },
  'targets': [
    {
      'target_name': 'longvlm',
      'sources': [
        '<!@(node -p "fs.readdirSync(\'native\', {recursive: true}).filter(f => f.endsWith(\'.cc\')).map(f => \'native/\' + f.split(path.sep).join(\'/\')).join(\' \')")',
      ],
      'include_dirs': ['native', 'cuda/include', '<!(node -p "require(\'node-addon-api\').include_dir")'],
      'defines': ['NAPI_VERSION=8', 'NAPI_DISABLE_CPP_EXCEPTIONS'],
      'cflags!': ['-fno-exceptions'],
      'cflags_cc!': ['-fno-exceptions', '-std=gnu++17', '-std=gnu++20'],
      'cflags_cc': ['-std=c++20', '-O3', '-fvisibility=hidden', '-fvisibility-inlines-hidden', '-ffp-contract=off'],
      'xcode_settings': {
        'CLANG_CXX_LANGUAGE_STANDARD': 'c++20',
        'GCC_ENABLE_CPP_EXCEPTIONS': 'YES',
        'GCC_OPTIMIZATION_LEVEL': '3',
        'GCC_SYMBOLS_PRIVATE_EXTERN': 'YES',
        'MACOSX_DEPLOYMENT_TARGET': '11.0',
        'OTHER_CPLUSPLUSFLAGS': ['-ffp-contract=off'],
      },
      'msvs_settings': {
        'VCCLCompilerTool': {'ExceptionHandling': 1, 'AdditionalOptions': ['/std:c++20']},
      },
      'conditions': [
        ['OS=="linux"', {'libraries': ['-lpthread', '-ldl']}],
        ['OS=="win"', {'defines': ['NOMINMAX', '_CRT_SECURE_NO_WARNINGS']}],
        ['werror==1', {'cflags_cc': ['-Werror']}],
      ],
    },
  ],
}
