// SPDX-License-Identifier: Apache-2.0
package io.llmc.model;

import io.llmc.backend.CompressedOp.Compress;
import io.llmc.backend.CompressedOp.Entries;
import io.llmc.backend.ForwardOp;
import io.llmc.tensor.DType;
import io.llmc.tensor.Tensor;
import java.util.List;

/// Makes keys of several tokens each.
///
/// @param layers of values and of gates
/// @param places `[rate, width]`
record Compressor(CompressorSpec spec, List<Linear> layers, Tensor places, Norm norm) {
    /// Whether sequences are long enough for a key.
    boolean applies(Forward f) {
        return f.positions().length() >= spec.rate();
    }

    /// @param x what attention reads
    Entries entries(Forward f, Tensor x) {
        int length = f.positions().length();
        int count = length / spec.rate();
        long all = x.rows() / length * count;
        Entries made = entries(f.allocate(all, spec.dim()), length);
        f.run(new Compress(made, through(f, 0, x), through(f, 1, x), places));
        Tensor normed = f.allocate(all, spec.dim());
        norm.forward(f, normed, made.x());
        Tensor turned = f.allocate(all, spec.dim());
        f.run(
                new ForwardOp.Rope(
                        turned,
                        normed,
                        angles(f, count),
                        spec.dim(),
                        count,
                        spec.turns().interleaved()));
        return entries(turned, length);
    }

    private Entries entries(Tensor x, int length) {
        return new Entries(x, spec.rate(), length);
    }

    private Tensor through(Forward f, int layer, Tensor x) {
        Tensor y = f.allocate(x.rows(), layers.get(layer).weight().outFeatures());
        layers.get(layer).forward(f, y, x);
        return y;
    }

    /// Those of every key's first token.
    private Tensor angles(Forward f, int count) {
        Tensor all = f.positions().table(spec.turns());
        Tensor some = f.allocate(count, all.cols());
        Tensor rows = f.numbers(DType.I32, count, e -> e * spec.rate());
        f.run(new ForwardOp.GatherRows(some, all, rows));
        return some;
    }
}
