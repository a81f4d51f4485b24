// SPDX-License-Identifier: Apache-2.0
package io.llmc.model;

import io.llmc.backend.AttentionSpec;
import io.llmc.backend.CompressedOp;
import io.llmc.backend.ForwardOp;
import io.llmc.backend.SparseOp.Keys;
import io.llmc.model.structure.NormSpec;
import io.llmc.model.structure.RopeSpec;
import io.llmc.tensor.Tensor;
import java.util.List;

/// Attention to a window and to keys of several tokens each, with its weights.
///
/// @param inputs what reads the stream: for queries, then for keys
/// @param sinks F32 `[heads]`
/// @param compression null where the window is all
/// @param outputs what makes groups of heads narrow, and what writes the stream
record CompressedAttention(
        CompressedAttentionSpec spec,
        List<Linear> inputs,
        Norms norms,
        Linear queryUp,
        Tensor sinks,
        Compression compression,
        List<Linear> outputs)
        implements Body {
    record Norms(Norm queries, Norm keys) {}

    /// @param chooser null where all keys are seen
    record Compression(Compressor keys, EntryChooser chooser) {}

    @Override
    public List<Part> parts() {
        return List.of(new Read(), new Attend(), new Narrow(), new OutputPart(outputs.get(1)));
    }

    private final class Read implements Part {
        @Override
        public List<List<Linear>> groups() {
            return List.of(inputs);
        }

        @Override
        public List<Tensor> results(Forward f, long tokens) {
            return inputs.stream().map(l -> f.allocate(tokens, l.weight().outFeatures())).toList();
        }

        @Override
        public void run(Forward f, List<Tensor> out, Reading in) {
            Tensor x = in.normed(f);
            f.tap().before(inputs, x);
            if (!f.observing()) {
                for (int i = 0; i < inputs.size(); i++) {
                    inputs.get(i).forward(f, out.get(i), x);
                }
            }
        }
    }

    private final class Attend implements Part {
        @Override
        public List<List<Linear>> groups() {
            return List.of(List.of(queryUp));
        }

        @Override
        public List<Tensor> results(Forward f, long tokens) {
            return List.of(f.allocate(tokens, spec.sizes().width()));
        }

        @Override
        public void run(Forward f, List<Tensor> out, Reading in) {
            Tensor narrow = normed(f, norms.queries(), in.kept().get(0));
            f.tap().before(List.of(queryUp), narrow);
            if (f.observing()) {
                return;
            }
            Tensor keys = turned(f, normed(f, norms.keys(), in.kept().get(1)), spec.turns());
            Tensor attended = f.allocate(keys.rows(), spec.sizes().width());
            attend(f, attended, queries(f, narrow), keys, in, narrow);
            Tensor back = turned(f, attended, spec.turns().reversed());
            f.run(new ForwardOp.Scale(out.getFirst(), back, 1));
        }
    }

    /// Every head has a norm of its own, without weights.
    private Tensor queries(Forward f, Tensor narrow) {
        Tensor q = f.allocate(narrow.rows(), spec.sizes().width());
        queryUp.forward(f, q, narrow);
        Tensor even = f.allocate(q.rows(), q.cols());
        NormSpec plain = norms.queries().spec().plain();
        new Norm(plain, null, null).forwardHeads(f, even, q, spec.sizes().dim());
        return turned(f, even, spec.turns());
    }

    private void attend(Forward f, Tensor out, Tensor q, Tensor keys, Reading in, Tensor narrow) {
        int length = f.positions().length();
        int count = spec.sizes().count();
        int dim = spec.sizes().dim();
        float scale = (float) (1 / Math.sqrt(dim));
        if (compression == null) {
            var heads = new AttentionSpec.Heads(count, 1, dim, dim);
            var reach = new AttentionSpec.Reach(length, length, spec.window(), 0);
            f.attend(
                    spec.tokens(),
                    new ForwardOp.Attention(
                            out,
                            q,
                            keys,
                            keys,
                            sinks,
                            null,
                            new AttentionSpec(heads, reach, scale, 0)));
            return;
        }
        Tensor x = in.normed(f);
        CompressorSpec entries = compression.keys().spec();
        EntryChooser chooser = compression.chooser();
        f.attend(
                spec.tokens().values(),
                entries.keys(),
                new CompressedOp.CompressedAttention(
                        out,
                        q,
                        new Keys.Whole(keys, length),
                        compression.keys().keys(f, x),
                        chooser == null ? null : chooser.choose(f, x, narrow),
                        sinks,
                        new CompressedOp.Sight(count, dim, spec.window(), entries.rate(), scale)));
    }

    /// Each group of heads goes through its own rows of the layer.
    private final class Narrow implements Part {
        @Override
        public List<List<Linear>> groups() {
            return List.of(List.of(outputs.getFirst()));
        }

        @Override
        public List<Tensor> results(Forward f, long tokens) {
            return List.of(f.allocate(tokens, outputs.getFirst().weight().outFeatures()));
        }

        @Override
        public void run(Forward f, List<Tensor> out, Reading in) {
            Linear layer = outputs.getFirst();
            int groups = spec.sizes().groups();
            int width = spec.sizes().width() / groups;
            Tensor x = in.kept().getFirst();
            f.tap().before(List.of(layer), x.reshape(x.rows() * groups, width));
            for (int g = 0; g < groups && !f.observing(); g++) {
                Tensor y = f.allocate(x.rows(), spec.sizes().narrow());
                long from = (long) g * spec.sizes().narrow();
                layer.forward(f, y, f.columns(x, g * width, width), from);
                f.run(new ForwardOp.PutColumns(out.getFirst(), y, from));
            }
        }
    }

    private static Tensor normed(Forward f, Norm norm, Tensor x) {
        Tensor y = f.allocate(x.rows(), x.cols());
        norm.forward(f, y, x);
        return y;
    }

    private Tensor turned(Forward f, Tensor x, RopeSpec rope) {
        return Compressor.turned(f, x, rope, spec.sizes().dim());
    }
}
