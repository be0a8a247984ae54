// Runs a program where nothing can be reached but the registry: in a network of its own, whose loopback has one port, behind
// which a socket in the file system leads out. Started by project.mjs, within `unshare --net`.
//
//   node isolated.mjs SOCKET PORT PROGRAM [ARGUMENTS]
import { spawn } from 'node:child_process';
import { relay } from './relay.mjs';

const [socket, port, program, ...args] = process.argv.slice(2);

await relay([Number(port), '127.0.0.1'], [socket]);
const child = spawn(program, args, { stdio: 'inherit' });
child.on('error', (error) => {
  console.error(error.message);
  process.exit(1);
});
child.on('exit', (code, signal) => process.exit(signal ? 1 : code));
