// SPDX-License-Identifier: Apache-2.0
package io.llmc.prune;

import io.llmc.formats.checkpoint.Checkpoint;
import io.llmc.formats.checkpoint.TensorReader;
import io.llmc.tensor.Tensor;
import java.lang.foreign.ValueLayout;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Comparator;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.IntStream;

/// The first block of a Llama or a Mixtral in the written-out formulas, in F64: slow, plain, and
/// without any code of the model.
public final class HostModel implements AutoCloseable {
    private static final String BLOCK = "model.layers.0.";

    private final Checkpoint checkpoint;
    private final TensorReader reader;
    private final Map<String, double[][]> matrices = new HashMap<>();

    @SuppressWarnings("MustBeClosed") // closed by close()
    public HostModel(Path directory) {
        this.checkpoint = Checkpoint.open(directory);
        this.reader = checkpoint.reader();
    }

    /// What one token's way through the experts gives.
    ///
    /// @param gate the router's weight
    /// @param norm of the expert's output
    public record Routed(int expert, double gate, double norm) {}

    public static double[][] matrix(Tensor t) {
        int cols = t.shape().rank() == 1 ? 1 : (int) t.cols();
        double[][] m = new double[(int) t.rows()][cols];
        for (int i = 0; i < t.shape().size(); i++) {
            m[i / cols][i % cols] = value(t, i);
        }
        return m;
    }

    private static double value(Tensor t, int i) {
        return switch (t.dtype()) {
            case F32 -> t.bytes().getAtIndex(ValueLayout.JAVA_FLOAT, i);
            case F16 -> Float.float16ToFloat(t.bytes().getAtIndex(ValueLayout.JAVA_SHORT, i));
            case BF16 ->
                    Float.intBitsToFloat(t.bytes().getAtIndex(ValueLayout.JAVA_SHORT, i) << 16);
            default -> throw new IllegalArgumentException(t.toString());
        };
    }

    public double[][] matrix(String name) {
        return matrices.computeIfAbsent(name, n -> matrix(reader.tensor(n)));
    }

    private double[] vector(String name) {
        double[][] column = matrix(name);
        return IntStream.range(0, column.length).mapToDouble(i -> column[i][0]).toArray();
    }

    /// `w x`, with the layer's bias where it has one
    public double[] linear(String name, double[] x) {
        double[][] w = matrix(name + ".weight");
        double[] y = checkpoint.has(name + ".bias") ? vector(name + ".bias") : new double[w.length];
        for (int o = 0; o < w.length; o++) {
            for (int i = 0; i < x.length; i++) {
                y[o] += w[o][i] * x[i];
            }
        }
        return y;
    }

    private double[] norm(String name, double[] x) {
        double[] weight = vector(name + ".weight");
        double mean = 0;
        for (double v : x) {
            mean += v * v / x.length;
        }
        double scale = 1 / Math.sqrt(mean + checkpoint.config().decimal("rms_norm_eps", 0));
        return IntStream.range(0, x.length).mapToDouble(i -> x[i] * scale * weight[i]).toArray();
    }

    /// What the attention of the block reads for each id.
    public double[][] attentionInputs(int[] ids) {
        double[][] embedding = matrix("model.embed_tokens.weight");
        return IntStream.of(ids)
                .mapToObj(id -> norm(BLOCK + "input_layernorm", embedding[id]))
                .toArray(double[][]::new);
    }

    /// Every choice of the router for the tokens of one window.
    public List<Routed> routed(int[] ids) {
        double[][] x = attended(ids);
        return IntStream.range(0, ids.length)
                .boxed()
                .flatMap(t -> route(norm(BLOCK + "post_attention_layernorm", x[t])).stream())
                .toList();
    }

    private List<Routed> route(double[] x) {
        String moe = BLOCK + "block_sparse_moe.";
        double[] logits = linear(moe + "gate", x);
        List<Integer> chosen =
                IntStream.range(0, logits.length)
                        .boxed()
                        .sorted(Comparator.comparingDouble(e -> -logits[e]))
                        .limit(checkpoint.config().integer("num_experts_per_tok"))
                        .toList();
        // The softmax over all, divided by the sum of the chosen, is the softmax over the chosen.
        double sum = chosen.stream().mapToDouble(e -> Math.exp(logits[e])).sum();
        return chosen.stream()
                .map(e -> new Routed(e, Math.exp(logits[e]) / sum, outputNorm(moe, e, x)))
                .toList();
    }

