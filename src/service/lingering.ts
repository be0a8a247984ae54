// Connections of clients that are answered before all of their request was read.
//
// A connection that is closed while bytes wait in it is reset, and its client may lose the answer that said why. So what still comes
// is read and thrown away for a while.
import type { FastifyInstance } from 'fastify';

/** For how long a client may go on to send after it was answered. */
const lingerMs = 2000;

/** Lets clients that still send read their answers before their connections are closed. */
export function lingerOnUnreadBodies(app: FastifyInstance): void {
  app.addHook('onSend', async ({ raw: request }, reply) => {
    if (request.complete) return;
    reply.header('connection', 'close');
    const { socket } = request;
    const destroySoon = socket.destroySoon.bind(socket);
    // Node calls it once the answer was written.
    socket.destroySoon = () => {
      request.unpipe();
      request.resume();
      const timer = setTimeout(destroySoon, lingerMs);
      request.once('end', destroySoon);
      socket.once('close', () => clearTimeout(timer));
    };
  });
}
