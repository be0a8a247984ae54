// The worker thread of a graph: the only one of this package.
import { Session } from './ortSession.js';
import { serveGraph } from './serveGraph.js';

await serveGraph((model, options) => Session.create(model, options));
