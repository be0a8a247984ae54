// Passes connections on.
import { connect, createServer } from 'node:net';

/**
 * Listens, and passes each connection on.
 * @param listen where: arguments of `server.listen()`
 * @param target where to: arguments of `connect()`
 */
export async function relay(listen, target) {
  const server = createServer((client) => {
    const other = connect(...target);
    const end = () => {
      client.destroy();
      other.destroy();
    };
    client.on('error', end);
    other.on('error', end);
    client.pipe(other).pipe(client);
  });
  await new Promise((resolve) => server.listen(...listen, resolve));
  return server;
}