    private double outputNorm(String moe, int expert, double[] x) {
        String p = moe + "experts." + expert + ".";
        double[] hidden = gated(linear(p + "w1", x), linear(p + "w3", x));
        double squares = 0;
        for (double y : linear(p + "w2", hidden)) {
            squares += y * y;
        }
        return Math.sqrt(squares);
    }

    /// What the down-projection of a Llama's block reads for each id of one window.
    public double[][] downInputs(int[] ids) {
        return Arrays.stream(attended(ids))
                .map(x -> norm(BLOCK + "post_attention_layernorm", x))
                .map(x ->
                        gated(linear(BLOCK + "mlp.gate_proj", x), linear(BLOCK + "mlp.up_proj", x)))
                .toArray(double[][]::new);
    }

    private static double[] gated(double[] gate, double[] up) {
        return IntStream.range(0, gate.length)
                .mapToDouble(i -> gate[i] / (1 + Math.exp(-gate[i])) * up[i])
                .toArray();
    }

    /// The residual stream after the attention.
    public double[][] attended(int[] ids) {
        double[][] embedding = matrix("model.embed_tokens.weight");
        double[][] mixed = outputInputs(ids);
        double[][] x = new double[ids.length][];
        for (int t = 0; t < ids.length; t++) {
            double[] y = linear(BLOCK + "self_attn.o_proj", mixed[t]);
            double[] before = embedding[ids[t]];
            x[t] = IntStream.range(0, y.length).mapToDouble(i -> before[i] + y[i]).toArray();
        }
        return x;
    }

    /// What the output projection of the attention reads for each id of one window.
    double[][] outputInputs(int[] ids) {
        double[][] inputs = attentionInputs(ids);
        int heads = checkpoint.config().integer("num_attention_heads");
        int kvHeads = checkpoint.config().integer("num_key_value_heads");
        int dim =
                checkpoint
                        .config()
                        .integer("head_dim", checkpoint.config().integer("hidden_size") / heads);
        double[][] q = new double[ids.length][];
        double[][] k = new double[ids.length][];
        double[][] v = new double[ids.length][];
        for (int t = 0; t < ids.length; t++) {
            q[t] = rotated(linear(BLOCK + "self_attn.q_proj", inputs[t]), t, dim);
            k[t] = rotated(linear(BLOCK + "self_attn.k_proj", inputs[t]), t, dim);
            v[t] = linear(BLOCK + "self_attn.v_proj", inputs[t]);
        }
        double[][] mixed = new double[ids.length][heads * dim];
        for (int t = 0; t < ids.length; t++) {
            for (int h = 0; h < heads; h++) {
                attend(mixed[t], q[t], k, v, t, h * dim, h * kvHeads / heads * dim, dim);
            }
        }
        return mixed;
    }

    private static void attend(
            double[] out, double[] q, double[][] k, double[][] v, int t, int at, int kv, int dim) {
        double[] weights = new double[t + 1];
        double sum = 0;
        for (int s = 0; s <= t; s++) {
            double score = 0;
            for (int d = 0; d < dim; d++) {
                score += q[at + d] * k[s][kv + d];
            }
            weights[s] = Math.exp(score / Math.sqrt(dim));
            sum += weights[s];
        }
        for (int s = 0; s <= t; s++) {
            for (int d = 0; d < dim; d++) {
                out[at + d] += weights[s] / sum * v[s][kv + d];
            }
        }
    }

    private double[] rotated(double[] x, int position, int dim) {
        double base = checkpoint.config().decimal("rope_theta", 10000);
        double[] y = new double[x.length];
        for (int h = 0; h < x.length; h += dim) {
            for (int i = 0; i < dim / 2; i++) {
                double angle = position * Math.pow(base, -2.0 * i / dim);
                double a = x[h + i];
                double b = x[h + i + dim / 2];
                y[h + i] = a * Math.cos(angle) - b * Math.sin(angle);
                y[h + i + dim / 2] = b * Math.cos(angle) + a * Math.sin(angle);
            }
        }
        return y;
    }

    @Override
    public void close() {
        reader.close();
        checkpoint.close();
    }
}
