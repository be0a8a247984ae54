// Activations by the names that Hugging Face's configurations give them.
import { type GraphBuilder, microsoft } from './graphBuilder.js';

type Activate = (graph: GraphBuilder, value: string) => string;

const gelu: Activate = (graph, value) => graph.node('Gelu', [value]);
// x · sigmoid(alpha · x)
const sigmoidWeighted =
  (alpha: number): Activate =>
  (graph, value) =>
    graph.node('QuickGelu', [value], { alpha: { float: alpha } }, microsoft);
// GELU by the hyperbolic tangent.
const tanhGelu: Activate = (graph, value) => graph.node('FastGelu', [value], {}, microsoft);
const silu = sigmoidWeighted(1);
const relu: Activate = (graph, value) => graph.node('Relu', [value]);

const byName = {
  quick_gelu: sigmoidWeighted(1.702),
  gelu,
  gelu_python: gelu,
  gelu_new: tanhGelu,
  gelu_fast: tanhGelu,
  gelu_accurate: tanhGelu,
  gelu_pytorch_tanh: tanhGelu,
  gelu_python_tanh: tanhGelu,
  gelu_10: (graph, value) => graph.node('Clip', [gelu(graph, value), graph.number(-10), graph.number(10)]),
  silu,
  swish: silu,
  relu,
  relu2: (graph, value) => {
    const positive = relu(graph, value);
    return graph.node('Mul', [positive, positive]);
  },
  relu6: (graph, value) => graph.node('Clip', [value, graph.number(0), graph.number(6)]),
  leaky_relu: (graph, value) => graph.node('LeakyRelu', [value], { alpha: { float: 0.01 } }),
  hardswish: (graph, value) => graph.node('HardSwish', [value]),
  mish: (graph, value) => {
    const soft = graph.node('Softplus', [value]);
    return graph.node('Mul', [value, graph.node('Tanh', [soft])]);
  },
  sigmoid: (graph, value) => graph.node('Sigmoid', [value]),
  tanh: (graph, value) => graph.node('Tanh', [value]),
  linear: (_, value) => value,
} as const satisfies Record<string, Activate>;

/** The name of an activation. */
export type Activation = keyof typeof byName;

/** All names of {@link Activation}. */
export const activations = Object.keys(byName) as Activation[];

/** Adds an activation to a graph and returns its output. */
export function activate(graph: GraphBuilder, activation: Activation, value: string): string {
  return byName[activation](graph, value);
}
