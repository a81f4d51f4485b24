// SPDX-License-Identifier: Apache-2.0
package io.llmc.solver;

import io.llmc.backend.Backend;
import io.llmc.backend.CompressionOp;
import io.llmc.formats.UserException;
import io.llmc.model.LayerSpec.LinearSpec;
import io.llmc.model.ModelSpec;
import io.llmc.pipeline.Option;
import io.llmc.pipeline.Options;
import io.llmc.pipeline.pass.Targets;
import io.llmc.tensor.Tensor;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.regex.Matcher;

/// Where zeros may be, and how many.
public sealed interface Pattern {
    /// Anywhere.
    ///
    /// @param sparsity part of the weights that becomes zero, 0 to 1
    record Unstructured(double sparsity) implements Pattern {
        /// How many of some weights SparseGPT prunes: its reference implementation takes what costs
        /// at most as much as the weight at this place of the sorted list, that one among them.
        public long zeros(long weights) {
            return sparsity == 0 ? 0 : Math.min(weights, (long) (weights * sparsity) + 1);
        }

        @Override
        public String toString() {
            return "unstructured";
        }
    }

    /// Of m neighbours in a row n stay: the convention of NVIDIA's sparse tensor cores (2:4).
    record NOfM(int n, int m) implements Pattern {
        public CompressionOp.MaskRule.NOfM rule() {
            return new CompressionOp.MaskRule.NOfM(n, m);
        }

        @Override
        public double sparsity() {
            return 1 - n / (double) m;
        }

        @Override
        public String toString() {
            return n + ":" + m;
        }
    }

    Option<String> FORM =
            Option.text(
                            "pattern",
                            "unstructured",
                            "Unstructured (default), or N:M, as 2:4, which keeps N of every M weights.")
                    .as("P");

    Option<Double> SPARSITY =
            Option.decimal("sparsity", 0.5, "Part of the weights to zero, 0 to 1 (default: %s).")
                    .within("0 to 1", s -> s >= 0 && s <= 1);

    double sparsity();

    /// The share of ones in a mask.
    static double share(Backend backend, Tensor mask) {
        try (Arena host = backend.host().newArena()) {
            MemorySegment bytes = host.allocate(mask.byteSize(), 8);
            backend.download(bytes, mask);
            long ones = 0;
            for (long i = 0; i < bytes.byteSize(); i++) {
                ones += bytes.get(ValueLayout.JAVA_BYTE, i);
            }
            return ones / (double) mask.byteSize();
        }
    }

    /// Reads `sparsity` and `pattern`.
    ///
    /// @return null where neither is given and the sparsity has no default
    static Pattern read(Options o, Option<String> form, Option<Double> share) {
        String text = form.read(o);
        if (text.equals("unstructured")) {
            Double sparsity = share.read(o);
            return sparsity == null ? null : new Unstructured(sparsity);
        }
        Matcher m = java.util.regex.Pattern.compile("(\\d{1,4}):(\\d{1,4})").matcher(text);
        if (!m.matches()) {
            throw o.error(
                    "pattern",
                    "pattern is %s, expected unstructured, or N:M as 2:4".formatted(text));
        }
        NOfM pattern = new NOfM(Integer.parseInt(m.group(1)), Integer.parseInt(m.group(2)));
        if (pattern.m < 1 || pattern.n > pattern.m) {
            throw o.error(
                    "pattern",
                    "pattern is %s, but %d of %d cannot stay"
                            .formatted(text, pattern.n, pattern.m));
        }
        if (o.has("sparsity") && o.decimal("sparsity", 0) != pattern.sparsity()) {
            throw o.error(
                    "sparsity",
                    "pattern %s means a sparsity of %s; leave sparsity out"
                            .formatted(text, pattern.sparsity()));
        }
        return pattern;
    }

    /// @throws UserException where the inputs of a layer are no whole number of groups
    default void check(ModelSpec spec, Targets targets) {
        if (!(this instanceof NOfM(_, int m))) {
            return;
        }
        for (var layer : spec.layers()) {
            for (LinearSpec linear : layer.linears(spec.hidden())) {
                if (targets.selects(linear.name()) && linear.in() % m != 0) {
                    throw new UserException(
                            "pattern %s does not divide the %d inputs of %s"
                                    .formatted(this, linear.in(), linear.name()),
                            "choose another pattern, or leave this layer out with {ignore}");
                }
            }
        }
    }
}
