// Runs a program where nothing can be reached but the registry: in a network of its own, whose loopback has one port, behind
// which a socket in the file system leads out. Started by project.mjs, within `unshare --net`.
//
//   node isolated.mjs SOCKET PORT PROGRAM [ARGUMENTS]
import { spawn } from 'node:child_process';
import { connect, createServer } from 'node:net';

const [socket, port, program, ...args] = process.argv.slice(2);

/** Joins two connections. */
function join(one, other) {
  one.pipe(other).pipe(one);
  for (const side of [one, other])
    side.on('error', () => {
      one.destroy();
      other.destroy();
    });
}

const server = createServer((client) => join(client, connect(socket)));
server.listen(Number(port), '127.0.0.1', () => {
  const child = spawn(program, args, { stdio: 'inherit' });
  child.on('error', (error) => {
    console.error(error.message);
    process.exit(1);
  });
  child.on('exit', (code, signal) => process.exit(signal ? 1 : code));
});
