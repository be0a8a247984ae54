// Makes sure that an ffmpeg is installed, in the library's order of search: FFMPEG_PATH, the package ffmpeg-static, PATH.
// Runs before the library is built, so it uses only Node. As root on Debian it installs Debian's ffmpeg; elsewhere it prints
// the command to type.
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';

const COMMANDS = { darwin: 'brew install ffmpeg', win32: 'winget install ffmpeg' };
const APT = 'apt-get update && apt-get install -y --no-install-recommends ffmpeg';

function version(path) {
  const { status, stdout } = spawnSync(path, ['-version'], { encoding: 'utf8', timeout: 30_000, windowsHide: true });
  return status === 0 ? /^ffmpeg version (\S+)/.exec(stdout)?.[1] : undefined;
}

function staticBinary() {
  try {
    return createRequire(import.meta.url)('ffmpeg-static');
  } catch {
    return null;
  }
}

function find() {
  const candidates = process.env.FFMPEG_PATH ? [process.env.FFMPEG_PATH] : [staticBinary(), 'ffmpeg'];
  for (const path of candidates) {
    const found = path && version(path);
    if (found) return `ffmpeg ${found} (${path})`;
  }
  return undefined;
}

function isDebian() {
  try {
    return /^ID(_LIKE)?=.*\b(debian|ubuntu)\b/m.test(readFileSync('/etc/os-release', 'utf8'));
  } catch {
    return false;
  }
}

let found = find();
if (!found && !process.env.FFMPEG_PATH && isDebian() && process.getuid?.() === 0) {
  console.error(`No ffmpeg was found. Installing it: ${APT}`);
  // The installer's output goes to stderr, as diagnostics.
  spawnSync('sh', ['-c', APT], { stdio: ['ignore', 2, 2], env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' } });
  found = find();
}
if (found) {
  console.error(`Using ${found}`);
} else if (process.env.FFMPEG_PATH) {
  console.error(`FFMPEG_PATH = ${process.env.FFMPEG_PATH} is not an ffmpeg that runs. Correct or unset it.`);
  process.exitCode = 1;
} else {
  const command = COMMANDS[process.platform] ?? (isDebian() ? `sudo sh -c '${APT}'` : 'sudo dnf install ffmpeg-free');
  console.error(`No ffmpeg was found. Install it with: ${command}`);
  process.exitCode = 1;
}
